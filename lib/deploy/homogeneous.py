"""What tissue a scan shows where, and its noise: squares of homogeneous tissue, chosen by rule from the input.

Noise is what is left in a square without its best quadratic surface. The other usual way, differences of adjacent slices,
needs slices that have noise of their own (thick overlapping ones have not, so that it comes out too low by an unknown
factor), tissue that goes on from one to the next, and more than one slice. It is measured, too, as a check: what a square
has of texture the two ways see differently.

Squares are chosen by the input's mean over 7 x 7 pixels, which its noise moves by little: chosen by their own variance they
would be those in which the noise happened to be low, and the input would seem to have less of it than it has.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy import fft, ndimage

from lib.deploy.estimates import Estimate, by_cell, cells, jackknife, missing
from lib.metrics.noise_power import radii, without_trend
from lib.metrics.regions import SMOOTH, SOFT_TISSUE_HU, body, inner
from lib.simulation.low_dose_series import padding

TISSUES: Final = {"air": (-2000.0, -900.0), "lung": (-900.0, -600.0), "fat": (-140.0, -50.0), "soft tissue": SOFT_TISSUE_HU,
                  "bone": (250.0, 3000.0)}
"""HU of the input's mean over 7 x 7 pixels, by class."""

CALM_TISSUES: Final = ("fat", "soft tissue")  # lung and bone have structure above their noise; air may be clipped
SQUARE_MM: Final = 16.0
WITH_SQUARES: Final = "places with homogeneous squares"
CALM: Final = (0.2, 1.6)
"""Quantile of the SDs of smoothed squares, and the multiple of it up to which squares count: nearly all of those that have
noise only, whose smoothed SD varies by a third of itself."""

NOTHING: Final = 1e-9  # HU^2 mm^2: what rounding leaves of noise power
FREEDOM: Final = 6  # that a quadratic surface takes from a square


class Tissue(NamedTuple):
    """One class of tissue: its noise before and after, and what denoising does to its mean."""

    name: str
    low_hu: float
    high_hu: float
    sd_before: Estimate  # HU
    sd_after: Estimate  # HU
    sd_share: Estimate  # after / before
    sd_before_adjacent: Estimate  # HU, from differences of adjacent slices: the check
    sd_after_adjacent: Estimate
    bias: Estimate  # HU, mean of denoised less input


class Spectrum(NamedTuple):
    """Noise power in homogeneous soft tissue, before and after."""

    frequency: np.ndarray  # 1/mm, (rings,)
    before: np.ndarray  # HU^2 mm^2, (rings,)
    after: np.ndarray
    mean_before: Estimate  # 1/mm
    mean_after: Estimate

    def unknown(self, reason: str) -> "Spectrum":
        """The same without numbers, for that reason."""
        empty = np.full(len(self.frequency), np.nan)
        return Spectrum(empty, empty, empty, missing(reason), missing(reason))


