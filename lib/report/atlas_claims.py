"""S4's claims: how far lambda* reaches over layers and contexts, and what moves it.

Intervals are over the training patients and the seeds, of log10 of lambda* by Algorithm 2 over a patient's pairs. Where a
claim picks the highest and the lowest of many, the means choose, and the note names them: its interval is that of these two.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from lib.perceptual import TARGET_PSI, presets
from lib.report.atlas import CONVENTIONS, factor_logs, logs_of
from lib.report.exchange_claims import FACTOR, bounds_of_logs
from lib.report.psi_claims import HALF_DECADE, STATES, states
from lib.report.verdicts import Bounds, frame, row
from lib.stages.atlas import LITERATURE
from lib.stages.conventions import BEFORE, ONE, UNIT

DECADES, SAME_PSI = "decades of λ*", 0.05  # Psi that differs by no more counts as the same
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
            rows += [_literature(state, words, some, target), _gamma(state, words, same, target)]
        rows += _conventions(state, factors)
    return frame(rows)


def _named(place: tuple[str, str]) -> str:
    return f"{place[0]} {place[1]}"


def _ends(logs: Logs) -> tuple[tuple[str, str], tuple[str, str]]:
    """Where the highest and the lowest mean are."""
    highest, lowest = (pick(logs, key=lambda place: logs[place].mean()) for pick in (max, min))
    return highest, lowest


def _between(one: np.ndarray, other: np.ndarray) -> tuple[Bounds, dict]:
    """The difference of two tables of the same pairs."""
    return bounds_of_logs(one - other)


def _note(rests: dict, text: str) -> dict:
    return rests | {"note": "; ".join(filter(None, [text, rests["note"]]))}


def _shifted(bounds: Bounds, by: float, sign: float = 1.0) -> Bounds:
    """``by`` + ``sign`` times a value with its interval."""
    estimate, low, high = (by + sign * each for each in bounds)
    return (estimate, low, high) if sign > 0 else (estimate, high, low)


def _absolute(bounds: Bounds) -> Bounds:
    """An absolute value with its interval: 0 is its lower end where the interval holds it."""
    estimate, low, high = bounds
    if np.isnan(low):
        return abs(estimate), np.nan, np.nan
    return abs(estimate), 0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high))


def _spans(state: str, lambdas: Logs, target: float) -> list[dict]:
    """How far lambda* reaches: over all, over the layers of the context where it is least, over contexts likewise."""
    top, bottom = _ends(lambdas)
    bounds, rests = _between(lambdas[top], lambdas[bottom])
    claim = f"With {STATES[state]}, λ* for Ψ = {target:g} reaches over more decades than the paper's {PAPERS_DECADES:g}"
    rows = [row(claim, "S4", DECADES, bounds, above=_shifted(bounds, -PAPERS_DECADES), paper=PAPERS_DECADES,
                **_note(rests, f"{_named(top)} against {_named(bottom)}"))]
    for number, words in ((0, "the layers of every context"), (1, "the contexts at every layer")):
        groups: dict[str, dict] = {}
        for place, logs in lambdas.items():
            groups.setdefault(place[number], {})[place] = logs
        ends = [_ends(group) for group in groups.values()]
        top, bottom = min(ends, key=lambda both: (lambdas[both[0]] - lambdas[both[1]]).mean())
        bounds, rests = _between(lambdas[top], lambdas[bottom])
        claim = f"With {STATES[state]}, λ* reaches over more than a decade over {words}"
        rows.append(row(claim, "S4", DECADES, bounds, above=_shifted(bounds, -1.0),
                        **_note(rests, f"least {_named(top)} against {_named(bottom)}")))
    return rows


def _medical(state: str, lambdas: Logs) -> list[dict]:
    """The paper's lambdas: one for both contexts at its shallow layer, two decades less for Medical at the deep one."""
    layers = {layer for context, layer in lambdas if context == "Medical" and ("ImageNet", layer) in lambdas}
    rows = []
    for layer in [each for each in (presets.SHALLOW, max(layers, default="")) if each in layers]:
        bounds, rests = _between(lambdas["ImageNet", layer], lambdas["Medical", layer])
        if layer == presets.SHALLOW:
            rows.append(row(f"With {STATES[state]}, at {layer} Medical has ImageNet's λ* (to half a decade)", "S4", DECADES,
                            bounds, above=_shifted(_absolute(bounds), HALF_DECADE, -1), paper=0.0, **rests))
        else:
            rows.append(row(f"With {STATES[state]}, at {layer} Medical needs a lower λ* than ImageNet, by more than half a "
                            "decade", "S4", DECADES, bounds, above=_shifted(bounds, -HALF_DECADE), paper=2.0, **rests))
    return rows


