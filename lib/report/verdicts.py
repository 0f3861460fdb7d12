"""The verdict of a claim, from an interval over patients and seeds, and the row of ``claims.csv`` that holds it.

A claim says that something is above zero: a difference in the direction of better, a distance to a bound. It *stands* if
the whole interval is above zero, it *falls* if the whole interval is below the margin under which two experiments count as
equal, and it is *undecided* in between, where both hold (better, but by less than the margin), and without an interval:
moving one end a little never turns *stands* into *falls*. Every interval that is shown covers 95 % by itself.

A claim of several comparisons is as its weakest. It stands if all stand (the intersection-union test, Berger 1982). It falls
if one falls, by an interval that is wider the more there are (Bonferroni), else chance would find one among many; and where
patients and seeds are chance only with three seeds or more: with two, intervals of equal ones exclude zero too often.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from lib.metrics.patients import LEAST_PATIENTS, differences, over_patients_and_seeds, sign_flip
from lib.report.words import counted, listed

Bounds = tuple[float, float, float]  # estimate, lower and upper end of its interval
NOTHING: Final[Bounds] = (np.nan, np.nan, np.nan)
LEAST_SEEDS, SEEDS_OF_MANY = 2, 3  # for an interval, and for one of several comparisons to make a claim fall
LEVEL: Final = 0.95
LOWER_IS_BETTER: Final = ("nrmse",)
COLUMNS: Final = ["claim", "question", "estimate", "low", "high", "paper", "verdict", "leaning", "unit", "p_patients",
                  "patients", "seeds", "note"]
"""Of ``claims.csv``: ``leaning`` is the verdict of the estimate without its interval, ``p_patients`` that of the sign-flip
test over patients."""


def verdict(low: float, high: float, margin: float = 0.0) -> str:
    """'stands', 'falls' or 'undecided' of a claim that something is above zero, from its interval.

    >>> verdict(0.001, 0.02, 0.002), verdict(-0.001, 0.001, 0.002), verdict(0.0005, 0.001, 0.002)
    ('stands', 'falls', 'undecided')
    """
    above, below = low > 0, high < margin
    return "stands" if above and not below else "falls" if below and not above else "undecided"


def row(claim: str, question: str, unit: str, bounds: Bounds = NOTHING, above: Bounds | None = None, margin: float = 0.0,
        **further: Any) -> dict[str, Any]:
    """A row of :data:`COLUMNS`; ``bounds`` are shown, ``above`` is what the claim says to be above zero (default: they)."""
    estimate, low, high = bounds if above is None else above
    notes = [further.pop("note", "")]
    if above is None:
        notes.append(equal(bounds, margin))
    return dict(zip(("estimate", "low", "high"), bounds, strict=True)) | {
        "claim": claim, "question": question, "paper": np.nan, "verdict": verdict(low, high, margin),
        "leaning": verdict(estimate, estimate, margin), "unit": unit, "p_patients": np.nan, "patients": pd.NA,
        "seeds": pd.NA, "note": "; ".join(filter(None, notes))} | further


def equal(bounds: Bounds, margin: float) -> str:
    """A note where the interval lies within the margin."""
    return f"equal to within {margin:g}" if margin and -margin < bounds[1] and bounds[2] < margin else ""


class Compared(NamedTuple):
    """By how much one experiment is better than another, and what that rests on."""

    bounds: Bounds  # of the mean difference over patients and seeds, in the direction of better
    wide: Bounds  # with the interval by which one of several comparisons makes a claim fall
    p: float  # of the sign-flip test over patients
    patients: int
    seeds: int
    few: str = ""  # why there is no interval: 'one patient'


def compared(metrics: pd.DataFrame, first: str, second: str, metric: str, of: int = 1) -> Compared:
    """``first`` against ``second``, one ``of`` so many; there are intervals from three patients and two seeds on."""
    table = differences(metrics, first, second, metric) * (-1 if metric in LOWER_IS_BETTER else 1)
    mean, p = over_patients_and_seeds(table.to_numpy()), sign_flip(table.mean(axis=1).to_numpy())
    few = [counted(count, kind) for count, kind, least in zip(
        table.shape, ("patient", "seed"), (LEAST_PATIENTS, LEAST_SEEDS), strict=True) if count < least]
    narrow, wide = ((np.nan, np.nan) if few else mean.interval(level) for level in (LEVEL, level_of(of)))
    return Compared((mean.estimate, *narrow), (mean.estimate, *wide), p, *table.shape,
                    f"no interval from {listed(few)}" if few else "")


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(list(rows), columns=COLUMNS).astype({"patients": "Int64", "seeds": "Int64"})


def level_of(comparisons: int) -> float:
    """Of the interval by which one of so many comparisons makes a claim fall (Bonferroni)."""
    return 1 - (1 - LEVEL) / comparisons


class Weakest(NamedTuple):
    """Of a claim that several things are above zero."""

    name: Any  # of the part that decides
    above: Bounds  # of the claim: the least estimate, the least ends


def weakest(parts: Mapping[Any, Bounds], wide: Mapping[Any, Bounds] | None = None, margin: float = 0.0,
            seeds: int | None = None) -> Weakest:
    """The bounds of a claim that all parts are above zero, and which part decides it: that of the lowest upper end where the
    claim falls, else that of the lowest lower end; without intervals the least one.

    Parameters
    ----------
    parts : mapping
        By name, what the claim says to be above zero, with its interval.
    wide : mapping, optional
        The same with intervals of :func:`level_of` so many parts: whether the claim falls (default: ``parts``).
    margin : float
        Of :func:`verdict`.
    seeds : int, optional
        How many the intervals rest on, if they take seeds as chance: of several parts none makes the claim fall by too few.
    """
    wide = parts if wide is None else wide
    (estimate, low), high = np.min([each[:2] for each in parts.values()], axis=0), min(each[2] for each in wide.values())
    if len(parts) > 1 and seeds is not None and seeds < SEEDS_OF_MANY:
        high = np.nan
    if np.isnan([each[1] for each in parts.values()]).any():
        low, high = np.nan, np.nan
    above = (float(estimate), float(low), float(high))
    if verdict(low, high, margin) == "falls":
        return Weakest(min(wide, key=lambda name: wide[name][2]), above)
    return Weakest(min(parts, key=lambda name: parts[name][0 if np.isnan(low) else 1]), above)


def weakest_compared(parts: Mapping[Any, Compared], margin: float = 0.0, shift: float = 0.0) -> Weakest:
    """:func:`weakest` of comparisons, each one ``of`` so many, of whose differences plus ``shift`` a claim says that each is
    above zero."""
    def above(bounds: Bounds) -> Bounds:
        estimate, low, high = bounds
        return estimate + shift, low + shift, high + shift

    return weakest({name: above(each.bounds) for name, each in parts.items()},
                   {name: above(each.wide) for name, each in parts.items()}, margin, next(iter(parts.values())).seeds)


def lacking(needed: Iterable[str], there: Iterable[str]) -> str:
    """The note of a claim whose experiments are not all there; empty if they are."""
    missing = sorted(set(needed) - set(there))
    return f"not among the experiments: {listed(missing)}" if missing else ""
