"""S4's claims: how far lambda* reaches over layers and contexts, and what moves it.

Intervals are over the training patients and the seeds, of log10 of lambda* by Algorithm 2 over a patient's pairs. A claim of
every layer, context or pair of them is as its weakest, whose name its note has (:func:`weakest_of`). Only how far lambda*
reaches is that of the highest and the lowest of many by their means: its interval is that of these two. A claim that needs
two layers, or two contexts, is not made where there is one.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from lib.perceptual import presets
from lib.report.atlas import CONVENTIONS, factor_logs, logs_of
from lib.report.contexts import context_names
from lib.report.exchange_claims import FACTOR, bounds_of_logs, pairs_of, weakest_of, within
from lib.report.labels import Labels
from lib.report.psi_claims import HALF_DECADE, STATES, states
from lib.report.verdicts import Bounds, frame, row
from lib.stages.atlas import LITERATURE
from lib.stages.conventions import BEFORE, ONE, UNIT
from lib.study.config import RANDOM

DECADES: Final = "decades of λ*"
PAPERS: Final = "ImageNet"  # the context of ...
PAPERS_DECADES: Final = 3.0  # ... its E1 and E2: 1e-5 and 1e-2
SAME_SCALE: Final = ("means subtracted", ONE, BEFORE)  # conventions that change neither the scale of inputs nor of the loss
Logs = Mapping[tuple[str, str], np.ndarray]  # by context and layer: (patients, seeds)


def atlas_claims(labels: Labels, table: pd.DataFrame, patients: pd.DataFrame, factors: pd.DataFrame) -> pd.DataFrame:
    """Rows as of :func:`lib.report.verdicts.frame`, for each state of the network.

    Parameters
    ----------
    labels : Labels, whose target_psi is the Psi of lambda*
    table : DataFrame, of :func:`lib.stages.atlas.atlas_table`
    patients : DataFrame, of :func:`lib.stages.atlas.by_patient`
    factors : DataFrame, of :func:`lib.stages.atlas.convention_factors` by patient
    """
    rows, target = [], labels.target_psi
    names = context_names(labels, table["context"])
    places = list(table[["context", "layer"]].drop_duplicates().itertuples(index=False, name=None))
    for state in states(table):
        lambdas, rates = ({place: logs_of(patients[what], *place, state) for place in places} for what in ("lambda", "rate"))
        rows += [*_spans(state, names, lambdas, target), *_medical(state, labels, lambdas), *_depth(state, names, lambdas)]
        for words, contexts in {names[places[0][0]]: {places[0][0]}, "every context": set(names)}.items():
            some, same = ({place: logs[place] for place in places if place[0] in contexts} for logs in (lambdas, rates))
            if len(some) > 1:
                rows += [_literature(state, words, names, some), _gamma(state, words, names, same, target)]
        rows += _conventions(state, labels, factors)
    return frame(rows)


def _named(names: Mapping[str, str], place: tuple[str, str]) -> str:
    return f"{names[place[0]]} {place[1]}"


def _reach(names: Mapping[str, str], logs: Logs) -> dict[str, np.ndarray]:
    """The highest mean less the lowest; of one there is none."""
    if len(logs) < 2:
        return {}
    highest, lowest = (pick(logs, key=lambda place: logs[place].mean()) for pick in (max, min))
    return {f"{_named(names, highest)} against {_named(names, lowest)}": logs[highest] - logs[lowest]}


def _beyond(limit: float) -> Callable[[Bounds], Bounds]:
    """How far a value is above a limit."""
    return lambda bounds: (bounds[0] - limit, bounds[1] - limit, bounds[2] - limit)


def _spans(state: str, names: Mapping[str, str], lambdas: Logs, target: float) -> list[dict]:
    """How far lambda* reaches: over the layers of ImageNet, of which the paper has two; over all encoders; over the layers
    of each context; over the contexts at each layer, but for random weights, of which nobody makes a loss."""
    def apart(number: int, some: Logs) -> dict[str, np.ndarray]:
        groups: dict[str, dict] = {}
        for place, logs in some.items():
            groups.setdefault(place[number], {})[place] = logs
        return {name: logs for group in groups.values() for name, logs in _reach(names, group).items()}

    papers = {place: logs for place, logs in lambdas.items() if place[0] == PAPERS}
    learnt = {place: logs for place, logs in lambdas.items() if place[0] != RANDOM}
    every = "over all encoders at hand" + ", random weights among them" * (len(learnt) < len(lambdas))
    asked: list[tuple[str, dict[str, np.ndarray], float, float]] = [
        (f"λ* for Ψ = {target:g} reaches over more decades at the measured layers of {names.get(PAPERS, PAPERS)} than the "
         f"paper's {PAPERS_DECADES:g} at two of its own", _reach(names, papers), PAPERS_DECADES, PAPERS_DECADES),
        (f"λ* reaches over more than {PAPERS_DECADES:g} decades {every}", _reach(names, lambdas), PAPERS_DECADES, np.nan),
        ("λ* reaches over more than a decade over the measured layers of every context", apart(0, lambdas), 1.0, np.nan),
        ("λ* reaches over more than a decade over the contexts, random weights apart, at every measured layer",
         apart(1, learnt), 1.0, np.nan)]
    rows = []
    for words, parts, limit, paper in asked:
        if parts:
            found = weakest_of(parts, _beyond(limit))
            rows.append(row(f"With {STATES[state]}, {words}", "S4", DECADES, found.bounds, above=found.above, paper=paper,
                            **found.rests))
    return rows


def _medical(state: str, labels: Labels, lambdas: Logs) -> list[dict]:
    """The paper's lambdas: one for both contexts at its shallow layer, two decades less for Medical at the deep one."""
    layers = {layer for context, layer in lambdas if context == "Medical" and (PAPERS, layer) in lambdas}
    rows = []
    for layer in [each for each in (presets.SHALLOW, max(layers, default="")) if each in layers]:
        bounds, rests = bounds_of_logs(lambdas[PAPERS, layer] - lambdas["Medical", layer])
        first, medical = context_names(labels, (PAPERS, "Medical"), layer).values()
        if layer == presets.SHALLOW:
            rows.append(row(f"With {STATES[state]}, at {layer} {medical} has the λ* of {first} (to half a decade)", "S4",
                            DECADES, bounds, above=within(HALF_DECADE)(bounds), paper=0.0, **rests))
        else:
            rows.append(row(f"With {STATES[state]}, at {layer} {medical} needs a lower λ* than {first}, by more than half a "
                            "decade", "S4", DECADES, bounds, above=_beyond(HALF_DECADE)(bounds), paper=2.0, **rests))
    return rows


