"""S4's claims: how far lambda* reaches over layers and contexts, and what moves it.

Intervals are over the training patients and the seeds, of log10 of lambda* by Algorithm 2 over a patient's pairs. A claim of
every layer, context or pair of them is as its weakest, whose name its note has (:func:`weakest_of`). Only how far lambda*
reaches is that of the highest and the lowest of many by their means: its interval is that of these two.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from lib.perceptual import TARGET_PSI, presets
from lib.report.atlas import CONVENTIONS, factor_logs, logs_of
from lib.report.exchange_claims import FACTOR, bounds_of_logs, pairs_of, weakest_of, within
from lib.report.psi_claims import HALF_DECADE, STATES, states
from lib.report.verdicts import Bounds, frame, row
from lib.stages.atlas import LITERATURE
from lib.stages.conventions import BEFORE, ONE, UNIT

DECADES: Final = "decades of λ*"
PAPERS_DECADES: Final = 3.0  # its E1 and E2: 1e-5 and 1e-2
SAME_SCALE: Final = ("means subtracted", ONE, BEFORE)  # conventions that change neither the scale of inputs nor of the loss
Logs = Mapping[tuple[str, str], np.ndarray]  # by context and layer: (patients, seeds)


def atlas_claims(table: pd.DataFrame, patients: pd.DataFrame, factors: pd.DataFrame,
                 target: float = TARGET_PSI) -> pd.DataFrame:
    """Rows as of :func:`lib.report.verdicts.frame`, for each state of the network.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.atlas.atlas_table`
    patients : DataFrame, of :func:`lib.stages.atlas.by_patient`
    factors : DataFrame, of :func:`lib.stages.atlas.convention_factors` by patient
    target : float, the Psi of lambda*
    """
    rows = []
    for state in states(table):
        places = list(table[["context", "layer"]].drop_duplicates().itertuples(index=False, name=None))
        lambdas, rates = ({place: logs_of(patients[what], *place, state) for place in places} for what in ("lambda", "rate"))
        rows += [*_spans(state, lambdas, target), *_medical(state, lambdas), _depth(state, lambdas)]
        for words, contexts in {places[0][0]: {places[0][0]}, "every context": {context for context, _ in places}}.items():
            some, same = ({place: logs[place] for place in places if place[0] in contexts} for logs in (lambdas, rates))
            rows += [_literature(state, words, some), _gamma(state, words, same, target)]
        rows += _conventions(state, factors)
    return frame(rows)


def _named(place: tuple[str, str]) -> str:
    return f"{place[0]} {place[1]}"


def _by_name(logs: Logs) -> dict[str, np.ndarray]:
    return {_named(place): each for place, each in logs.items()}


def _reach(logs: Logs) -> dict[str, np.ndarray]:
    """The highest mean less the lowest."""
    highest, lowest = (pick(logs, key=lambda place: logs[place].mean()) for pick in (max, min))
    return {f"{_named(highest)} against {_named(lowest)}": logs[highest] - logs[lowest]}


def _beyond(limit: float) -> Callable[[Bounds], Bounds]:
    """How far a value is above a limit."""
    return lambda bounds: (bounds[0] - limit, bounds[1] - limit, bounds[2] - limit)


def _spans(state: str, lambdas: Logs, target: float) -> list[dict]:
    """How far lambda* reaches: over all, over the layers of each context, over the contexts at each layer."""
    found = weakest_of(_reach(lambdas), _beyond(PAPERS_DECADES))
    claim = f"With {STATES[state]}, λ* for Ψ = {target:g} reaches over more decades than the paper's {PAPERS_DECADES:g}"
    rows = [row(claim, "S4", DECADES, found.bounds, above=found.above, paper=PAPERS_DECADES, **found.rests)]
    for number, words in ((0, "the layers of every context"), (1, "the contexts at every layer")):
        groups: dict[str, dict] = {}
        for place, logs in lambdas.items():
            groups.setdefault(place[number], {})[place] = logs
        found = weakest_of({name: logs for group in groups.values() for name, logs in _reach(group).items()}, _beyond(1.0))
        claim = f"With {STATES[state]}, λ* reaches over more than a decade over {words}"
        rows.append(row(claim, "S4", DECADES, found.bounds, above=found.above, **found.rests))
    return rows


def _medical(state: str, lambdas: Logs) -> list[dict]:
    """The paper's lambdas: one for both contexts at its shallow layer, two decades less for Medical at the deep one."""
    layers = {layer for context, layer in lambdas if context == "Medical" and ("ImageNet", layer) in lambdas}
    rows = []
    for layer in [each for each in (presets.SHALLOW, max(layers, default="")) if each in layers]:
        bounds, rests = bounds_of_logs(lambdas["ImageNet", layer] - lambdas["Medical", layer])
        if layer == presets.SHALLOW:
            rows.append(row(f"With {STATES[state]}, at {layer} Medical has ImageNet's λ* (to half a decade)", "S4", DECADES,
                            bounds, above=within(HALF_DECADE)(bounds), paper=0.0, **rests))
        else:
            rows.append(row(f"With {STATES[state]}, at {layer} Medical needs a lower λ* than ImageNet, by more than half a "
                            "decade", "S4", DECADES, bounds, above=_beyond(HALF_DECADE)(bounds), paper=2.0, **rests))
    return rows


def _same(claim: str, logs: Logs) -> dict:
    """A claim that some odds, by their log10, are the same everywhere: every two of them."""
    found = weakest_of(pairs_of(_by_name(logs)), within(np.log10(FACTOR)))
    return row(f"{claim} (odds within a factor of {FACTOR:g})", "S4", "times the odds", _factors(found.bounds),
               above=found.above, **found.rests)


def _literature(state: str, words: str, lambdas: Logs) -> dict:
    """Psi at the literature's lambda, by its odds, as 0.999 and 0.99999 are not the same: those are that lambda by lambda*,
    times those of the target."""
    return _same(f"With {STATES[state]}, λ = {LITERATURE:g} has the same Ψ at every layer of {words}",
                 {place: -logs for place, logs in lambdas.items()})


def _gamma(state: str, words: str, rates: Logs, target: float) -> dict:
    """Whether layers of one Psi have one Gamma."""
    return _same(f"With {STATES[state]}, where Ψ = {target:g} Γ at the output is the same at every layer of {words}", rates)


def _depth(state: str, lambdas: Logs) -> dict:
    """The paper's depth law, from block to block, over all contexts."""
    steps = {}
    for context in dict.fromkeys(place[0] for place in lambdas):
        deepest = {layer.partition("_")[0]: layer for at, layer in sorted(lambdas) if at == context}
        for shallow, deep in pairwise(deepest.values()):
            steps[f"weakest {context} {deep} against {shallow}"] = lambdas[context, deep] - lambdas[context, shallow]
    found = weakest_of(steps)
    return row(f"With {STATES[state]}, at equal λ the shallower of two blocks has the higher Ψ, in every context", "S4",
               DECADES, found.bounds, above=found.above, **found.rests)


def _conventions(state: str, factors: pd.DataFrame) -> list[dict]:
    """Whether a convention leaves lambda* as it is, at every layer; [0, 1]: as 255 squared."""
    rows = []
    for convention in (UNIT, *SAME_SCALE):
        some = factors[(factors["convention"] == convention) & (factors["state"] == state)]
        known = np.log10(some["algebra"].iloc[0]) if convention == UNIT else 0.0
        logs = {layer: factor_logs(factors, convention, layer, state) - known for layer in sorted(set(some["layer"]))}
        found = weakest_of(logs, within(np.log10(FACTOR)))
        words = "multiplies λ* by 255², as without biases" if convention == UNIT else "leaves λ* as it is"
        rows.append(row(f"With {STATES[state]}, {CONVENTIONS[convention]} {words}, at every layer (within a factor of "
                        f"{FACTOR:g})", "S4", "times λ*", _factors(found.bounds, known), above=found.above, **found.rests))
    return rows


def _factors(bounds: Bounds, further: float = 0.0) -> Bounds:
    """Of log10, and what is added to it."""
    estimate, low, high = (float(10 ** (each + further)) for each in bounds)
    return estimate, low, high
