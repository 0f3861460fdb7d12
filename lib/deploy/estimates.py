"""Numbers with their uncertainty over places of one scan, or the reason why there is none.

Neighbouring pixels are no independent samples, and the same tissue in the next slice is none either. What is measured is
therefore summed over cells, squares of the image plane that reach through all slices, and the jackknife over cells gives the
interval (Tukey 1958; Efron and Stein, Ann Stat 9 (1981) 586): it holds for ratios of sums as it does for means, and draws
nothing at random.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

LEAST: Final = 5  # places, from which an interval is given, and so a number
LEVEL: Final = 0.95  # of intervals
CELL_MM: Final = 24.0  # side of a cell: wider than the noise and the texture of a tissue are correlated


class Estimate(NamedTuple):
    """A number with its 95 % interval over places; NaN with a reason where this scan does not allow it."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    standard_error: float = np.nan
    places: int = 0
    reason: str = ""

    def as_dict(self) -> dict:
        """For JSON: the numbers, or `not_measurable` with the reason."""
        if self.reason:
            return {"not_measurable": self.reason, "places": self.places}
        return {"value": self.value, "low": self.low, "high": self.high, "standard_error": self.standard_error,
                "places": self.places}

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return not self.reason

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit; ``factor`` is positive."""
        return self._replace(value=self.value * factor, low=self.low * factor, high=self.high * factor,
                             standard_error=self.standard_error * factor)


def missing(reason: str, places: int = 0) -> Estimate:
    """What this scan does not show, and why."""
    return Estimate(places=places, reason=reason)


def jackknife(sums: np.ndarray, of: Callable[[np.ndarray], float], what: str = "places", least: float = -np.inf) -> Estimate:
    """``of`` the total of all cells, with its interval by leaving out one cell at a time (Student's t).

    Parameters
    ----------
    sums : array, (cells, numbers), that add up over cells
    of : function of the total, (numbers,)
    what : what a cell is, for the reason where there are fewer than 5
    least : what the quantity cannot be below, as an SD cannot be below 0: neither does the interval go there
    """
    count = len(sums)
    if count < LEAST:
        shown = what.replace("places", "place", 1) if count == 1 else what
        return missing(f"{count} {shown}, at least {LEAST} are needed", count)
    total = sums.sum(axis=0)
    without = np.array([of(total - each) for each in sums])
    value = float(of(total))
    if not np.isfinite([value, *without]).all():
        return missing("the numbers do not allow it", count)
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
    return Estimate(value, max(value - half, least), value + half, error, count)


def mean(values: np.ndarray, what: str = "places", least: float = -np.inf) -> Estimate:
    """Mean of one value a place, (places,), with the t interval (which is the jackknife's)."""
    return jackknife(np.stack([values, np.ones(len(values))], axis=1), lambda total: total[0] / total[1], what, least)


def cells(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> np.ndarray:
    """The cell of each pixel, (rows, columns), int: squares of 24 mm, those at the right and the lower end smaller."""
    side = [max(1, round(CELL_MM / spacing)) for spacing in spacing_mm]
    down, across = (np.arange(length) // each for length, each in zip(shape, side, strict=True))
    return down[:, None] * (across[-1] + 1) + across[None, :]


def by_cell(cell: np.ndarray, mask: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """Sums over each cell that the mask has pixels of, (cells, 1 + values): their number, then of each of the values.

    Parameters
    ----------
    cell : array, (rows, columns), int
    mask, values : array, (slices, rows, columns)
    """
    where = np.broadcast_to(cell, mask.shape)[mask]
    sums = [np.bincount(where, None if each is None else each[mask].astype(np.float64)) for each in (None, *values)]
    return np.stack(sums, axis=1).astype(np.float64)[sums[0] > 0]
