"""Where a number is taken: the body, organs without their edges, soft tissue by a rule; and what is measured there."""

from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

from lib.data.hu import BODY_HU, WINDOW

SOFT_TISSUE_HU: Final = (0.0, 150.0)
EDGE: Final = 3  # pixels between a region and anything else: edges and their blur do not count
SMOOTH: Final = 7  # pixels, side of the square whose mean decides what is soft tissue: noise of a pixel must not
MIN_PIXELS: Final = 100  # of a region, for a number
ENOUGH: Final = 0.7  # soft tissue, share of a window that is shown


class Region(NamedTuple):
    """What an image shows in one region, in HU. NaN where the slice has fewer than 100 pixels of it."""

    bias: float  # mean of image - NDCT
    noise: float  # SD of the image's pixels, as read from a region of interest: the tissue's own texture counts
    ndct_noise: float  # the same of the NDCT, what a perfect image would have


def body(ndct_hu: np.ndarray) -> np.ndarray:
    """Mask of the body, (rows, columns): the largest connected part of the NDCT above -500 HU, its holes (lung, bowel gas)
    filled. All False in a slice of air."""
    parts, count = ndimage.label(ndct_hu > BODY_HU)
    if not count:
        return np.zeros(ndct_hu.shape, bool)
    return ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def inner(labels: np.ndarray) -> np.ndarray:
    """Mask of the pixels, (rows, columns), whose neighbours within 3 pixels to each side all have their label."""
    side = 2 * EDGE + 1
    return ndimage.minimum_filter(labels, side) == ndimage.maximum_filter(labels, side)


def soft_tissue(ndct_hu: np.ndarray) -> np.ndarray:
    """Mask of soft tissue without its edges, (rows, columns), where there are no labels: the NDCT's mean over 7 x 7 pixels
    is within [0, 150] HU there and within 3 pixels to each side. Noise moves that mean by little, so that choosing by the
    NDCT does not bias what is measured."""
    tissue = _smooth_tissue(ndct_hu)
    return tissue & inner(tissue.view(np.uint8))


def _smooth_tissue(ndct_hu: np.ndarray) -> np.ndarray:
    mean = ndimage.uniform_filter(ndct_hu.astype(np.float64), SMOOTH)
    return (mean >= SOFT_TISSUE_HU[0]) & (mean <= SOFT_TISSUE_HU[1])


def structured_window(ndct_hu: np.ndarray, shape: tuple[int, int]) -> tuple[int, int]:
    """Top row and left column of the window of this shape with most structure, for a figure: the largest variance of the
    NDCT, smoothed over 7 x 7 pixels and clipped to [-160, 240] HU, among the windows that are soft tissue to 70 % at
    least (or as much as any is). It knows nothing of what a network makes of it."""
    smooth = np.clip(ndimage.uniform_filter(ndct_hu.astype(np.float64), SMOOTH), *WINDOW)
    start = [side // 2 for side in shape]  # a filter over a window has its value there
    valid = tuple(slice(at, at + length - side + 1) for at, length, side in zip(start, ndct_hu.shape, shape, strict=True))
    share, mean, square = (
        ndimage.uniform_filter(each, shape)[valid]
        for each in (_smooth_tissue(ndct_hu).astype(np.float64), smooth, smooth**2)
    )
    eligible = share >= min(ENOUGH, share.max())
    top, left = np.unravel_index(np.where(eligible, square - mean**2, -np.inf).argmax(), share.shape)
    return int(top), int(left)


def measure(image_hu: np.ndarray, ndct_hu: np.ndarray, mask: np.ndarray) -> Region:
    """Bias and noise of an image in a region; ``image_hu``, ``ndct_hu``, ``mask``: (rows, columns)."""
    if np.count_nonzero(mask) < MIN_PIXELS:
        return Region(np.nan, np.nan, np.nan)
    image, ndct = image_hu[mask].astype(np.float64), ndct_hu[mask].astype(np.float64)
    return Region(float((image - ndct).mean()), float(image.std()), float(ndct.std()))
