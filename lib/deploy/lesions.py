"""What becomes of lesions that are known: discs of low contrast in homogeneous soft tissue of this scan, as its scanner
shows them. A crop is denoised with and without; what the output differs in is what came back."""

from typing import Final, NamedTuple

import numpy as np
from scipy import fft, ndimage, stats

from lib.denoiser.inference import MULTIPLE
from lib.deploy.estimates import LEVEL, Estimate, mean, missing
from lib.deploy.inserted import Denoise
from lib.metrics.regions import SMOOTH
from lib.metrics.task_transfer import disc, from_disc
from lib.simulation.scanner import RollOff, roll_off

CONTRASTS_HU: Final = (-40.0, -20.0, -10.0, 10.0, 20.0, 40.0)
DIAMETERS_MM: Final = (5.0, 10.0)
CROP: Final = 96  # pixels, side of what is denoised around a lesion
BORDER: Final = 16  # pixels at its border that are not measured
MOST_PLACES: Final = 12
APART: Final = 2.0  # largest diameters between two places, in the image plane, in whatever slices
BETWEEN: Final = (0.3, -0.4)  # pixels, of a lesion's centre from a pixel's: its edge lies on no row or column of the grid
FAR: Final = 0.01  # of the contrast: where a lesion shows less, it is outside,
GUARD: Final = (5.0, 4)  # mm and pixels from its edge, the larger one: nearer is blur, which the recovery shows


class Lesion(NamedTuple):
    """What came back of discs of one diameter and contrast."""

    diameter_mm: float
    contrast_hu: float  # of the disc before the scanner's own blur
    recovery: Estimate  # mean change of the output under the disc / that of the input; 1: all of it
    outside_rms_hu: Estimate  # mean over places of the RMS of the output's change beyond the lesion less the input's
    outside_largest_hu: float  # its largest magnitude in all places; NaN where there are none


def places(volume: np.ndarray, tissue: np.ndarray, pixel_mm: float, diameter_mm: float) -> np.ndarray:
    """Where discs are inserted, int, (places, 3): slice, row, column; the calmest first.

    A place is soft tissue as a whole, twice as wide as the disc, far enough from the image's border for the crop to show all
    around it, and two diameters from every other in the image plane. Calmest: the lowest SD of the input's mean over 7 x 7
    pixels (as for squares: the noise of a pixel chooses nothing).

    Parameters
    ----------
    volume, tissue : array, (slices, rows, columns): HU; homogeneous soft tissue without edges, bool
    """
    room, wide = diameter_mm / pixel_mm, 2 * round(diameter_mm / pixel_mm) + 1
    roughness = np.full(volume.shape, np.inf)
    margin = BORDER + int(np.ceil(room))
    for index, image in enumerate(volume):
        deep = ndimage.distance_transform_edt(tissue[index]) >= room
        inner = np.zeros_like(deep)
        inner[margin : deep.shape[0] - margin, margin : deep.shape[1] - margin] = True
        smooth = ndimage.uniform_filter(image.astype(np.float64), SMOOTH)
        variance = ndimage.uniform_filter(smooth**2, wide) - ndimage.uniform_filter(smooth, wide) ** 2
        roughness[index] = np.where(deep & inner, variance, np.inf)
    found: list[tuple[int, ...]] = []
    rows, columns = np.ogrid[: volume.shape[1], : volume.shape[2]]
    while len(found) < MOST_PLACES and np.isfinite(roughness).any():
        found.append(tuple(int(each) for each in np.unravel_index(roughness.argmin(), roughness.shape)))
        near = np.hypot(rows - found[-1][1], columns - found[-1][2]) < APART * room
        roughness[:, near] = np.inf
    return np.array(found, int).reshape(-1, 3)


def shown(side: int, pixel_mm: float, centre: tuple[float, float], diameter_mm: float, kernel: RollOff) -> np.ndarray:
    """A disc of height 1, (side, side), as a scanner with this kernel shows it."""
    rows, columns = fft.fftfreq(side), fft.rfftfreq(side)
    frequency = np.minimum(np.hypot(rows[:, None], columns[None, :]), 0.5) * 10.0 / pixel_mm
    spectrum = fft.rfft2(disc(side, pixel_mm, centre, diameter_mm)) * roll_off(kernel, frequency)
    return fft.irfft2(spectrum, (side, side))