def _literature(state: str, words: str, lambdas: Logs, target: float) -> dict:
    """Psi at the literature's lambda: at the layer where it is highest, against that where it is lowest."""
    odds = np.log10(target / (1 - target) * LITERATURE)
    shares = {place: 1 / (1 + 10 ** (logs - odds)) for place, logs in lambdas.items()}
    top, bottom = _ends(shares)
    bounds, rests = _between(shares[top], shares[bottom])
    return row(f"With {STATES[state]}, λ = {LITERATURE:g} has the same Ψ at every layer of {words} (to {SAME_PSI:g})", "S4",
               "difference of Ψ", bounds, above=_shifted(bounds, SAME_PSI, -1),
               **_note(rests, f"{_named(top)} against {_named(bottom)}"))


def _depth(state: str, lambdas: Logs) -> dict:
    """The paper's depth law, from block to block: its weakest step over all contexts."""
    steps = []
    for context in dict.fromkeys(place[0] for place in lambdas):
        deepest = {layer.partition("_")[0]: layer for at, layer in sorted(lambdas) if at == context}
        steps += [((context, deep), (context, shallow)) for shallow, deep in pairwise(deepest.values())]
    return _weakest(f"With {STATES[state]}, at equal λ the shallower of two blocks has the higher Ψ, in every context",
                    lambdas, steps)


def _weakest(claim: str, logs: Logs, steps: Iterable[tuple[tuple[str, str], tuple[str, str]]]) -> dict:
    """A claim that the first of each two is above the second: the one where it is so least."""
    top, bottom = min(steps, key=lambda both: (logs[both[0]] - logs[both[1]]).mean())
    bounds, rests = _between(logs[top], logs[bottom])
    return row(claim, "S4", DECADES, bounds, **_note(rests, f"weakest {_named(top)} against {_named(bottom)}"))


def _gamma(state: str, words: str, rates: Logs, target: float) -> dict:
    """Whether layers of one Psi have one Gamma: the highest exchange rate against the lowest."""
    top, bottom = _ends(rates)
    bounds, rests = _between(rates[top], rates[bottom])
    shown = tuple(float(10**each) for each in bounds)
    return row(f"With {STATES[state]}, where Ψ = {target:g} Γ at the output is the same at every layer of {words} (odds "
               f"within a factor of {FACTOR:g})", "S4", "times the odds", shown,
               above=_shifted(bounds, np.log10(FACTOR), -1), **_note(rests, f"{_named(top)} against {_named(bottom)}"))


def _conventions(state: str, factors: pd.DataFrame) -> list[dict]:
    """Whether a convention leaves lambda* as it is, at the layer where it does so least; [0, 1]: as 255 squared."""
    rows = []
    for convention in (UNIT, *SAME_SCALE):
        some = factors[(factors["convention"] == convention) & (factors["state"] == state)]
        known = np.log10(some["algebra"].iloc[0]) if convention == UNIT else 0.0
        logs = {layer: factor_logs(factors, convention, layer, state) - known for layer in sorted(set(some["layer"]))}
        layer = max(logs, key=lambda name: abs(logs[name].mean()))
        bounds, rests = bounds_of_logs(logs[layer])
        shown = tuple(float(10 ** (each + known)) for each in bounds)
        words = "multiplies λ* by 255², as without biases" if convention == UNIT else "leaves λ* as it is"
        rows.append(row(f"With {STATES[state]}, {CONVENTIONS[convention]} {words}, at every layer (within a factor of "
                        f"{FACTOR:g})", "S4", "times λ*", shown,
                        above=_shifted(_absolute(bounds), np.log10(FACTOR), -1), **_note(rests, layer)))
    return rows
