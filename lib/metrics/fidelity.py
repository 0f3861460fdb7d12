"""Visual information fidelity: how much of what a viewer could learn from the reference the image still says."""

from typing import Final

import numpy as np
from scipy import ndimage, signal

from lib.data.hu import WINDOW

SCALES: Final = 4
NOISE: Final = 2.0  # variance of the viewer's own noise, of a range of 255 (Sheikh and Bovik's)
TINY: Final = 1e-10


def vif(image_hu: np.ndarray, reference_hu: np.ndarray, window: tuple[float, float] = WINDOW) -> float:
    """VIF in the pixel domain (Sheikh and Bovik, IEEE Trans Image Process 15 (2006) 430, and their vifp_mscale) of images,
    (rows, columns) in HU with sides of at least 41, clipped to a window and scaled to [0, 255].

    1 for the reference itself, towards 0 as information is lost; above 1 where contrast is enhanced without noise. NaN where
    the reference shows one grey only. A reference's own noise counts as information. The same numbers as the package sewar
    gives.
    """
    low, high = window
    ours, other = (
        (np.clip(each.astype(np.float64), low, high) - low) * 255 / (high - low) for each in (image_hu, reference_hu)
    )
    seen, whole = 0.0, 0.0
    for scale in range(SCALES):
        side = 2 ** (SCALES - scale) + 1
        kernel = signal.windows.gaussian(side, side / 5)
        kernel /= kernel.sum()
        if scale:
            ours, other = (_smooth(each, kernel)[::2, ::2] for each in (ours, other))
        here = _information(ours, other, kernel)
        seen, whole = seen + here[0], whole + here[1]
    return seen / whole if whole > 0 else np.nan


def _smooth(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The image under the kernel wherever it fits in as a whole."""
    half = len(kernel) // 2
    smooth = ndimage.correlate1d(ndimage.correlate1d(image, kernel, 0), kernel, 1)
    return smooth[half : len(smooth) - half, half : smooth.shape[1] - half]


def _information(image: np.ndarray, reference: np.ndarray, kernel: np.ndarray) -> tuple[float, float]:
    """What image and reference say at one scale, in bits but for a factor."""
    ours, other = _smooth(image, kernel), _smooth(reference, kernel)
    variance = np.maximum(_smooth(image**2, kernel) - ours**2, 0.0)
    theirs = np.maximum(_smooth(reference**2, kernel) - other**2, 0.0)
    shared = _smooth(image * reference, kernel) - ours * other
    flat = theirs < TINY
    gain = np.where(flat | (variance < TINY), 0.0, np.maximum(shared / (theirs + TINY), 0.0))
    lost = np.maximum(np.where(gain > 0, variance - gain * shared, variance), TINY)
    theirs = np.where(flat, 0.0, theirs)
    return float(np.log2(1 + gain**2 * theirs / (lost + NOISE)).sum()), float(np.log2(1 + theirs / NOISE).sum())
