"""S3: what influence the losses of the literature have at the lambda that they were published with, and what they cost.

Psi and Gamma at the start are those of the pilot, from which every training starts, or, where they start from scratch, of
the control, trained with MSE alone; those at the end are of what each training made: both on the same training pairs. A
loss without a pixel term has a Psi of 1, whatever its lambda; its lambda* is the one beside a plain MSE.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import write_csv
from lib.data.patches import Patches
from lib.denoiser.devices import repeatable
from lib.networks.unet import unet
from lib.perceptual import LossConfiguration, balance, lambda_star, measure, psi_algorithm2
from lib.stages import inputs
from lib.stages.exchange import batches
from lib.stages.sweep import MEANS
from lib.stages.train import load_unet
from lib.study.config import Study
from lib.study.preset_grid import PresetGrid, Row
from lib.study.runs import Run
from lib.study.sections import UNet

START, END = "pilot", "own"
SUMS: Final = ["pixel", "perceptual", "pixel_gradient", "perceptual_gradient"]
WEIGHTS = Callable[[], list[np.ndarray]]


class Trained(NamedTuple):
    """What is known of the trainings of a grid, by run."""

    histories: Mapping[Run, pd.DataFrame]
    logs: Mapping[Run, pd.DataFrame]
    scores: Mapping[Run, pd.DataFrame]


def measured(study: Study, grid: PresetGrid) -> pd.DataFrame:
    """Losses and norms of their gradients at the output, of ``study.supplement.pairs`` training pairs with every loss of the
    grid that has an encoder, measured once for each seed and kept: with the pilot of every seed that has one, and with what
    the seeds of the grid made of it.

    Returns
    -------
    DataFrame
        A row for each seed, state ('pilot' and 'own'), arm and pair: patient, ``SUMS`` (before lambda; of a loss without a
        pixel term that of a plain MSE).
    """
    swept, frames, meters = grid.grid.of(study), [], None
    losses = {row.arm.name: beside(row.loss) for row in grid.rows.values() if row.loss.encoder is not None}
    paths = study.paths
    trained = grid.grid.seeds or study.seeds
    for seed in sorted({*study.measured_seeds, *trained}):
        own = {name: paths.weights(Run(name, seed)) for name in losses if seed in trained}
        start = {START: paths.weights(study.pilot_of(seed))} if seed in study.measured_seeds else {}
        weights = start | own
        table = paths.presets / f"pairs_seed-{seed}.csv"
        step = Step(f"presets, seed {seed}", paths.presets / f"seed-{seed}.json", {"lib.stages.presets"},
                    {"training": swept.training.decisive, "unet": study.unet, "split": study.cohort.division, "seed": seed,
                     "losses": {name: loss.as_dict() | {"lambda": None} for name, loss in losses.items()},
                     "pairs": study.supplement.pairs},
                    {"manifest": paths.manifest} | {f"weights of {name}": path for name, path in weights.items()}
                    | inputs.weights_files(study.weights, balance.encodings(losses.values())), [table])
        if not step.is_current():
            repeatable(seed)
            meters = _Meters.of(losses, study.weights, study.unet) if meters is None else meters
            patches = inputs.patches(swept, "train", seed)
            loaders = {name: lambda path=path: load_unet(study.unet, path).get_weights() for name, path in weights.items()}
            with step.making(seed=seed):
                write_csv(table, _measure(meters, loaders, patches, study.supplement.pairs))
        frames.append(pd.read_csv(table).assign(seed=seed))
    return pd.concat(frames, ignore_index=True)


def beside(loss: LossConfiguration) -> LossConfiguration:
    """The loss with something beside its perceptual term: its own pixel term, or a plain MSE."""
    return replace(loss, pixel="mse", pixel_weight=1.0) if loss.pixel is None else loss


class _Meters(NamedTuple):
    """One network, whose weights are set, and what measures it: a function of pairs for the arms that share an encoding and
    a pixel term."""

    network: object
    meters: dict[tuple[str, ...], Callable]

    @classmethod
    def of(cls, losses: Mapping[str, LossConfiguration], weights: inputs.Weights, settings: UNet) -> "_Meters":
        network, groups = unet(**settings.architecture, seed=0), {}
        for name, loss in losses.items():
            groups.setdefault((loss.encoding, loss.pixel_part), []).append(name)
        meters = {}
        for names in groups.values():
            some = [losses[name] for name in names]
            ((encoding, layers),) = balance.encodings(some).items()
            encoder = inputs.encoder(weights, encoding, *layers, gradient=True)
            meters[tuple(names)] = measure.meter(network, measure.terms(some, encoder), weights=False)
        return cls(network, meters)


def _measure(meters: _Meters, weights: Mapping[str, WEIGHTS], patches: Patches, count: int) -> pd.DataFrame:
    index = patches.index[np.unique(np.linspace(0, len(patches) - 1, count).round().astype(int))]
    some, frames = batches(patches, index), []
    patients = patches.pairs["patient"].to_numpy()[index[:, 0]]
    for name, load in tqdm(weights.items(), desc="presets", unit="network", mininterval=1.0, delay=2):
        meters.network.set_weights(load())
        for names, meter in meters.meters.items():
            wanted = names if name == START else [each for each in names if each == name]
            found = meter(some) if wanted else None
            for each in wanted:
                place = 1 + names.index(each)
                sums = np.column_stack([table[:, [0, place]] for table in (found.values, found.output)])
                frames.append(pd.DataFrame(sums, columns=SUMS).assign(
                    arm=each, state=START if name == START else END, patient=patients))
    return pd.concat(frames, ignore_index=True)


def lambdas(row: Row, histories: Mapping[Run, pd.DataFrame]) -> dict[str, float]:
    """Of the first step, 'pilot', the same for all seeds, and of the last one, 'own', their geometric mean over seeds."""
    found = [each["lambda"] for run, each in histories.items() if run.experiment == row.arm.name]
    given, last = row.loss.lambda_.value, pd.Series([each.iloc[-1] for each in found], dtype=float)
    return {START: float(found[0].iloc[0] if given is None else given), END: _mean("lambda", last)}


def preset_table(grid: PresetGrid, found: pd.DataFrame, trained: Trained) -> pd.DataFrame:
    """``presets.csv``: a row for each preset, means over the seeds of its trainings.

    Returns
    -------
    DataFrame
        preset, reference, evidence, confidence; psi_start, psi_end (Algorithm 2), gamma_start, gamma_end (at the output),
        of shares the mean odds; lambda_used (the first one), lambda_end, lambda_exact (Psi = 0.95 with the pilot, geometric
        means), seconds_per_step (of the fastest epoch as it ran, with its validation and what ran beside it); ``MEANS`` over
        the test slices; seeds and steps (of the trainings); encoder_here, trained_as (the arm whose training it is), pixel,
        assumed, left_out, citation.
    """
    rows = []
    for name, row in grid.rows.items():
        used, preset = lambdas(row, trained.histories), row.preset
        runs = [run for run in trained.histories if run.experiment == row.arm.name]
        some = found[(found["arm"] == row.arm.name) & found["seed"].isin([run.seed for run in runs])]
        shares = {f"{share}_{when}": _share(row, some[some["state"] == state], share, used[state])
                  for when, state in (("start", START), ("end", END)) for share in ("psi", "gamma")}
        stars = [lambda_star(sums["pixel"], sums["perceptual"]) for _, sums in some[some["state"] == START].groupby("seed")]
        seconds = [trained.histories[run]["seconds"].min() * len(trained.histories[run])
                   / trained.logs[run]["step"].iloc[-1] for run in runs]
        scores = pd.concat([trained.scores[run] for run in runs])
        rows.append({"preset": name, "reference": preset.reference, "evidence": preset.evidence,
                     "confidence": preset.confidence, **shares, "lambda_used": used[START], "lambda_end": used[END],
                     "lambda_exact": _mean("lambda", pd.Series(stars)) if stars else np.nan,
                     "seconds_per_step": np.mean(seconds),
                     **{each: scores[each].mean() if each in scores else np.nan for each in MEANS}, "seeds": len(runs),
                     "steps": max(int(trained.logs[run]["step"].iloc[-1]) for run in runs),
                     "encoder_here": row.encoder_here, "trained_as": row.arm.name, "pixel": row.loss.pixel or "none",
                     "assumed": preset.assumed, "left_out": preset.left_out, "citation": preset.citation})
    return pd.DataFrame(rows)


def _share(row: Row, some: pd.DataFrame, share: str, lambda_: float) -> float:
    """Psi or Gamma at one lambda, over seeds; 0 without an encoder, 1 without a pixel term."""
    if row.loss.encoder is None or row.loss.pixel is None:
        return float(row.loss.encoder is not None)
    a, b = SUMS[:2] if share == "psi" else SUMS[2:]
    return _mean(share, pd.Series([psi_algorithm2(sums[a], sums[b], lambda_) for _, sums in some.groupby("seed")]))


def _mean(column: str, values: pd.Series) -> float:
    """Over seeds: of shares by their odds, of weights geometric."""
    values = values.to_numpy(float)
    if (values == values[0]).all():
        return float(values[0])
    if column.startswith(("psi", "gamma")):
        if not ((values > 0) & (values < 1)).all():
            return float(values.mean())
        odds = np.exp(np.log(values / (1 - values)).mean())
        return float(odds / (1 + odds))
    if column.startswith("lambda") and (values > 0).all():
        return float(np.exp(np.log(values).mean()))
    return float(values.mean())


def log_odds_by_patient(grid: PresetGrid, found: pd.DataFrame, histories: Mapping[Run, pd.DataFrame],
                        share: str = "psi", state: str = START) -> dict[str, np.ndarray]:
    """Decades of the odds of Psi or Gamma, (patients, seeds), of each preset with a pixel term; patients of whom every seed
    has pairs. Of Psi they are log10(lambda PL / pixel term), summed over a patient's pairs."""
    a, b = SUMS[:2] if share == "psi" else SUMS[2:]
    tables = {}
    for name, row in grid.rows.items():
        some = found[(found["arm"] == row.arm.name) & (found["state"] == state)]
        if row.loss.pixel is None or some.empty:
            continue
        sums = some.groupby(["patient", "seed"])[[a, b]].sum()
        tables[name] = np.log10(sums[b] / sums[a] * lambdas(row, histories)[state]).unstack("seed")
    return {name: each.dropna().to_numpy() for name, each in _same_patients(tables).items()}


def _same_patients(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Rows of patients that every table has."""
    common: Iterable = set.intersection(*(set(each.dropna().index) for each in tables.values())) if tables else ()
    return {name: each.loc[sorted(common)] for name, each in tables.items()}
