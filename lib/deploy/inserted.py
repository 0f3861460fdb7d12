"""What becomes of noise that is known: that of a lower dose is inserted into a scan, and both are denoised."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy import fft

from lib.deploy.estimates import Estimate, by_cell, cells, jackknife, missing
from lib.metrics.regions import body
from lib.metrics.task_transfer import disc
from lib.simulation.kernels import NoiseKernel, noise_kernel
from lib.simulation.low_dose_series import added_noise, padding
from lib.simulation.noise import Photons, estimate_i0
from lib.simulation.scanner import Scanner

Denoise = Callable[[np.ndarray], np.ndarray]

DOSES: Final = (0.5, 0.25)  # of the scan's own: as much noise again (in variance) as it has, and three times as much
MOST_PIXELS: Final = 3 * 512 * 512  # of the slices into which noise is inserted: projections take most of the time
CALM: Final = "places of homogeneous soft tissue"
SQUARE_TOLERANCE: Final = 1e-3  # relative, between rows and columns


class Noise(NamedTuple):
    """Noise of known doses for some slices, and what it is like."""

    added: dict[float, np.ndarray]  # by dose as a share of the scan's: HU, (slices, rows, columns)
    kernel: NoiseKernel  # roll-off of the scan's noise
    photons: Photons  # of the scan, a detector bin


class Region(NamedTuple):
    """What is left of inserted noise in one region."""

    sd_hu: float  # of the inserted noise, RMS
    share: Estimate  # slope of what the noise makes of the output on the noise itself
    rms_share: Estimate  # RMS of what the noise makes of the output, whatever it looks like, over that of the noise
    rmse_before: Estimate  # HU, of the noisy slices from the scan
    rmse_after: Estimate  # HU, of the denoised noisy slices from the scan
    rmse_clean: Estimate  # HU, of the denoised scan from the scan: what denoising changes where no noise was inserted


class Left(NamedTuple):
    """What is left of the inserted noise of one dose."""

    dose: float  # of the scan's own
    body: Region
    soft_tissue: Region  # homogeneous, without edges
    under_disc: dict[float, Estimate]  # by diameter in mm: share of the SD of the noise's mean over a disc


def kernel_of(volume: np.ndarray, pixel_mm: float) -> NoiseKernel:
    """The roll-off that the noise of a scan shows, of whatever kernel."""
    return noise_kernel("", volume, pixel_mm)


def chosen(volume: np.ndarray) -> np.ndarray:
    """Which slices get noise, indices: spread evenly, as many as three of 512 x 512 have pixels."""
    size = max(volume.shape[1:])
    count = int(np.clip(MOST_PIXELS // size**2, 1, min(3, len(volume))))
    return np.unique(((np.arange(count) + 0.5) / count * len(volume)).astype(int))


def noise_of_doses(volume: np.ndarray, pixel_mm: float, kernel: NoiseKernel, rng: np.random.Generator) -> Noise:
    """Noise that lower doses add to slices, (slices, rows, columns) in HU, by the method of
    :mod:`lib.simulation.insertion`: line integrals of the scan, thinned photons, the roll-off of the scan's own noise."""
    size = max(volume.shape[1:])
    scanner = Scanner(size=size, fov_mm=size * pixel_mm)
    of_photons, *of_doses = rng.spawn(1 + len(DOSES))
    square = np.full((len(volume), size, size), -1000.0, np.float32)
    down, across = ((size - length) // 2 for length in volume.shape[1:])
    square[:, down : down + volume.shape[1], across : across + volume.shape[2]] = np.maximum(volume, -1000.0)
    photons = estimate_i0(scanner, square, kernel.roll_off, of_photons)
    filled = padding(volume)
    added = {dose: np.where(filled, 0, added_noise(scanner, volume, own, photons.i0, dose, kernel.roll_off))
             for dose, own in zip(DOSES, of_doses, strict=True)}
    return Noise({dose: each.astype(np.float32) for dose, each in added.items()}, kernel, photons)


def left(denoise: Denoise, clean: np.ndarray, denoised: np.ndarray, noise: np.ndarray, dose: float, calm: np.ndarray,
         spacing_mm: tuple[float, float], diameters_mm: tuple[float, ...]) -> Left:
    """What a denoiser leaves of noise that is added to slices.

    With e = denoise(clean + noise) - denoise(clean): ``share`` is sum(e noise) / sum(noise^2) over a region, what comes out
    as it went in; ``rms_share`` sqrt(sum(e^2) / sum(noise^2)) holds what it was changed into, too. A linear filter that
    passes a frequency with G leaves sum(G S) / sum(S) and sqrt(sum(G^2 S) / sum(S)) of noise with the spectrum S.

    Parameters
    ----------
    clean, denoised, noise : array, (slices, rows, columns), HU; ``denoised`` is that of ``clean``
    calm : array, bool, the same shape: homogeneous tissue, in which means over discs are taken
    spacing_mm, diameters_mm : of rows and columns; of the discs
    """
    noisy = np.asarray(denoise((clean + noise).astype(np.float32)), np.float64)
    effect, cell = noisy - denoised, cells(clean.shape[1:], spacing_mm)
    noise = noise.astype(np.float64)
    parts = (noise**2, effect * noise, effect**2, (noisy - clean) ** 2, (np.asarray(denoised, np.float64) - clean) ** 2)
    inside = np.stack([body(image) for image in clean]) & ~padding(clean)
    whole, flat = (by_cell(cell, mask, *parts) for mask in (inside, calm))
    return Left(dose, _region(whole, "places in the body"), _region(flat, CALM), {each: _under_disc(
        effect, noise, calm, cell, spacing_mm, each) for each in diameters_mm})


def _region(sums: np.ndarray, what: str) -> Region:
    """Of sums over cells of: 1, noise^2, effect noise, effect^2, squared errors of the noisy and the clean slices."""
    def root(top: int, below: int) -> Estimate:
        return jackknife(sums, lambda total: float(np.sqrt(total[top] / total[below])) if total[below] > 0 else np.nan, what,
                         least=0)

    slope = jackknife(sums, lambda total: float(total[2] / total[1]) if total[1] > 0 else np.nan, what)
    total = sums.sum(axis=0)
    sd = float(np.sqrt(total[1] / total[0])) if total[0] else np.nan
    return Region(sd, slope, root(3, 1), root(1, 0), root(4, 0), root(5, 0))


def _under_disc(effect: np.ndarray, noise: np.ndarray, calm: np.ndarray, cell: np.ndarray,
                spacing_mm: tuple[float, float], diameter_mm: float) -> Estimate:
    """Share of the SD of the mean over a disc that is left, in calm tissue."""
    if abs(spacing_mm[1] / spacing_mm[0] - 1) > SQUARE_TOLERANCE:
        return missing("pixels are not square")
    side = int(np.ceil(diameter_mm / spacing_mm[0])) // 2 * 2 + 3
    kernel = disc(side, spacing_mm[0], (side // 2, side // 2), diameter_mm)
    smooth = [np.stack([_convolved(image, kernel / kernel.sum()) for image in each]) for each in (effect, noise)]
    sums = by_cell(cell, calm, *[each**2 for each in smooth])
    return jackknife(sums, lambda total: float(np.sqrt(total[1] / total[2])) if total[2] > 0 else np.nan, CALM,
                     least=0)


def _convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """An image under a kernel with an odd side, symmetric, zeros outside."""
    shape = [length + len(kernel) - 1 for length in image.shape]
    product = fft.irfft2(fft.rfft2(image, shape) * fft.rfft2(kernel, shape), shape)
    half = len(kernel) // 2
    return product[half : half + image.shape[0], half : half + image.shape[1]]
