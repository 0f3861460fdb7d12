"""RQ1's claims on Psi and lambda, in each state of the network that was measured.

Psi is defined over the training set (Eq. 5), so that the seeds are all that is left to chance: the intervals are t intervals
over the seeds, of logarithms. A state that was measured with one seed only decides nothing.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.patients import of_independent
from lib.paper import published
from lib.perceptual.psi import psi_algorithm2
from lib.report.verdicts import LEVEL, Bounds, frame, lacking, level_of, row, weakest
from lib.report.words import listed

ALL: Final = 0.99  # Psi from which the perceptual term is 'approximately 100 %' of the loss
LITERATURE: Final = 0.1  # the literature's lambda, and the baseline's
HALF_DECADE: Final = 0.5  # in log10: what rounds to the paper's decade
PAIRS: Final = {"ImageNet": ("E1", "E2"), "Medical": ("E3", "E4")}  # shallow, deep
STATES: Final = {"untrained": "an untrained U-Net", "pilot": "the pilot (trained on MSE alone)",
                 "own": "each experiment's own U-Net (last epoch)"}
ONE_SEED: Final = "measured with one seed"


def states(calibration: pd.DataFrame) -> list[str]:
    """The states of the network that were measured, untrained first."""
    return [state for state in STATES if state in set(calibration["state"])]


def psi_claims(calibration: pd.DataFrame) -> pd.DataFrame:
    """Rows for the depth law at equal lambda, the literature's lambda and the published decades; the paper's numbers are
    those of its own runs' last epoch. ``calibration``: a row per experiment, state and seed: mse, pl, lambda_exact."""
    rows = []
    for state in states(calibration):
        table = calibration[calibration["state"] == state]
        losses = {name: published.PUBLISHED_LOSSES[name][10] for name in published.CALIBRATED} if state == "own" else {}
        rows += [*_depth(state, _by_seed(table, table["pl"] / table["mse"]), losses),
                 *_literature(state, _by_seed(table, table["pl"] / table["mse"]), losses),
                 *_decades(state, _by_seed(table, table["lambda_exact"]))]
    return frame(rows)


def _by_seed(table: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """log10 of the values: (seeds, experiments)."""
    return table.assign(value=np.log10(values)).pivot(index="seed", columns="experiment", values="value")


def _bounds(values: pd.Series, level: float = LEVEL) -> Bounds:
    mean = of_independent(values.to_numpy(float))
    return mean.estimate, *mean.interval(level)


def _row(claim: str, unit: str, table: pd.DataFrame, bounds: Bounds, **further) -> dict:
    note = ONE_SEED if len(table) < 2 else ""
    return row(claim, "RQ1", unit, bounds, seeds=len(table), note=note, **further)


def _depth(state: str, ratio: pd.DataFrame, losses: Mapping[str, published.Losses]) -> list[dict]:
    """At equal lambda and whatever lambda is, Psi grows with PL / MSE."""
    rows = []
    for context, (shallow, deep) in PAIRS.items():
        claim = f"{context}, {STATES[state]}: at equal λ the shallow layer has the higher Ψ"
        if note := lacking((shallow, deep), ratio):
            rows.append(row(claim, "RQ1", "decades of PL / MSE", note=note))
            continue
        paper = np.log10(np.divide(*[losses[name].pl / losses[name].mse for name in (shallow, deep)])) if losses else np.nan
        rows.append(_row(claim, "decades of PL / MSE", ratio, _bounds(ratio[shallow] - ratio[deep]), paper=paper))
    return rows


def _literature(state: str, ratio: pd.DataFrame, losses: Mapping[str, published.Losses]) -> list[dict]:
    names = [name for name in published.CALIBRATED if name in ratio]
    if not names:
        return []

    def psi(name: str, level: float = LEVEL, less: float = 0.0) -> Bounds:
        estimate, low, high = (1 / (1 + 10**-each) - less
                               for each in _bounds(ratio[name] + np.log10(LITERATURE), level))
        return estimate, low, high

    name, above = weakest(*({name: psi(name, level, ALL) for name in names} for level in (LEVEL, level_of(len(names)))))
    paper = min(float(psi_algorithm2(*losses[name], LITERATURE)) for name in names) if losses else np.nan
    claim = f"{listed(names)}, {STATES[state]}: λ = 0.1 makes Ψ approximately 100 % (at least {ALL:g})"
    return [_row(claim, "least Ψ", ratio, psi(name), above=above, paper=paper)]


def _decades(state: str, exact: pd.DataFrame) -> list[dict]:
    rows = []
    for name in (name for name in published.CALIBRATED if name in exact):
        estimate, low, high = _bounds(exact[name])
        away = np.abs(np.array([estimate, low, high]) - np.log10(published.LAMBDAS[name]))
        nearest = 0.0 if low <= np.log10(published.LAMBDAS[name]) <= high else away[1:].min()
        inside = HALF_DECADE - away[0], HALF_DECADE - away[1:].max(), HALF_DECADE - nearest
        rows.append(_row(f"{name}, {STATES[state]}: λ* rounds to the paper's decade", "λ*", exact,
                         (10**estimate, 10**low, 10**high), above=inside, paper=published.LAMBDAS[name]))
    return rows
