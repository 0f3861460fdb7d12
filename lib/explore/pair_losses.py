"""The losses of pairs that a run has measured, by layer, context and network, and what they say at any lambda."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.errors import StageError
from lib.explore.canvas import missing
from lib.paper import published
from lib.perceptual.psi import lambda_star, psi, psi_algorithm2
from lib.study.paths import STATES, Paths

SPREAD = (10, 90)  # percentiles of the pairs' shares


@dataclass(frozen=True)
class Losses:
    """Losses of pairs at one layer in one context, with one network."""

    context: str  # 'ImageNet', 'Medical', a file
    layer: str  # phi, with the experiment's name where two have the layer but not the loss
    state: str  # of the network: 'untrained', 'pilot', 'own: E1', 'authors: E1'
    seed: int | None
    pixel: np.ndarray  # (pairs,); means only: one number
    perceptual: np.ndarray  # the same, before lambda
    used: Mapping[str, float] = field(default_factory=dict)  # the lambda in training by experiment

    @property
    def pairs(self) -> int:
        """How many, 0 where only means are known."""
        return len(self.pixel) if len(self.pixel) > 1 else 0

    @property
    def papers(self) -> dict[str, float]:
        """The paper's lambda of each experiment that has this loss."""
        return {name: published.LAMBDAS[name] for name in self.used if name in published.LAMBDAS}

    def star(self, target: float) -> float:
        """lambda*, at which Psi (Algorithm 2) is ``target``."""
        return lambda_star(self.pixel, self.perceptual, target)


class Influence(NamedTuple):
    """What a lambda does: Psi, and the terms of the loss behind it."""

    psi_alg2: float
    psi_eq5: float  # NaN where only means are known
    low: float  # percentiles of the pairs' shares, NaN without pairs
    high: float
    pixel: float  # means over pairs
    perceptual: float  # before lambda
    weighted: float  # lambda times it

    @property
    def odds(self) -> float:
        """So many parts of the loss are perceptual for one of the pixel term."""
        return self.weighted / self.pixel


def shares(losses: Losses, lambdas: np.ndarray) -> np.ndarray:
    """The share of the perceptual term in each pair's loss, (lambdas, pairs): Eq. 5 is its mean."""
    weighted = np.asarray(lambdas, float)[:, None] * losses.perceptual
    total = losses.pixel + weighted
    return np.divide(weighted, total, out=np.full_like(total, np.nan), where=total > 0)


def influence(losses: Losses, lambda_: float) -> Influence:
    """Psi by both definitions and the terms at one lambda."""
    pixel, perceptual = float(losses.pixel.mean()), float(losses.perceptual.mean())
    eq5, low, high = np.nan, np.nan, np.nan
    if losses.pairs:
        eq5 = float(psi(losses.pixel, losses.perceptual, lambda_))
        low, high = np.nanpercentile(shares(losses, np.array([lambda_])), SPREAD)
    return Influence(float(psi_algorithm2(losses.pixel, losses.perceptual, lambda_)), eq5, float(low), float(high), pixel,
                     perceptual, lambda_ * perceptual)


def measured(paths: Paths) -> list[Losses]:
    """Everything that a run has measured: both networks of the calibration, the atlas of many layers where it was run, each
    experiment's own network, and the authors' (means). Raises StageError where there is no calibration, or
    nothing perceptual in it."""
    if not paths.calibrated.is_file():
        raise missing("there is no calibration", paths.profile)
    calibration = pd.read_csv(paths.calibrated)
    found: list[Losses] = []
    for (state, seed), rows in calibration.groupby(["state", "seed"], sort=False):
        file = paths.losses(seed)[state]
        if not file.is_file():
            raise missing(f"{file.name} of the calibration is not there", paths.profile)
        found += _distinct(rows, pd.read_csv(file), state, int(seed))
    if not found:
        raise StageError("no experiment of this study has a perceptual term, so that there is no Psi")
    layers = {name: each.layer for each in found for name in each.used}
    found += _atlas(paths.atlas, {(each.context, each.layer) for each in found}) + _own(paths.influence, layers) + _authors(
        calibration, layers)
    return [each for each in found if min(each.pixel.sum(), each.perceptual.sum()) > 0]  # else Psi is 0 or 1 everywhere


def _distinct(rows: pd.DataFrame, losses: pd.DataFrame, state: str, seed: int) -> list[Losses]:
    """One of each loss: experiments that differ in lambda alone (E2, the baseline) share theirs. Columns are those of
    :func:`lib.stages.calibrate.pair_losses`: the plain MSE, a pixel term of an experiment's own, its perceptual loss."""
    found: list[Losses] = []
    for _, row in rows.iterrows():
        name, same = row["experiment"], [each for each in found if each.context == row["context"]]
        own = f"{name} pixel"
        pixel, perceptual = losses[own if own in losses else "mse"].to_numpy(), losses[name].to_numpy()
        used = {name: float(row["lambda_used"])}
        for each in same:
            if np.array_equal(each.pixel, pixel) and np.array_equal(each.perceptual, perceptual):
                found[found.index(each)] = replace(each, used=each.used | used)
                break
        else:
            layer = row["phi"] + (f" ({name})" if row["phi"] in {each.layer for each in same} else "")
            found.append(Losses(row["context"], layer, state, seed, pixel, perceptual, used))
    return found


def _atlas(folder: Path, known: set[tuple[str, str]]) -> list[Losses]:
    """Layers that the calibration has not, in the same two states."""
    found = []
    for path in sorted(folder.glob("pairs_seed-*.csv")):
        seed = int(path.stem.rpartition("-")[2])
        for (context, layer, state), rows in pd.read_csv(path).groupby(["context", "layer", "state"], sort=False):
            if state in STATES and (context, layer) not in known:
                found.append(Losses(context, layer, state, seed, rows["pixel"].to_numpy(), rows["perceptual"].to_numpy()))
    return found


def _own(table: Path, layers: Mapping[str, str]) -> list[Losses]:
    """Each experiment's own network in its last epoch, where 04 has run."""
    if not table.is_file():
        return []
    rows = pd.read_csv(table).query("state == 'own'")
    return [Losses(row["context"], layers[row["experiment"]], f"own: {row['experiment']}", int(row["seed"]), *_means(row),
                   {row["experiment"]: float(row["lambda_used"])})
            for _, row in rows.iterrows() if row["experiment"] in layers]


def _authors(calibration: pd.DataFrame, layers: Mapping[str, str]) -> list[Losses]:
    """The authors' published losses of their last epoch, at the layer of the experiment of that name."""
    contexts = dict(zip(calibration["experiment"], calibration["context"], strict=True))
    return [Losses(contexts[name], layers[name], f"authors: {name}", None, *_means(epochs[10]._asdict()),
                   {name: published.LAMBDAS[name]})
            for name, epochs in published.PUBLISHED_LOSSES.items() if name in layers]


def _means(row: Mapping) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["mse"]], float), np.array([row["pl"]], float)