class Squares(NamedTuple):
    """Squares of homogeneous tissue: where their corners are, and their side in pixels."""

    corners: np.ndarray  # int, (squares, 3): slice, row, column
    side: int

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Those of a volume, (squares, side, side), float64."""
        found = [volume[index, row : row + self.side, column : column + self.side] for index, row, column in self.corners]
        return np.array(found, np.float64).reshape(-1, self.side, self.side)


def tissues(volume: np.ndarray) -> np.ndarray:
    """The class of each pixel, (slices, rows, columns), uint8: 1 and on in the order of :data:`TISSUES`, 0 for what is none
    of them, within 3 pixels of another, or filled in by the scanner. Air is that outside the body."""
    found = np.zeros(volume.shape, np.uint8)
    filled = padding(volume)
    for index, image in enumerate(volume):
        smooth, inside = ndimage.uniform_filter(image.astype(np.float64), SMOOTH), body(image)
        for number, (name, (low, high)) in enumerate(TISSUES.items(), start=1):
            within = ~inside if name == "air" else inside
            found[index][(smooth >= low) & (smooth <= high) & within] = number
        found[index][~inner(found[index])] = 0
    found[filled] = 0
    return found


def is_tissue(labels: np.ndarray, name: str) -> np.ndarray:
    """Mask of one class, of the shape of the labels."""
    return labels == list(TISSUES).index(name) + 1


def squares(volume: np.ndarray, labels: np.ndarray, name: str, pixel_mm: float) -> Squares:
    """Squares of 16 mm (8 pixels at least), side by side, that are of one class as a whole and calm: the SD of the input's
    mean over 7 x 7 pixels around its quadratic surface is within 1.6 times the quantile .2 of those of the class."""
    side = max(8, round(SQUARE_MM / pixel_mm))
    mask = is_tissue(labels, name)
    corners = [(index, row, column) for index in range(len(volume)) for row in range(0, volume.shape[1] - side + 1, side)
               for column in range(0, volume.shape[2] - side + 1, side)
               if mask[index, row : row + side, column : column + side].all()]
    found = Squares(np.array(corners, int).reshape(-1, 3), side)
    if not corners:
        return found
    smooth = ndimage.uniform_filter(volume.astype(np.float64), (1, SMOOTH, SMOOTH))
    sd = without_trend(found.of(smooth)).std(axis=(1, 2))
    return found._replace(corners=found.corners[sd <= CALM[1] * np.quantile(sd, CALM[0])])


def measure(name: str, before: np.ndarray, after: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float],
            found: Squares | None) -> Tissue:
    """Noise and bias of one class.

    Parameters
    ----------
    before, after : array, (slices, rows, columns), HU
    labels : of :func:`tissues`, of the input
    spacing_mm : of rows and columns
    found : squares of the class; None where its noise is not that of a square
    """
    cell = cells(before.shape[1:], spacing_mm)
    difference = after.astype(np.float64) - before
    sums = by_cell(cell, is_tissue(labels, name), difference)
    bias = jackknife(sums, lambda total: total[1] / total[0], f"places of {name} without edges")
    if found is None:
        none = missing("its own structure is above the noise" if name != "air" else "scanners clip and mask it")
        return Tissue(name, *TISSUES[name], *[none] * 5, bias)
    return Tissue(name, *TISSUES[name], *_noise(found, before, after, cell), bias)


def _noise(found: Squares, before: np.ndarray, after: np.ndarray, cell: np.ndarray) -> list[Estimate]:
    if not len(found.corners):
        return [missing(f"no homogeneous square of {SQUARE_MM:g} mm")] * 5
    freedom = found.side**2 - FREEDOM
    both = [without_trend(found.of(each)) for each in (before, after)]
    sums = _summed(found, cell, *[(each**2).sum(axis=(1, 2)) / freedom for each in both])
    sd = [jackknife(sums, _root_mean(of), WITH_SQUARES, least=0) for of in (1, 2)]
    share = jackknife(sums, lambda total: float(np.sqrt(total[2] / total[1])) if total[1] > 0 else np.nan,
                      WITH_SQUARES, least=0)
    place = {tuple(corner): index for index, corner in enumerate(found.corners.tolist())}
    pairs = [(index, place[following]) for (at, *rest), index in place.items() if (following := (at + 1, *rest)) in place]
    if not pairs:
        return [*sd, share, *[missing("no homogeneous square goes on in the next slice")] * 2]
    first, second = np.array(pairs).T
    apart = [((each[first] - each[second]) ** 2).sum(axis=(1, 2)) / freedom / 2 for each in both]
    sums = _summed(found._replace(corners=found.corners[first]), cell, *apart)
    return [*sd, share, *[jackknife(sums, _root_mean(of), WITH_SQUARES, least=0) for of in (1, 2)]]


def _root_mean(of: int) -> Callable[[np.ndarray], float]:
    return lambda total: float(np.sqrt(total[of] / total[0]))


def spectrum(found: Squares, before: np.ndarray, after: np.ndarray, pixel_mm: float, cell: np.ndarray) -> Spectrum:
    """Noise power spectrum of squares of soft tissue before and after (ICRU Report 87, AAPM TG-233: rings one frequency step
    wide up to Nyquist), and its mean frequency. A quadratic surface is taken out, and with it part of the lowest ring."""
    side, half = found.side, found.side // 2
    ring = np.rint(radii(side, pixel_mm) * side * pixel_mm).astype(int).ravel()
    counts = np.bincount(ring)[1 : half + 1]
    frequency = np.arange(1, half + 1) / (side * pixel_mm)
    if not len(found.corners):
        empty, none = np.full(half, np.nan), missing(f"no homogeneous square of soft tissue of {SQUARE_MM:g} mm")
        return Spectrum(frequency, empty, empty, none, none)
    curves, means = [], []
    for volume, nothing in ((before, "the scan has no noise"), (after, "no noise is left")):
        power = np.abs(fft.fft2(without_trend(found.of(volume)))) ** 2 * (pixel_mm / side) ** 2
        rings = np.array([np.bincount(ring, each)[1 : half + 1] / counts for each in power.reshape(len(power), -1)])
        curves.append(rings.mean(axis=0))
        if curves[-1].max() < NOTHING:
            means.append(missing(nothing))
            continue
        means.append(jackknife(_summed(found, cell, *rings.T), _mean_frequency(frequency), WITH_SQUARES))
    return Spectrum(frequency, *curves, *means)


def _mean_frequency(frequency: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda total: float((frequency * total[1:]).sum() / total[1:].sum())


def _summed(found: Squares, cell: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """Number of squares and sums of their values by the cell of their middle, (cells, 1 + values)."""
    _, rows, columns = found.corners.T
    where = cell[rows + found.side // 2, columns + found.side // 2]
    sums = [np.bincount(where, each, minlength=1) for each in (np.ones(len(where)), *values)]
    return np.stack(sums, axis=1)[sums[0] > 0]
