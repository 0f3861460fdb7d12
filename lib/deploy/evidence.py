"""What a denoiser does to this scan, measured on the scan itself; no ground truth is needed.

Noise and its texture before and after, bias of CT numbers by tissue, and what comes back of what is known because it was
inserted here: noise of lower doses (:mod:`lib.deploy.inserted`) and lesions of low contrast (:mod:`lib.deploy.lesions`).
Intervals are over places of the scan (:mod:`lib.deploy.estimates`): they say how sure a number is of *this* scan, and
nothing of other scans, readers or diseases. What the scan does not allow is said, with the reason. The random numbers come
from a seed that the pixels give: the same scan and denoiser, the same evidence.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from lib.deploy import homogeneous, inserted, lesions
from lib.deploy.estimates import cells
from lib.deploy.homogeneous import CALM_TISSUES, TISSUES, Spectrum, Tissue
from lib.deploy.inserted import SQUARE_TOLERANCE, Left
from lib.deploy.lesions import DIAMETERS_MM, Lesion
from lib.simulation.insertion import MIN_SIZE

MOST_SLICES: Final = 8  # that are measured, next to each other
AT_ONCE: Final = 2 * 512 * 512  # pixels that are denoised in one call
NOT_SQUARE: Final = "pixels are not square"
NOT_STATED: Final = "the size of its pixels is not stated"
AS_IF_MM: Final = 1.0  # of such pixels, for the sides of squares and cells alone


@dataclass(frozen=True)
class Subject:
    """A block of slices of a series, and what denoises it.

    Parameters
    ----------
    volume : array, (slices, rows, columns), HU, float32: slices that follow each other; of more than 8 those with most soft
        tissue are measured, so 24 are plenty
    spacing_mm : between slices, rows and columns; NaN where nothing says it
    denoise : function, HU of (slices, rows, columns) to the same; any size, each slice by itself
    reasons : what of the series lies outside the trained range, in words
    share_outside : share of the series' voxels outside the HU range that the network was trained on, 0 to 1
    label : what the series is called, without identity
    image_type : of the input, as DICOM has it, its values joined by a slash; '' where it is not known
    """

    volume: np.ndarray
    spacing_mm: tuple[float, float, float]
    denoise: Callable[[np.ndarray], np.ndarray]
    reasons: tuple[str, ...] = ()
    share_outside: float = 0.0
    label: str = "series"
    image_type: str = ""


class Pictures(NamedTuple):
    """One slice for the eye, HU, (rows, columns)."""

    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What was measured on one series; numbers have units in their names."""

    label: str
    image_type: str
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]  # of the slices that were measured
    reasons: tuple[str, ...]
    share_outside: float
    tissues: dict[str, Tissue]
    spectrum: Spectrum
    noise_left: tuple[Left, ...]  # by dose; empty with a reason in `not_measured`
    noise_slices: int  # into which noise was inserted
    noise_source: dict[str, Any]  # roll-off and photons of the inserted noise, and how they were found
    lesions: tuple[Lesion, ...]
    not_measured: dict[str, str]  # what, and why
    seed: int
    pictures: Pictures = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything but the pictures."""
        spectrum = self.spectrum
        return {
            "series": self.label, "image_type": self.image_type, "spacing_mm": _numbers(self.spacing_mm),
            "slices_measured": self.shape[0], "rows": self.shape[1], "columns": self.shape[2],
            "outside_trained_range": list(self.reasons), "share_of_voxels_outside_trained_hu": self.share_outside,
            "tissues": {name: _plain(each) for name, each in self.tissues.items()},
            "noise_power_spectrum": {
                "frequency_per_mm": _numbers(spectrum.frequency), "before_hu2_mm2": _numbers(spectrum.before),
                "after_hu2_mm2": _numbers(spectrum.after), "mean_frequency_before_per_mm": spectrum.mean_before.as_dict(),
                "mean_frequency_after_per_mm": spectrum.mean_after.as_dict()},
            "inserted_noise": {"slices": self.noise_slices, **self.noise_source,
                               "left": [_plain(each) for each in self.noise_left]},
            "inserted_lesions": [_plain(each) for each in self.lesions],
            "not_measured": self.not_measured, "seed": self.seed,
        }


def measure(subject: Subject) -> Evidence:
    """Measure a denoiser on a scan. ValueError: the block has no slice, or the denoiser changes its shape or leaves numbers.

    Takes three passes of the network over 3 slices, one over 8 and 156 crops of 96 x 96, and projections of 3 slices: at
    512 x 512 about 20 slices in all.
    """
    if subject.volume.ndim != 3 or not subject.volume.size:
        raise ValueError(f"volume of shape {subject.volume.shape}: expected (slices, rows, columns)")
    before = _block(np.ascontiguousarray(subject.volume, np.float32))
    denoise = _bounded(subject.denoise)
    after = _checked(denoise(before), before)
    stated = bool(np.isfinite(subject.spacing_mm[1:]).all())
    plane = subject.spacing_mm[1:] if stated else (AS_IF_MM, AS_IF_MM)
    pixel_mm = plane[0]
    seed = int(hashlib.sha256(before.astype("<f4").tobytes()).hexdigest()[:15], 16)
    labels = homogeneous.tissues(before)
    found = {name: homogeneous.squares(before, labels, name, pixel_mm) for name in CALM_TISSUES}
    measured = {name: homogeneous.measure(name, before, after, labels, plane, found.get(name)) for name in TISSUES}
    soft, square = homogeneous.is_tissue(labels, "soft tissue"), abs(plane[1] / plane[0] - 1) <= SQUARE_TOLERANCE
    spectrum = homogeneous.spectrum(found["soft tissue"], before, after, pixel_mm, cells(before.shape[1:], plane))
    missing: dict[str, str] = {}
    left: tuple[Left, ...] = ()
    slices, source = 0, {}
    kernel = inserted.kernel_of(before, pixel_mm)
    if not stated:
        missing = dict.fromkeys(("Inserted noise", "Inserted lesions"), NOT_STATED)
        spectrum = spectrum.unknown(NOT_STATED)
    elif not square:
        missing["Inserted noise"] = missing["Inserted lesions"] = f"{NOT_SQUARE} ({plane[0]:g} x {plane[1]:g} mm)"
    elif max(before.shape[1:]) < MIN_SIZE:
        missing["Inserted noise"] = f"slices of {before.shape[1]} x {before.shape[2]} pixels, at least {MIN_SIZE} are needed"
    else:
        kept = inserted.chosen(before)
        noise = inserted.noise_of_doses(before[kept], pixel_mm, kernel, np.random.default_rng(seed))
        left = tuple(inserted.left(denoise, before[kept], after[kept], each, dose, soft[kept], plane, DIAMETERS_MM)
                     for dose, each in noise.added.items())
        slices = len(kept)
        source = {"roll_off_half_lp_per_cm": kernel.roll_off.half, "roll_off_power": kernel.roll_off.power,
                  "roll_off_source": kernel.source, "photons_per_bin": noise.photons.i0,
                  "photons_source": noise.photons.source}
    discs: list[Lesion] = []
    for diameter in DIAMETERS_MM if square and stated else ():
        where = lesions.places(before, soft, pixel_mm, diameter)
        discs += lesions.recover(denoise, before, where, pixel_mm, kernel.roll_off, diameter)
    middle = int(soft.sum(axis=(1, 2)).argmax())
    return Evidence(subject.label, subject.image_type, subject.spacing_mm, before.shape, tuple(subject.reasons),
                    float(subject.share_outside), measured, spectrum, left, slices, source, tuple(discs), missing, seed,
                    Pictures(before[middle], after[middle]))


def _block(volume: np.ndarray) -> np.ndarray:
    """At most 8 slices that follow each other: those with most soft tissue, the first such."""
    if len(volume) <= MOST_SLICES:
        return volume
    step = max(1, min(volume.shape[1:]) // 64)  # the amount of tissue shows in few pixels
    low, high = TISSUES["soft tissue"]
    smooth = np.stack([_coarse(image, step) for image in volume])
    amount = ((smooth >= low) & (smooth <= high)).sum(axis=(1, 2))
    sums = np.convolve(amount, np.ones(MOST_SLICES, int), "valid")
    first = int(sums.argmax())
    return volume[first : first + MOST_SLICES]


def _coarse(image: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (length // step * step for length in image.shape)
    return image[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3), dtype=np.float64)


def _bounded(denoise: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The same in parts, so that memory depends on no number of slices."""
    def in_parts(stack: np.ndarray) -> np.ndarray:
        count = max(1, AT_ONCE // stack[0].size)
        return np.concatenate([np.asarray(denoise(stack[first : first + count]), np.float32)
                               for first in range(0, len(stack), count)])

    return in_parts


def _checked(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    if after.shape != before.shape or not np.isfinite(after).all():
        raise ValueError(f"the denoiser made {after.shape} of {before.shape}, or values that are no numbers")
    return after


def _plain(value: Any) -> Any:
    """A NamedTuple of numbers and estimates as JSON holds it."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {f"{name:g}_mm" if isinstance(name, float) else name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [float(each) if np.isfinite(each) else None for each in values]