def _same(claim: str, names: Mapping[str, str], logs: Logs) -> dict:
    """A claim that some odds, by their log10, are the same everywhere: every two of them."""
    found = weakest_of(pairs_of({_named(names, place): each for place, each in logs.items()}), within(np.log10(FACTOR)))
    return row(f"{claim} (odds within a factor of {FACTOR:g})", "S4", "times the odds", _factors(found.bounds),
               above=found.above, **found.rests)


def _literature(state: str, words: str, names: Mapping[str, str], lambdas: Logs) -> dict:
    """Psi at the literature's lambda, by its odds, as 0.999 and 0.99999 are not the same: those are that lambda by lambda*,
    times those of the target."""
    return _same(f"With {STATES[state]}, λ = {LITERATURE:g} has the same Ψ at every measured layer of {words}", names,
                 {place: -logs for place, logs in lambdas.items()})


def _gamma(state: str, words: str, names: Mapping[str, str], rates: Logs, target: float) -> dict:
    """Whether layers of one Psi have one Gamma."""
    claim = f"With {STATES[state]}, where Ψ = {target:g} Γ at the output is the same at every measured layer of {words}"
    return _same(claim, names, rates)


def _depth(state: str, names: Mapping[str, str], lambdas: Logs) -> list[dict]:
    """The paper's depth law, from block to block, over all contexts, at the deepest measured layer of each."""
    steps = {}
    for context, name in names.items():
        deepest = {layer.partition("_")[0]: layer for at, layer in sorted(lambdas) if at == context}
        for shallow, deep in pairwise(deepest.values()):
            steps[f"{name} {deep} against {shallow}"] = lambdas[context, deep] - lambdas[context, shallow]
    if not steps:
        return []
    found = weakest_of(steps)
    return [row(f"With {STATES[state]}, at equal λ the shallower of two blocks has the higher Ψ, in every context", "S4",
                DECADES, found.bounds, above=found.above, **found.rests)]


def _conventions(state: str, labels: Labels, factors: pd.DataFrame) -> list[dict]:
    """Whether a convention leaves lambda* as it is, at every layer; [0, 1]: as 255 squared."""
    rows = []
    (name,) = context_names(labels, factors["context"]).values()
    for convention in (UNIT, *SAME_SCALE):
        some = factors[(factors["convention"] == convention) & (factors["state"] == state)]
        known = np.log10(some["algebra"].iloc[0]) if convention == UNIT else 0.0
        logs = {layer: factor_logs(factors, convention, layer, state) - known for layer in sorted(set(some["layer"]))}
        found = weakest_of(logs, within(np.log10(FACTOR)))
        words = "multiplies λ* by 255², as without biases" if convention == UNIT else "leaves λ* as it is"
        claim = (f"With {STATES[state]}, {CONVENTIONS[convention]} {words}, at the deepest measured layer of every block of "
                 f"{name} (within a factor of {FACTOR:g})")
        rows.append(row(claim, "S4", "times λ*", _factors(found.bounds, known), above=found.above, **found.rests))
    return rows


def _factors(bounds: Bounds, further: float = 0.0) -> Bounds:
    """Of log10, and what is added to it."""
    estimate, low, high = (float(10 ** (each + further)) for each in bounds)
    return estimate, low, high
