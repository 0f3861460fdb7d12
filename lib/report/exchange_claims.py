"""S1's claims: whether an equal share of the loss is an equal share of what the update follows.

At the output the interval is over the training patients and the seeds, at the weights, where gradients are those of batches,
over the seeds. Of logarithms: a rate is a ratio.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from lib.metrics.patients import LEAST_PATIENTS, of_independent, over_patients_and_seeds
from lib.report.psi_claims import STATES
from lib.report.verdicts import LEAST_SEEDS, LEVEL, Bounds, frame, level_of, row, weakest
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
    """Logarithms of the rate, (seeds,)."""
    one = table[(table["state"] == state) & (table["configuration"] == name)].drop_duplicates("seed")
    return np.log(one["rate_weights"].to_numpy(float))


def bounds_of_logs(logs: np.ndarray, level: float = LEVEL) -> tuple[Bounds, dict]:
    """Mean of logarithms, (patients, seeds) or (seeds,), with its interval where there is one, and what it rests on."""
    of_patients = logs.ndim > 1
    mean = over_patients_and_seeds(logs) if of_patients else of_independent(logs)
    few = [counted(logs.shape[-1], "seed")] * (logs.shape[-1] < LEAST_SEEDS)
    few += [counted(len(logs), "patient")] * (of_patients and len(logs) < LEAST_PATIENTS)
    interval = (np.nan, np.nan) if few else mean.interval(level)
    return (mean.estimate, *interval), {"patients": len(logs) if of_patients else pd.NA, "seeds": logs.shape[-1],
                                        "note": f"no interval from {listed(few)}" if few else ""}


class Decided(NamedTuple):
    """What decides a claim of many parts."""

    bounds: Bounds  # of the deciding part
    above: Bounds  # of the claim: the least estimate, the least ends
    rests: dict  # on how many patients and seeds, and a note that names the part


def weakest_of(parts: Mapping[str, np.ndarray], above: Callable[[Bounds], Bounds] = lambda bounds: bounds) -> Decided:
    """A claim that something is above zero in every part, as :mod:`lib.report.verdicts` has it.

    Parameters
    ----------
    parts : mapping, by what a note says of it: logarithms, (patients, seeds) or (seeds,)
    above : function, from a part's bounds to those of what is above zero (default: they themselves)
    """
    found = {name: bounds_of_logs(logs) for name, logs in parts.items()}
    judged = {name: above(bounds) for name, (bounds, _) in found.items()}
    wide = {name: above(bounds_of_logs(logs, level_of(len(parts)))[0]) for name, logs in parts.items()}
    some = next(iter(parts.values()))
    name, decided = weakest(judged, wide, seeds=some.shape[-1] if some.ndim > 1 else None)
    bounds, rests = found[name]
    deciding = f"decided by one of {len(parts)}: {name}" if len(parts) > 1 else name
    return Decided(bounds, decided, rests | {"note": "; ".join(filter(None, [deciding, rests["note"]]))})


def pairs_of(logs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every two of some, the higher less the lower."""
    order = sorted(logs, key=lambda name: -logs[name].mean())
    return {f"{high} against {low}": logs[high] - logs[low] for high, low in combinations(order, 2)}


def within(limit: float) -> Callable[[Bounds], Bounds]:
    """How far a value is from a limit to both sides of zero: above zero where it is within."""
    def inside(bounds: Bounds) -> Bounds:
        estimate, low, high = bounds
        least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
        return limit - abs(estimate), limit - max(abs(low), abs(high)), limit - least

    return inside


def _same(state: str, logs: Mapping[str, np.ndarray]) -> dict:
    """Whether losses of one Psi have one Gamma, every two of them."""
    claim = f"With {STATES[state]}, losses of one Ψ have one Γ at the output (odds within a factor of {FACTOR:g})"
    if len(logs) < 2:
        return row(claim, "S1", UNIT, note="one loss: there is none to compare it with")
    found = weakest_of(pairs_of(logs), within(np.log(FACTOR)))
    return row(claim, "S1", UNIT, _factors(found.bounds), above=found.above, **found.rests)


def _one(state: str, where: str, logs: Mapping[str, np.ndarray]) -> dict:
    """Whether Gamma is Psi for every loss."""
    found = weakest_of(logs, within(np.log(FACTOR)))
    claim = f"With {STATES[state]}, Ψ is the share of the gradient at {where}, too (odds within a factor of {FACTOR:g})"
    return row(claim, "S1", UNIT, _factors(found.bounds), above=found.above, **found.rests)


def _factors(bounds: Bounds) -> Bounds:
    estimate, low, high = np.exp(bounds)
    return float(estimate), float(low), float(high)
