"""Trainings of a grid of configurations, each by the engine of 03 and scored as in 04, and the table of them all."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lib.stages.calibrate import chosen_lambda, pair_losses
from lib.stages.evaluate import LDCT, evaluate
from lib.stages.train import train
from lib.study.config import Study
from lib.study.grid import Arm, Grid, measured_as
from lib.study.runs import Run

MEANS: Final = ("ssim", "psnr", "nrmse", "ssim_window", "psnr_window", "ssim_body", "bias_liver_hu", "noise_liver_hu")


def calibrate_grid(study: Study, grid: Grid) -> None:
    """Measure, on the pairs and networks of the study's calibration (02), the losses of a grid that 02 does not measure."""
    pair_losses(study, losses=grid.measured(study))


def arm_lambda(study: Study, grid: Grid, arm: Arm) -> float:
    """The lambda at which an arm starts: by its rule, a number, or calibrated on the losses of the study's training pairs
    where these terms were measured, by 02 or by :func:`calibrate_grid`. What is not there yet is measured now."""
    swept = grid.of(study)
    loss = swept.configurations[arm.name]
    rule, new = swept.lambda_rule(loss), grid.measured(study)
    if not rule.calibrated or rule.state == "published":
        return chosen_lambda(measured_as(arm, loss, study.configurations), rule, {})
    names = {each.terms: name for name, each in (study.calibrated | new).items()}
    name = names[loss.terms]
    return chosen_lambda(name, rule, pair_losses(study, losses=new) if name in new else pair_losses(study))


def train_arm(study: Study, grid: Grid, arm: Arm, run: Run) -> None:
    """Train and score one run of a grid, from its :func:`arm_lambda`. What is done already is kept."""
    swept = grid.of(study)
    train(swept, run, arm_lambda(study, grid, arm))
    evaluate(swept, run)


def scores(study: Study, grid: Grid) -> dict[Run | None, pd.DataFrame]:
    """Of each training of a grid its scores (:func:`lib.stages.evaluate.evaluate`), and of the input, None, on the same
    slices."""
    swept = grid.of(study)
    found: dict[Run | None, pd.DataFrame] = {run: evaluate(swept, run) for _, run in grid.runs(study)}
    return found | {None: evaluate(swept, None, f"{LDCT}-{grid.slices_per_series}" if grid.slices_per_series else LDCT)}


def steps_of(logs: Iterable[Path]) -> int:
    """How many steps each training of a grid has, from what its ``log.csv`` says."""
    return max(int(pd.read_csv(path)["step"].iloc[-1]) for path in logs)


def sweep_table(runs: Sequence[tuple[Arm, Run]], histories: Mapping[Run, pd.DataFrame],
                scores: Mapping[Run | None, pd.DataFrame]) -> pd.DataFrame:
    """A row for each training of a grid, in its order.

    Parameters
    ----------
    runs : sequence, of :meth:`lib.study.grid.Grid.runs`
    histories, scores : mapping, of the trainings that are there: :func:`lib.stages.train.train`, a row per test slice

    Returns
    -------
    DataFrame
        configuration, change, seed, lambda_first and lambda_last (after the first and the last epoch), psi_start, psi_end,
        gamma_start, gamma_end (over these), moved, seconds_per_epoch, and the means of ``MEANS`` over the test slices;
        ``missing`` says what of a row is not there, empty where the row is complete.
    """
    rows = []
    for arm, run in runs:
        row = {"configuration": arm.loss, "change": arm.change, "seed": run.seed}
        lacks = [what for what, there in (("training", histories), ("scores", scores)) if run not in there]
        if run in histories:
            first, last = (histories[run].iloc[place] for place in (0, -1))
            row |= {"lambda_first": first["lambda"], "lambda_last": last["lambda"]}
            row |= {f"{name}_{when}": epoch[name] for name in ("psi", "gamma")
                    for when, epoch in (("start", first), ("end", last))}
            row |= {"moved": last["moved"], "seconds_per_epoch": histories[run]["seconds"].mean()}
        if run in scores:
            row |= {name: scores[run][name].mean() if name in scores[run] else np.nan for name in MEANS}
        rows.append(row | {"missing": ", ".join(lacks)})
    return pd.DataFrame(rows)
