"""The verdict of a claim, from an interval over patients and seeds, and the row of ``claims.csv`` that holds it.

A claim says that something is above zero: a difference in the direction of better, a distance to a bound. It *stands* if
the whole interval is above zero, it *falls* if the whole interval is below the margin under which two experiments count as
equal, and it is *undecided* in between, where both hold (better, but by less than the margin), and without an interval:
moving one end a little never turns *stands* into *falls*. A claim of several comparisons is as its weakest: it stands if
all stand (the intersection-union test, Berger 1982), and falls if one falls. Every interval covers 95 % by itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from lib.metrics.patients import LEAST_PATIENTS, differences, over_patients_and_seeds, sign_flip
from lib.report.words import counted, listed

Bounds = tuple[float, float, float]  # estimate, lower and upper end of its interval
NOTHING: Final[Bounds] = (np.nan, np.nan, np.nan)
LEAST_SEEDS: Final = 2
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
    if margin and -margin < low and high < margin:
        notes.append(f"equal to within {margin:g}")
    return dict(zip(("estimate", "low", "high"), bounds, strict=True)) | {
        "claim": claim, "question": question, "paper": np.nan, "verdict": verdict(low, high, margin),
        "leaning": verdict(estimate, estimate, margin), "unit": unit, "p_patients": np.nan, "patients": pd.NA,
        "seeds": pd.NA, "note": "; ".join(filter(None, notes))} | further


class Compared(NamedTuple):
    """By how much one experiment is better than another, and what that rests on."""

    bounds: Bounds  # of the mean difference over patients and seeds, in the direction of better
    p: float  # of the sign-flip test over patients
    patients: int
    seeds: int
    few: str = ""  # why there is no interval: 'one patient'


def compared(metrics: pd.DataFrame, first: str, second: str, metric: str) -> Compared:
    """``first`` against ``second``; there is an interval from three patients and two seeds on."""
    table = differences(metrics, first, second, metric) * (-1 if metric in LOWER_IS_BETTER else 1)
    mean, p = over_patients_and_seeds(table.to_numpy()), sign_flip(table.mean(axis=1).to_numpy())
    few = [counted(count, kind) for count, kind, least in zip(
        table.shape, ("patient", "seed"), (LEAST_PATIENTS, LEAST_SEEDS), strict=True) if count < least]
    interval = (np.nan, np.nan) if few else mean.interval()
    return Compared((mean.estimate, *interval), p, *table.shape, f"no interval from {listed(few)}" if few else "")


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(list(rows), columns=COLUMNS).astype({"patients": "Int64", "seeds": "Int64"})


def weakest(parts: Iterable[Bounds]) -> Bounds:
    """The bounds of a claim that all parts are above zero: the least estimate, the least ends."""
    estimate, low, high = np.min(np.array(list(parts), float), axis=0)
    return float(estimate), float(low), float(high)


def decisive(parts: Mapping[Any, Bounds]) -> Any:
    """Which part decides a claim that all are above zero: that of the lowest end, or without intervals the least one."""
    return min(parts, key=lambda name: parts[name][0 if np.isnan([each[1] for each in parts.values()]).any() else 1])


def lacking(needed: Iterable[str], there: Iterable[str]) -> str:
    """The note of a claim whose experiments are not all there; empty if they are."""
    missing = sorted(set(needed) - set(there))
    return f"not among the experiments: {listed(missing)}" if missing else ""