def recover(denoise: Denoise, volume: np.ndarray, where: np.ndarray, pixel_mm: float, kernel: RollOff,
            diameter_mm: float) -> list[Lesion]:
    """Insert discs of every contrast at every place, one at a time, and denoise a crop around each.

    The crop begins at a multiple of 16 pixels, so that a U-Net's poolings meet the pixels that they meet in the whole slice.
    ``recovery``: of the change under the disc, the mean weighted by the disc's share of each pixel, denoised over inserted.

    Parameters
    ----------
    volume : array, (slices, rows, columns), HU
    where : array of :func:`places`
    """
    side, count = min(CROP, *volume.shape[1:]), len(where)
    if not count:
        none = missing(f"no homogeneous soft tissue with room for {diameter_mm:g} mm")
        return [Lesion(diameter_mm, contrast, none, none, np.nan) for contrast in CONTRASTS_HU]
    crops, inserted, weights, beyond = [], [], [], []
    for index, *place in where.tolist():
        corner = [int(np.clip((at - side // 2) // MULTIPLE * MULTIPLE, 0, length - side))
                  for at, length in zip(place, volume.shape[1:], strict=True)]
        at = tuple(each - start + off for each, start, off in zip(place, corner, BETWEEN, strict=True))
        crops.append(volume[index, corner[0] : corner[0] + side, corner[1] : corner[1] + side])
        inserted.append(shown(side, pixel_mm, at, diameter_mm, kernel))
        weights.append(disc(side, pixel_mm, at, diameter_mm))
        away = from_disc(side, pixel_mm, at, diameter_mm) > guard_mm(pixel_mm)
        outside = away & (np.abs(inserted[-1]) < FAR)
        outside[:BORDER], outside[-BORDER:], outside[:, :BORDER], outside[:, -BORDER:] = [False] * 4
        beyond.append(outside)
    clean, lesion, weight = np.stack(crops).astype(np.float32), np.stack(inserted), np.stack(weights)
    without = np.asarray(denoise(clean), np.float64)
    found = []
    for contrast in CONTRASTS_HU:
        with_lesion = (clean + contrast * lesion).astype(np.float32)
        change = np.asarray(denoise(with_lesion), np.float64) - without
        given = with_lesion.astype(np.float64) - clean
        recovery = (weight * change).sum(axis=(1, 2)) / (weight * given).sum(axis=(1, 2))
        rest = [(each - own)[outside] for each, own, outside in zip(change, given, beyond, strict=True)]
        far = np.array([np.sqrt(np.mean(each**2)) if each.size else np.nan for each in rest])
        largest = max((float(np.abs(each).max()) for each in rest if each.size), default=np.nan)
        found.append(Lesion(diameter_mm, contrast, mean(recovery), mean(far, least=0), largest))
    return found


def guard_mm(pixel_mm: float) -> float:
    """From a lesion's edge, mm: farther away is outside, nearer is blur."""
    return max(GUARD[0], GUARD[1] * pixel_mm)


def against_noise(recovery: Estimate, noise_share: Estimate) -> Estimate:
    """How much more a disc stands out of the noise of the mean over it than before: recovery / share of that noise. The two
    are taken as independent; the interval is symmetric in the logarithm.

    1: the lesion is as hard to tell from noise as before, whatever the noise of single pixels has become.
    """
    if not (recovery.known and noise_share.known and recovery.value > 0 and noise_share.value > 0):
        reason = recovery.reason or noise_share.reason or "nothing of the lesion came back"
        return missing(reason, min(recovery.places, noise_share.places))
    value, places = recovery.value / noise_share.value, min(recovery.places, noise_share.places)
    relative = float(np.hypot(recovery.standard_error / recovery.value, noise_share.standard_error / noise_share.value))
    factor = float(np.exp(stats.t.ppf((1 + LEVEL) / 2, places - 1) * relative))
    return Estimate(value, value / factor, value * factor, value * relative, places)
