"""Noise power spectrum of an ensemble of regions: how much noise an image has at which frequency (texture)."""

from typing import Final, NamedTuple

import numpy as np
from scipy import fft

MOST_OVERLAP: Final = 2  # regions stand half a side apart


class Noise(NamedTuple):
    """What a spectrum comes to; NaN where there is no region."""

    sd: float  # HU
    peak: float  # 1/mm, of the radial spectrum
    mean: float  # 1/mm, of the radial spectrum


def regions(image: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    """Squares of an image that lie in a mask as a whole, half a side apart, (regions, side, side), float64.

    Parameters
    ----------
    image, mask : array, (rows, columns)
    side : int, pixels
    """
    if min(image.shape) < side:
        return np.empty((0, side, side))
    tiles, whole = (
        np.lib.stride_tricks.sliding_window_view(each, (side, side))[:: side // MOST_OVERLAP, :: side // MOST_OVERLAP]
        for each in (image, mask)
    )
    return tiles[whole.all(axis=(2, 3))].astype(np.float64)


def without_mean(squares: np.ndarray) -> np.ndarray:
    """Each square, (regions, side, side), less its own mean: a bias is no noise (ICRU Report 87; AAPM TG-233)."""
    return squares - squares.mean(axis=(1, 2), keepdims=True)


def without_trend(squares: np.ndarray) -> np.ndarray:
    """Each square, (regions, side, side), less the quadratic surface that fits it best: what anatomy does in a region that
    is taken as homogeneous. The surface takes the lowest frequencies of the noise, too."""
    side = squares.shape[-1]
    down, across = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].reshape(2, -1)
    surface = np.stack([np.ones(side * side), down, across, down**2, across**2, down * across], axis=1)
    basis = np.linalg.qr(surface)[0]
    flat = squares.reshape(len(squares), -1)
    return (flat - flat @ basis @ basis.T).reshape(squares.shape)


def of_realisations(images: np.ndarray) -> np.ndarray:
    """The noise of several realisations, (realisations, rows, columns), of one scene: each less their mean, scaled so that
    its variance is that of the noise. What does not change from one to the next, anatomy and its blur, is gone."""
    count = len(images)
    if count < 2:
        raise ValueError(f"{count} realisation: expected two or more")
    images = images.astype(np.float64)
    return (images - images.mean(axis=0)) * np.sqrt(count / (count - 1))


def spectrum(noise: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Noise power spectrum of an ensemble of noise regions, (regions, side, side) in HU: (side, side), HU^2 mm^2.

    pixel^2 / side^2 times the mean of |DFT|^2, in the order of NumPy's FFT (ICRU Report 87; AAPM TG-233). Its sum times
    (1 / (side pixel))^2 is the mean square of the regions; that of white noise is its variance times pixel^2, everywhere.
    Nothing is subtracted here. NaN for no region.
    """
    side = noise.shape[-1]
    if not len(noise):
        return np.full((side, side), np.nan)
    return (np.abs(fft.fft2(noise)) ** 2).mean(axis=0) * (pixel_mm / side) ** 2


def left_by_gaussian(power: np.ndarray, sd_mm: float, pixel_mm: float) -> float:
    """Share of the SD of noise of this spectrum, (side, side), that a Gaussian filter leaves: it passes a frequency f with
    exp(-2 (pi sd f)^2)."""
    passed = np.exp(-2 * (np.pi * sd_mm * radii(len(power), pixel_mm)) ** 2)
    return float(np.sqrt((power * passed**2).sum() / power.sum()))


def radii(side: int, pixel_mm: float) -> np.ndarray:
    """Distance of each frequency of a spectrum from zero, (side, side), 1/mm."""
    frequency = fft.fftfreq(side, pixel_mm)
    return np.hypot(frequency[:, None], frequency[None, :])


def radial(power: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, 1/mm, and the mean of a spectrum, (side, side), over rings one frequency step wide, from the first step
    to Nyquist's frequency; both (side // 2,). Zero itself, the noise of the mean, is left out."""
    side = len(power)
    ring = np.rint(radii(side, pixel_mm) * side * pixel_mm).astype(int).ravel()
    sums, counts = (np.bincount(ring, weights)[1 : side // 2 + 1] for weights in (power.ravel(), None))
    return np.arange(1, side // 2 + 1) / (side * pixel_mm), sums / counts


def summary(power: np.ndarray, pixel_mm: float) -> Noise:
    """SD, and peak and mean frequency of the radial spectrum (AAPM TG-233: sum of f NPS(f) over that of NPS(f))."""
    if not np.isfinite(power).all():
        return Noise(np.nan, np.nan, np.nan)
    frequency, rings = radial(power, pixel_mm)
    sd = np.sqrt(power.sum()) / (len(power) * pixel_mm)
    return Noise(float(sd), _peak(frequency, rings), float((frequency * rings).sum() / rings.sum()))


def _peak(frequency: np.ndarray, rings: np.ndarray) -> float:
    """Where the parabola through the highest ring and its neighbours has its top."""
    top = int(rings.argmax())
    if top in (0, len(rings) - 1):
        return float(frequency[top])
    before, here, after = rings[top - 1 : top + 2]
    bend = before - 2 * here + after
    return float(frequency[top] + (0.5 * (before - after) / bend if bend else 0.0) * (frequency[1] - frequency[0]))
