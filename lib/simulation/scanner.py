"""Geometry of a CT scanner: line integrals of an image, and filtered back-projection with a kernel. Parallel beam over 180
degrees (to which clinical scanners rebin), Fourier-slice projection and back-projection with `finufft`, in double precision:
what processors and libraries differ in is lost when the results are rounded to float32. Lacks beam hardening, scatter, cone
and helical geometry, and the projector shares its grid with the reconstruction."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import finufft
import numpy as np
from scipy import fft


class RollOff(NamedTuple):
    """Response of a kernel beside the ramp: exp(-ln 2 (f / half)^power)."""

    half: float  # line pairs a cm
    power: float


ROLL_OFF = {"B30": RollOff(3.4, 2.2), "D45": RollOff(7.6, 2.5)}
"""Fitted to Siemens B30f and D45f."""


@dataclass(frozen=True)
class Scanner:
    """Geometry, detector and water calibration of one scanner; holds no state of a patient."""

    size: int = 512  # pixels along a side of the image, at least 16
    fov_mm: float = 350.0  # side of the image; tissue outside it is not seen
    views: int = 0  # angles over 180 degrees; 0 means 720 for 512 pixels, and in proportion for others
    mu_water: float = 0.0192  # linear attenuation of water, 1/mm (about 70 keV effective)
    electronic_variance: float = 10.0  # of the detector's read-out, in photon counts squared
    modulation: float = 0.7  # of the tube current: exp(modulation (p_max(angle) - mean))
    bowtie: float = 0.5  # share of a 300 mm water cylinder's attenuation profile that the bowtie filter evens out
    threads: int = field(default=2, compare=False)  # they change the speed and not one bit of the result

    def __post_init__(self) -> None:
        if self.views == 0:
            object.__setattr__(self, "views", max(8, round(self.size * 720 / 512)))
        for name, least in (("size", 16), ("views", 8), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least}")
        if min(self.fov_mm, self.mu_water) <= 0 or min(self.electronic_variance, self.bowtie, self.modulation) < 0:
            raise ValueError("fov_mm and mu_water must be positive, and the other numbers not negative")

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, and width of a detector bin, in mm."""
        return self.fov_mm / self.size

    @property
    def bins(self) -> int:
        """Detector bins: odd (one lies on the axis, and no frequency is at Nyquist), and wider than the diagonal."""
        return int(np.ceil(self.size * np.sqrt(2.0) + 4.0)) // 2 * 2 + 1

    @property
    def sinogram_shape(self) -> tuple[int, int]:
        """(views, bins)."""
        return self.views, self.bins

    def project(self, hu: np.ndarray) -> np.ndarray:
        """Line integrals of the attenuation (mu times mm), float32, shape (slices, views, bins); view k looks at the angle
        pi k / views. `hu`, shape (slices, size, size), has rows towards the patient's back; outside is taken as vacuum."""
        hu = checked(hu, (self.size, self.size), "HU")
        scale, phase = self.mu_water * self.pixel_mm, self._waves[2]

        def transform(pair: np.ndarray, plan: finufft.Plan) -> np.ndarray:
            return fft.ifft(plan.execute(pair).reshape(self.sinogram_shape) * phase, axis=1)

        return self._in_pairs(transform, scale * (hu / 1000.0 + 1.0), self.sinogram_shape, nufft_type=2)

    def reconstruct(self, line_integrals: np.ndarray, kernel: str | RollOff = "D45") -> np.ndarray:
        """Filtered back-projection of (slices, views, bins) to HU, float32, (slices, size, size), not clipped; `kernel` is a
        key of `ROLL_OFF`, or a roll-off."""
        line_integrals = checked(line_integrals, self.sinogram_shape, "line integrals")
        response, phase = ramp(kernel, self.bins, self.views, self.pixel_mm), self._waves[2].conj()

        def transform(pair: np.ndarray, plan: finufft.Plan) -> np.ndarray:
            filtered = fft.ifft(fft.fft(pair, len(response), axis=1) * response, axis=1)[:, : self.bins]
            spectrum = fft.fft(filtered, axis=1) * phase
            return plan.execute(spectrum.ravel())

        mu = self._in_pairs(transform, line_integrals, (self.size, self.size), nufft_type=1)
        return mu * np.float32(1000.0 / self.mu_water) - np.float32(1000.0)

    def soften(self, hu_sharp: np.ndarray, sharp: str = "D45", soft: str = "B30") -> np.ndarray:
        """The `soft` kernel's HU from the `sharp` one's, float32, (slices, size, size), by the ratio of their roll-offs."""
        hu_sharp = checked(hu_sharp, (self.size, self.size), "HU")
        fy, fx = fft.fftfreq(self.size), fft.rfftfreq(self.size)
        frequency = np.minimum(np.hypot(fy[:, None], fx[None, :]), 0.5) * 10.0 / self.pixel_mm
        ratio = roll_off(soft, frequency) / roll_off(sharp, frequency)

        def one(image: np.ndarray) -> np.ndarray:
            return fft.irfft2(fft.rfft2(image.astype(np.float64)) * ratio, s=image.shape).astype(np.float32)

        with ThreadPoolExecutor(self.threads) as pool:
            return np.stack(list(pool.map(one, hu_sharp)))

    @cached_property
    def _waves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (row, column) of the Fourier slices in radians per pixel, and the phase of image and detector centre."""
        angle = np.pi * np.arange(self.views)[:, None] / self.views
        wave = 2.0 * np.pi * fft.fftfreq(self.bins)[None, :]
        column, row = wave * np.cos(angle), wave * np.sin(angle)
        shift = self.size // 2 - (self.size - 1) / 2.0
        phase = np.exp(-1j * (shift * (column + row) + (self.bins // 2) * wave))
        return row.ravel(), column.ravel(), phase

    def _in_pairs(self, transform: Callable, stack: np.ndarray, shape: tuple[int, int], nufft_type: int) -> np.ndarray:
        """Two real slices as one complex transform; single-threaded plans, so that no sum depends on the threads."""
        out = np.empty((len(stack), *shape), dtype=np.float32)
        sign = -1 if nufft_type == 2 else 1

        def work(start: int) -> None:
            plan = finufft.Plan(nufft_type, (self.size,) * 2, eps=1e-5, isign=sign, dtype="complex128", nthreads=1)
            plan.setpts(*self._waves[:2])
            for first in range(2 * start, len(stack), 2 * self.threads):
                pair = stack[first].astype(np.complex128)
                pair.imag = stack[first + 1] if first + 1 < len(stack) else 0.0
                result = transform(pair, plan)
                out[first] = result.real
                if first + 1 < len(stack):
                    out[first + 1] = result.imag

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, range(self.threads)))
        return out


def checked(array: np.ndarray, shape: tuple[int, int], what: str) -> np.ndarray:
    """The stack as float32; ValueError unless its shape is (slices, *shape)."""
    array = np.asarray(array, dtype=np.float32)
    if array.ndim != 3 or array.shape[1:] != shape or not len(array):
        raise ValueError(f"{what} of shape {array.shape}: expected (slices, {shape[0]}, {shape[1]})")
    return array


def roll_off(kernel: str | RollOff, frequency: np.ndarray) -> np.ndarray:
    """Response of a kernel, a key of `ROLL_OFF` or one's own, at `frequency` in line pairs a cm; 0.5 at its `half`."""
    if isinstance(kernel, str) and kernel not in ROLL_OFF:
        raise ValueError(f"unknown kernel {kernel!r}: choose from {', '.join(ROLL_OFF)}")
    half, power = ROLL_OFF[kernel] if isinstance(kernel, str) else kernel
    return np.exp(-np.log(2.0) * (frequency / half) ** power)


def ramp(kernel: str | RollOff, bins: int, views: int, pixel_mm: float) -> np.ndarray:
    """Response of the ramp with the kernel, shape (2 bins,): band-limited in space, so that HU are unbiased."""
    length = 2 * bins
    place = np.arange(length) - length * (np.arange(length) > length // 2)
    odd = place % 2 == 1
    taps = np.zeros(length)
    taps[0] = 0.25
    taps[odd] = -1.0 / (np.pi * place[odd]) ** 2
    frequency = np.abs(fft.fftfreq(length)) * 10.0 / pixel_mm
    response = fft.fft(taps).real / pixel_mm * roll_off(kernel, frequency)
    return response * np.pi / (views * bins)
