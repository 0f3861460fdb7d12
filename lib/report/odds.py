"""Axes of odds: shares of a loss or of a gradient, spread out near 0 and 1."""

from typing import Final

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import ArrayLike

SHARES: Final = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
SPARSE: Final = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def odds(share: ArrayLike) -> np.ndarray:
    """The odds of shares in [0, 1), share / (1 - share)."""
    return np.asarray(share, float) / (1 - np.asarray(share, float))


def shares_on(axis: Axis, shares: ArrayLike = SHARES) -> None:
    """Name the ticks of an axis, on which odds are drawn on a logarithmic scale, by their shares."""
    ticks = np.asarray(shares, float)
    axis.set_major_locator(FixedLocator(odds(ticks)))
    axis.set_major_formatter(FixedFormatter([f"{share:g}" for share in ticks]))
    axis.set_minor_locator(NullLocator())
