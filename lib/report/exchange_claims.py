"""S1's claims: whether an equal share of the loss is an equal share of what the update follows.

At the output the interval is over the training patients and the seeds, at the weights, where gradients are those of batches,
over the seeds. Of logarithms: a rate is a ratio.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.patients import LEAST_PATIENTS, of_independent, over_patients_and_seeds
from lib.report.psi_claims import STATES
from lib.report.verdicts import LEAST_SEEDS, Bounds, frame, row
from lib.report.words import counted, listed
from lib.stages.exchange import Measured, rates_by_patient

FACTOR: Final = 2.0  # odds that differ by no more count as equal: a Ψ of 0.95 is then a Γ of 0.905 to 0.974
UNIT: Final = "times the odds"


def exchange_claims(found: Mapping[int, Measured], table: pd.DataFrame) -> pd.DataFrame:
    """Rows as of :func:`lib.report.verdicts.frame`, for each state of the network.

    Parameters
    ----------
    found : mapping, of :func:`lib.stages.exchange.measured`
    table : DataFrame, of :func:`lib.stages.exchange.exchange_table`
    """
    rows = []
    for state in (state for state in STATES if state in set(table["state"])):
        names = list(dict.fromkeys(table.loc[table["state"] == state, "configuration"]))
        output = {name: rates_by_patient(found, state, name) for name in names}
        weights = {name: _at_weights(table, state, name) for name in names}
        rows += [_same(state, output), _one(state, "the output", output), _one(state, "all weights", weights)]
    return frame(rows)


def _at_weights(table: pd.DataFrame, state: str, name: str) -> np.ndarray:
    """Logarithms of the rate, (1, seeds)."""
    one = table[(table["state"] == state) & (table["configuration"] == name)].drop_duplicates("seed")
    return np.log(one["rate_weights"].to_numpy(float))[None]


def bounds_of(logs: np.ndarray) -> tuple[Bounds, dict]:
    """Mean of logarithms, (patients, seeds), with its interval where there is one, and what it rests on."""
    patients, seeds = logs.shape
    mean = of_independent(logs[0]) if patients == 1 else over_patients_and_seeds(logs)
    few = [counted(seeds, "seed")] * (seeds < LEAST_SEEDS)
    few += [counted(patients, "patient")] * (1 < patients < LEAST_PATIENTS)
    interval = (np.nan, np.nan) if few else mean.interval()
    note = f"no interval from {listed(few)}" if few else ""
    return (mean.estimate, *interval), {"patients": pd.NA if patients == 1 else patients, "seeds": seeds, "note": note}


def _same(state: str, logs: Mapping[str, np.ndarray]) -> dict:
    """Whether losses of one Psi have one Gamma: the highest rate against the lowest."""
    highest, lowest = (pick(logs, key=lambda name: logs[name].mean()) for pick in (max, min))
    bounds, rests = bounds_of(logs[highest] - logs[lowest])
    rests["note"] = "; ".join(filter(None, [f"{highest} against {lowest}", rests["note"]]))
    claim = f"With {STATES[state]}, losses of one Ψ have one Γ at the output (odds within a factor of {FACTOR:g})"
    return row(claim, "S1", UNIT, _factors(bounds), above=_below(bounds), **rests)


def _one(state: str, where: str, logs: Mapping[str, np.ndarray]) -> dict:
    """Whether Gamma is Psi for every loss: the rate that is furthest from 1."""
    name = max(logs, key=lambda name: abs(logs[name].mean()))
    bounds, rests = bounds_of(logs[name])
    rests["note"] = "; ".join(filter(None, [name, rests["note"]]))
    sign = np.sign(bounds[0]) or 1.0
    ends = sorted(sign * np.array(bounds[1:]))
    claim = f"With {STATES[state]}, Ψ is the share of the gradient at {where}, too (odds within a factor of {FACTOR:g})"
    above = _below((sign * bounds[0], ends[0], ends[1]))
    return row(claim, "S1", UNIT, _factors(bounds), above=above, **rests)


def _factors(bounds: Bounds) -> Bounds:
    estimate, low, high = np.exp(bounds)
    return float(estimate), float(low), float(high)


def _below(bounds: Bounds) -> Bounds:
    """How far a logarithm of 0 or more is below that of `FACTOR`."""
    estimate, low, high = np.log(FACTOR) - np.array(bounds)
    return float(estimate), float(high), float(low)
