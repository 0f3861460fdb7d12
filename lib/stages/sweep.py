"""Trainings of a grid of configurations, each by the engine of 03 and scored as in 04, and the table of them all."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from lib.stages.calibrate import chosen_lambda, pair_losses
from lib.stages.evaluate import evaluate
from lib.stages.train import train
from lib.study.config import Study
from lib.study.grid import Arm, Grid
from lib.study.runs import Run

MEANS: Final = ("ssim", "psnr", "nrmse", "ssim_window", "psnr_window", "ssim_body", "bias_liver_hu", "noise_liver_hu")


def train_arm(study: Study, grid: Grid, arm: Arm, run: Run) -> None:
    """Train and score one run of a grid: its lambda is calibrated, if its rule says so, on the pairs of the study's own
    loss that it changes. What is done already is kept."""
    swept = grid.of(study)
    rule = swept.lambda_rule(swept.configurations[arm.name])
    lambda_ = chosen_lambda(arm.loss, rule, pair_losses(study) if rule.calibrated else {})
    train(swept, run, lambda_)
    evaluate(swept, run)


def sweep_table(runs: Sequence[tuple[Arm, Run]], histories: Mapping[Run, pd.DataFrame],
                scores: Mapping[Run, pd.DataFrame]) -> pd.DataFrame:
    """A row for each training of a grid, in its order.

    Parameters
    ----------
    runs : sequence, of :meth:`lib.study.grid.Grid.runs`
    histories, scores : mapping, of the trainings that are there: :func:`lib.stages.train.train`, a row per test slice

    Returns
    -------
    DataFrame
        configuration, change, seed, lambda_start, lambda_end, psi_start, psi_end, gamma_start, gamma_end (over the first and
        the last epoch), moved, seconds_per_epoch, and the means of ``MEANS`` over the test slices; ``missing`` says what of
        a row is not there, empty where the row is complete.
    """
    rows = []
    for arm, run in runs:
        row = {"configuration": arm.loss, "change": arm.change, "seed": run.seed}
        lacks = [what for what, there in (("training", histories), ("scores", scores)) if run not in there]
        if run in histories:
            first, last = (histories[run].iloc[place] for place in (0, -1))
            row |= {f"{name}_{when}": epoch[name] for name in ("lambda", "psi", "gamma")
                    for when, epoch in (("start", first), ("end", last))}
            row |= {"moved": last["moved"], "seconds_per_epoch": histories[run]["seconds"].mean()}
        if run in scores:
            row |= {name: scores[run][name].mean() if name in scores[run] else np.nan for name in MEANS}
        rows.append(row | {"missing": ", ".join(lacks)})
    return pd.DataFrame(rows)
