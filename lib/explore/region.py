"""The numbers of what is in view: a rectangle of a slice."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from lib.data.hu import normalise
from lib.metrics.image_quality import authors_metrics, window_metrics
from lib.metrics.regions import body, measure, structured_window

SMALLEST: Final = 7  # pixels, side of SSIM's window
COLUMNS: Final = {
    "SSIM": "The paper's protocol (Table 3): all of [-1024, 3072] HU as 8 bits", "PSNR (dB)": "By the same protocol",
    "NRMSE": "By the same protocol", "SSIM in window": "Clipped to the window that is shown",
    "PSNR in window (dB)": "Clipped to the window that is shown",
    "bias (HU)": "Mean of image - NDCT over the region", "error SD (HU)": "SD of image - NDCT over the region",
    "noise SD (HU)": "SD of the image in the soft tissue of the region, 100 pixels at least: its own texture counts",
}


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, without the last ones."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """That part of an image, (rows, columns)."""
        return image[self.top : self.bottom, self.left : self.right]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left


def in_view(horizontal: tuple[float, float], vertical: tuple[float, float], shape: tuple[int, int]) -> Box:
    """The pixels whose centres lie within the limits of axes, as matplotlib has them: centres are whole numbers."""
    left, right, top, bottom = (
        int(np.clip(place, 0, side)) for limits, side in ((horizontal, shape[1]), (vertical, shape[0]))
        for place in (np.ceil(min(limits)), np.floor(max(limits)) + 1))
    return Box(top, max(bottom, top), left, max(right, left))


def body_box(ndct_hu: np.ndarray) -> Box:
    """The rectangle around the body; all of a slice of air."""
    inside = body(ndct_hu)
    rows, columns = np.nonzero(inside if inside.any() else ~inside)
    return Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)


def detail_box(ndct_hu: np.ndarray, share: float = 0.25) -> Box:
    """A square, ``share`` of a side, at the place that Figure 3 would show: by :func:`structured_window`, from the NDCT."""
    side = min(max(16, round(share * max(ndct_hu.shape))), *ndct_hu.shape)
    top, left = structured_window(ndct_hu, (side, side))
    return Box(top, top + side, left, left + side)


@dataclass(frozen=True)
class Numbers:
    """An image beside the NDCT in a region, by the headings of ``COLUMNS``; NaN where the region is too small."""

    values: tuple[float, ...]

    def cells(self) -> list[str]:
        """As they are shown: '–' for none."""
        digits = (4, 2, 4, 4, 2, 1, 1, 1)
        return ["–" if np.isnan(value) else "∞" if np.isinf(value) else f"{value:.{places}f}".replace("-", "−")
                for value, places in zip(self.values, digits, strict=True)]


def numbers(image_hu: np.ndarray, ndct_hu: np.ndarray, tissue: np.ndarray, box: Box, window: tuple[float, float]) -> Numbers:
    """Quality of a region by :mod:`lib.metrics`, computed on what is cut out, as if that were the image.

    Parameters
    ----------
    image_hu, ndct_hu : array, (rows, columns), HU
    tissue : array, (rows, columns), the slice's soft tissue (:func:`lib.metrics.regions.soft_tissue`), for the noise
    box : Box, the region; where a side is below 7 pixels there is no SSIM, hence no scores
    window : tuple, HU that are black and white
    """
    image, ndct = box.of(image_hu), box.of(ndct_hu)
    if not image.size:
        return Numbers((np.nan,) * len(COLUMNS))
    scores: tuple[float, ...] = (np.nan,) * 5
    if min(box.shape) >= SMALLEST:
        authors, shown = authors_metrics(normalise(image), normalise(ndct)), window_metrics(image, ndct, window)
        scores = authors.ssim, authors.psnr, authors.nrmse, shown.ssim, shown.psnr
    error = image.astype(np.float64) - ndct
    noise = measure(image, ndct, box.of(tissue)).noise
    return Numbers((*scores, float(error.mean()), float(error.std()), noise))
