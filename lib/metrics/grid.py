"""Grids that a network's strides leave behind: peaks in the spectrum of its error."""

from typing import Final

import numpy as np
from scipy import fft, signal

PERIODS: Final = (2, 4, 8, 16)  # pixels: strides of the U-Net and of the encoder's layers
TILE: Final = 64  # pixels, a multiple of every period: each of them is one frequency of a tile's spectrum
STEP: Final = TILE // 2
NEAR, FAR = 1, 3  # frequencies off the peak: up to NEAR the window spreads it, from there to FAR is its neighbourhood
_SQUARE = np.mgrid[-FAR : FAR + 1, -FAR : FAR + 1].reshape(2, -1)
OFFSETS: Final = _SQUARE[:, np.abs(_SQUARE).max(axis=0) > NEAR]
"""Rows and columns of a neighbourhood, off its peak: 7 x 7 frequencies without the middle 3 x 3."""

_SURFACE = [OFFSETS[0] ** down * OFFSETS[1] ** across for down in range(3) for across in range(3 - down)]
CENTRE: Final = np.linalg.pinv(np.stack(_SURFACE, axis=1))[0]
"""Weights by which values of a neighbourhood give that of the quadratic surface through them at the peak."""


def grid_peaks(error: np.ndarray, mask: np.ndarray) -> dict[int, float]:
    """How far a grid stands out of the noise, by its period in pixels: about 1 without one, above 2 a peak.

    The power at 1 / period cycles a pixel over that of its neighbourhood: of the quadratic surface through the logarithms of
    the 40 frequencies that are 2 or 3 off it, so that neither a slope of the spectrum nor its own bulge is a peak. The mean
    over the :func:`spectra` of the slice, since the power of one tile is exponentially distributed; each tile has its own
    level, so that one with a sharp edge weighs no more than another. The largest of three kinds of grid: along rows, along
    columns, and both (the mean of the two diagonals). White noise in a 512 x 512 slice gives 1.2, with an SD of 0.2 (0.3 at
    period 2): judge by the mean over slices. NaN where the mask holds no tile.

    Parameters
    ----------
    error : array, (rows, columns), image minus NDCT in any unit
    mask : array, (rows, columns), bool, where it counts: the body
    """
    power = spectra(error, mask)
    return {period: _peak(power, TILE // period) if len(power) else np.nan for period in PERIODS}


def spectra(error: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Power of the tiles that lie in the mask as a whole, (tiles, 64, 64), frequencies in the order of NumPy's FFT; that of
    white noise is its variance. Tiles of 64 x 64 pixels, half a tile apart, each less its mean, in a Hann window."""
    if min(error.shape) < TILE:
        return np.empty((0, TILE, TILE))
    tiles, whole = (np.lib.stride_tricks.sliding_window_view(each, (TILE, TILE))[::STEP, ::STEP] for each in (error, mask))
    tiles = tiles[whole.all(axis=(2, 3))].astype(np.float64)
    window = np.outer(*2 * [signal.windows.hann(TILE, sym=False)])
    tiles = (tiles - tiles.mean(axis=(1, 2), keepdims=True)) * (window / np.linalg.norm(window))
    return np.abs(fft.fft2(tiles)) ** 2


def _peak(power: np.ndarray, frequency: int) -> float:
    """The largest ratio of the three kinds of grid."""
    kinds = [[(0, frequency)], [(frequency, 0)], [(frequency, frequency), (frequency, -frequency)]]
    return max(float(np.mean([_ratio(power, *place) for place in places])) for places in kinds)


def _ratio(power: np.ndarray, row: int, column: int) -> float:
    """Power at a frequency over what its neighbourhood lets expect there; 1 on average in noise, the mean logarithm of whose
    power is Euler's constant below the logarithm of the mean."""
    around = power[:, (row + OFFSETS[0]) % TILE, (column + OFFSETS[1]) % TILE]
    logarithm = np.log(np.maximum(around, np.finfo(float).tiny))
    level = logarithm.mean(axis=1)  # of each tile
    bulge = CENTRE @ (logarithm - level[:, None]).mean(axis=0)  # what the surface has at the peak beyond its mean around it
    return float(np.mean(power[:, row, column] / np.exp(level + bulge + np.euler_gamma)))
