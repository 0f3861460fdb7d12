"""SSIM, PSNR and NRMSE of one image. A number means little without its protocol: the same pair of images has PSNR 38 in the
authors' (:func:`authors_metrics`) and 20 in a soft-tissue window (:func:`window_metrics`)."""

from typing import NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

from lib.data.hu import WINDOW


class Scores(NamedTuple):
    """Quality of one image. ``psnr`` (dB) is infinite for an image equal to its reference; ``ssim_body`` is None where no
    body was given, and NaN where it has no pixel."""

    ssim: float
    psnr: float
    nrmse: float
    ssim_body: float | None = None


def _scores(image: np.ndarray, reference: np.ndarray, data_range: float, body: np.ndarray | None = None) -> Scores:
    """SSIM (scikit-image, 7 x 7 uniform window) and, by the paper's footnotes 3 and 4, NRMSE and PSNR."""
    ssim, ssim_map = structural_similarity(reference, image, data_range=data_range, full=True)
    inside = None if body is None else _mean_inside(ssim_map, body)
    difference = image.astype(np.float64) - reference
    error, norm = np.linalg.norm(difference), np.linalg.norm(reference.astype(np.float64))
    if error == 0:
        return Scores(float(ssim), np.inf, 0.0, inside)
    psnr = 20 * np.log10(data_range * np.sqrt(difference.size) / error)
    return Scores(float(ssim), float(psnr), float(error / norm) if norm else np.inf, inside)


def _mean_inside(ssim_map: np.ndarray, body: np.ndarray) -> float:
    """As scikit-image's mean without the border that the window reaches over, in a mask only."""
    whole = (slice(3, -3),) * 2
    return float(ssim_map[whole][body[whole]].mean()) if body[whole].any() else np.nan


def authors_metrics(image: np.ndarray, ndct: np.ndarray, body: np.ndarray | None = None) -> Scores:
    """The protocol of Table 3: clipped to [0, 1], truncated to uint8, data range 255, NRMSE over the Euclidean norm.

    ``image``, ``ndct``: (rows, columns), normalised HU, (HU + 1024) / 4096; sides of at least 7. ``body``: a mask in which
    the same map of SSIM is averaged, too (air, two thirds of a slice, hides what is wrong inside). The authors repeat the
    channel three times; one gives bit-identical numbers for a third of the work.
    """
    image, ndct = ((np.clip(each, 0, 1) * 255).astype(np.uint8) for each in (image, ndct))
    return _scores(image, ndct, 255, body)


def window_metrics(image_hu: np.ndarray, ndct_hu: np.ndarray, window: tuple[float, float] = WINDOW) -> Scores:
    """The same three in float, images (rows, columns) in HU with sides of at least 7, clipped to a window in HU and scaled
    to [0, 1]; data range 1."""
    low, high = window
    image, ndct = ((np.clip(each.astype(np.float64), low, high) - low) / (high - low) for each in (image_hu, ndct_hu))
    return _scores(image, ndct, 1.0)
