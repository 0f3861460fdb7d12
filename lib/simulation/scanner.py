"""A CT acquisition on paper: line integrals, photon counts at two doses, and filtered back-projection at two kernels.

Parallel beam over 180 degrees (to which clinical scanners rebin), Fourier-slice projection and back-projection with
`finufft`. The low dose is a binomial thinning of the *same* photons, as the Mayo challenge inserted its quarter dose.
Lacks beam hardening, scatter, cone and helical geometry, and the projector shares its grid with the reconstruction.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import finufft
import numpy as np
from scipy import fft

from lib.errors import StudyError, VolumeError

KERNELS: dict[str, tuple[float, float]] = {"B30": (3.4, 2.2), "D45": (7.6, 2.5)}
"""Roll-off of the ramp, exp(-ln 2 (f / half)^power): `half` in line pairs a cm. Fitted to Siemens B30f and D45f."""

I0_RANGE = (0.85e5, 2.5e5)  # photons; set so that the mean liver SD of the simulated patients is near the real one


def draw_i0(seed: int) -> float:
    """Photons a detector bin receives unattenuated, for the patient of this seed: log-uniform over `I0_RANGE`."""
    low, high = np.log(I0_RANGE)
    return float(np.exp(np.random.default_rng([seed, 0x10]).uniform(low, high)))


@dataclass(frozen=True)
class Scanner:
    """Geometry, detector and water calibration of one scanner; holds no state of a patient.

    Attributes:
        size: pixels along a side of the image.
        fov_mm: side of the image in mm; tissue outside it is not seen.
        views: angles over 180 degrees; 0 means 720 for 512 pixels, and in proportion for others.
        mu_water: linear attenuation of water, 1/mm (about 70 keV effective).
        electronic_variance: of the detector's read-out, in photon counts squared.
        modulation: strength of the tube-current modulation, exp(modulation (p_max(angle) - mean)).
        bowtie: share of a 300 mm water cylinder's attenuation profile which the bowtie filter evens out.
        threads: workers; it changes the speed and not one bit of the result.

    Raises:
        StudyError: a field is out of range.
    """

    size: int = 512
    fov_mm: float = 350.0
    views: int = 0
    mu_water: float = 0.0192
    electronic_variance: float = 10.0
    modulation: float = 0.7
    bowtie: float = 0.5
    threads: int = field(default=2, compare=False)

    def __post_init__(self) -> None:
        if self.views == 0:
            object.__setattr__(self, "views", max(8, round(self.size * 720 / 512)))
        for name, least in (("size", 16), ("views", 8), ("threads", 1)):
            if getattr(self, name) < least:
                raise StudyError(f"Scanner: {name} is {getattr(self, name)}; give at least {least}.")
        if min(self.fov_mm, self.mu_water) <= 0 or min(self.electronic_variance, self.bowtie, self.modulation) < 0:
            raise StudyError("Scanner: fov_mm and mu_water must be positive, and the other numbers not negative.")

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

    # ---- geometry -------------------------------------------------------------------------------------------------

    def project(self, hu: np.ndarray) -> np.ndarray:
        """Line integrals of the attenuation.

        Args:
            hu: HU, shape (slices, size, size); rows run towards the back of the patient. Outside is taken as vacuum.
        Returns:
            float32, shape (slices, views, bins), dimensionless (mu times mm). View k looks at the angle pi k / views.
        Raises:
            VolumeError: wrong shape.
        """
        hu = self._checked(hu, (self.size, self.size), "HU")
        scale = np.float32(self.mu_water * self.pixel_mm)

        def transform(pair: np.ndarray, plan: finufft.Plan) -> np.ndarray:
            spectrum = plan.execute(pair).reshape(self.sinogram_shape) * self._phase
            return fft.ifft(spectrum, axis=1)

        return self._in_pairs(transform, scale + (scale / 1000.0) * hu, self.sinogram_shape, nufft_type=2)

    def reconstruct(self, line_integrals: np.ndarray, kernel: str = "D45") -> np.ndarray:
        """Filtered back-projection to HU.

        Args:
            line_integrals: shape (slices, views, bins).
            kernel: a key of `KERNELS`.
        Returns:
            HU, float32, shape (slices, size, size); not clipped.
        Raises:
            StudyError: unknown kernel. VolumeError: wrong shape.
        """
        line_integrals = self._checked(line_integrals, self.sinogram_shape, "line integrals")
        ramp, bins = self._ramp(kernel), self.bins

        def transform(pair: np.ndarray, plan: finufft.Plan) -> np.ndarray:
            filtered = fft.ifft(fft.fft(pair, len(ramp), axis=1) * ramp, axis=1)[:, :bins]
            spectrum = fft.fft(filtered, axis=1) * self._phase.conj()
            return plan.execute(np.ascontiguousarray(spectrum, np.complex64).ravel())

        mu = self._in_pairs(transform, line_integrals, (self.size, self.size), nufft_type=1)
        mu *= np.float32(1000.0 / self.mu_water)
        mu -= np.float32(1000.0)
        return mu

    def soften(self, hu_sharp: np.ndarray, sharp: str = "D45", soft: str = "B30") -> np.ndarray:
        """The `soft` kernel's image from the `sharp` one's, by a 2-D filter: the ratio of the two roll-offs.

        Args: hu_sharp: HU, shape (slices, size, size).
        Returns: HU, float32, same shape.
        Raises: StudyError: unknown kernel. VolumeError: wrong shape.
        """
        hu_sharp = self._checked(hu_sharp, (self.size, self.size), "HU")
        fy, fx = fft.fftfreq(self.size), fft.rfftfreq(self.size)
        frequency = np.minimum(np.hypot(fy[:, None], fx[None, :]), 0.5) * 10.0 / self.pixel_mm
        ratio = (_roll_off(soft, frequency) / _roll_off(sharp, frequency)).astype(np.float32)

        def one(image: np.ndarray) -> np.ndarray:
            return fft.irfft2(fft.rfft2(image) * ratio, s=image.shape)

        with ThreadPoolExecutor(self.threads) as pool:
            return np.stack(list(pool.map(one, hu_sharp)))

    # ---- photons --------------------------------------------------------------------------------------------------

    def incident(self, line_integrals: np.ndarray, i0: float) -> np.ndarray:
        """Photons sent towards each bin at full dose: `i0` through the bowtie, modulated with the view.

        Needs no knowledge of the phantom, so it serves as well for inserting noise into a measured series.

        Args: line_integrals: noise-free, shape (views, bins). i0: photons a bin at the axis.
        Returns: float64, shape (views, bins).
        """
        offset = (np.arange(self.bins) - self.bins // 2) * self.pixel_mm / 150.0
        lacking = self.mu_water * 300.0 * (1.0 - np.sqrt(np.clip(1.0 - offset**2, 0.0, None)))
        thickest = line_integrals.max(axis=1).astype(np.float64)
        current = np.exp(self.modulation * (thickest - thickest.mean()))
        return i0 * current[:, None] * np.exp(-self.bowtie * lacking)[None, :]

    def expose(
        self, line_integrals: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float = 0.25
    ) -> tuple[np.ndarray, np.ndarray]:
        """One acquisition at full dose, and the same photons thinned to `dose_fraction` of it.

        Counts are Poisson(I exp(-p)) and Binomial(counts, dose_fraction), each with its own electronic noise and a
        floor of one. Each slice has its own child of `rng`, so a slice's noise does not depend on how many follow.

        Args: line_integrals: noise-free, shape (slices, views, bins). i0: see `incident`.
        Returns: log-transformed line integrals at full and low dose, float32, same shape each.
        Raises: StudyError: i0 or dose_fraction out of range. VolumeError: wrong shape.
        """
        line_integrals = self._checked_dose(line_integrals, i0, dose_fraction, "expose")
        electronic = self.electronic_variance
        full, low = np.empty_like(line_integrals), np.empty_like(line_integrals)

        def one(index: int, own: np.random.Generator) -> None:
            sent = self.incident(line_integrals[index], i0)
            photons = own.poisson(sent * np.exp(-line_integrals[index].astype(np.float64)))
            kept = own.binomial(photons, dose_fraction)
            full[index] = _read_out(photons, sent, electronic, own)
            low[index] = _read_out(kept, sent * dose_fraction, electronic, own)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(one, range(len(full)), rng.spawn(len(full))))
        return full, low

    def thin(
        self, line_integrals: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float = 0.25
    ) -> np.ndarray:
        """What a lower dose would add to line integrals measured at full dose: noise, and the bias of starved bins.

        The measured counts round(I exp(-p)) are thinned to Binomial(counts, dose_fraction). They carry the noise of the
        full dose already, quantum and electronic; read-out at the low dose therefore adds only what is lacking,
        electronic_variance (1 - dose_fraction^2) counts^2. With N counts the result has the variance
        (1 - a) / (a N) (1 + (1 + a) electronic_variance / (a N)), a the dose fraction, as in Yu et al., J Comput Assist
        Tomogr 36 (2012) 477. Each slice has its own child of `rng`, as in `expose`.

        Args: line_integrals: measured, with their noise, shape (slices, views, bins). i0: see `incident`.
        Returns: low-dose minus measured line integrals, float32, same shape.
        Raises: StudyError: i0 or dose_fraction out of range. VolumeError: wrong shape.
        """
        line_integrals = self._checked_dose(line_integrals, i0, dose_fraction, "thin")
        lacking = self.electronic_variance * (1.0 - dose_fraction**2)
        added = np.empty_like(line_integrals)

        def one(index: int, own: np.random.Generator) -> None:
            sent = self.incident(line_integrals[index], i0)
            counts = np.rint(sent * np.exp(-line_integrals[index].astype(np.float64))).astype(np.int64)
            kept = own.binomial(counts, dose_fraction)
            added[index] = _read_out(kept, sent * dose_fraction, lacking, own) - line_integrals[index]

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(one, range(len(added)), rng.spawn(len(added))))
        return added

    # ---- inner workings -------------------------------------------------------------------------------------------

    def _checked(self, array: np.ndarray, shape: tuple[int, int], what: str) -> np.ndarray:
        array = np.asarray(array, dtype=np.float32)
        if array.ndim != 3 or array.shape[1:] != shape or not len(array):
            needed = f"(slices, {shape[0]}, {shape[1]})"
            raise VolumeError(f"Scanner: {what} of shape {array.shape}; this scanner needs {needed}.")
        return array

    def _checked_dose(self, line_integrals: np.ndarray, i0: float, dose_fraction: float, what: str) -> np.ndarray:
        if not (i0 > 0.0 and 0.0 < dose_fraction < 1.0):
            raise StudyError(f"{what}: i0 {i0} must be positive and dose_fraction {dose_fraction} between 0 and 1.")
        return self._checked(line_integrals, self.sinogram_shape, "line integrals")

    @cached_property
    def _waves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (row, column) of the Fourier slices in radians a pixel, and the phase of image and detector centre."""
        angle = np.pi * np.arange(self.views)[:, None] / self.views
        wave = 2.0 * np.pi * fft.fftfreq(self.bins)[None, :]
        column, row = wave * np.cos(angle), wave * np.sin(angle)
        shift = self.size // 2 - (self.size - 1) / 2.0
        phase = np.exp(-1j * (shift * (column + row) + (self.bins // 2) * wave))
        return row.ravel().astype(np.float32), column.ravel().astype(np.float32), phase.astype(np.complex64)

    @property
    def _phase(self) -> np.ndarray:
        return self._waves[2]

    def _ramp(self, kernel: str) -> np.ndarray:
        """Response of the ramp (band-limited in space, so that HU are unbiased) with the kernel, twice padded."""
        length = 2 * self.bins
        place = np.arange(length) - length * (np.arange(length) > length // 2)
        odd = place % 2 == 1
        taps = np.zeros(length)
        taps[0] = 0.25
        taps[odd] = -1.0 / (np.pi * place[odd]) ** 2
        frequency = np.abs(fft.fftfreq(length)) * 10.0 / self.pixel_mm
        response = fft.fft(taps).real / self.pixel_mm * _roll_off(kernel, frequency)
        return (response * np.pi / (self.views * self.bins)).astype(np.float32)

    def _in_pairs(
        self,
        transform: Callable[[np.ndarray, finufft.Plan], np.ndarray],
        stack: np.ndarray,
        shape: tuple[int, int],
        nufft_type: int,
    ) -> np.ndarray:
        """Two real slices as one complex transform; single-threaded plans, so that no sum depends on the threads."""
        out = np.empty((len(stack), *shape), dtype=np.float32)
        firsts = list(range(0, len(stack), 2))
        row, column, _ = self._waves
        sign = -1 if nufft_type == 2 else 1

        def work(mine: list[int]) -> None:
            plan = finufft.Plan(
                nufft_type, (self.size,) * 2, eps=1e-5, isign=sign, dtype="complex64", nthreads=1
            )
            plan.setpts(row, column)
            for first in mine:
                pair = stack[first].astype(np.complex64)
                pair.imag = stack[first + 1] if first + 1 < len(stack) else 0.0
                result = transform(pair, plan)
                out[first] = result.real
                if first + 1 < len(stack):
                    out[first + 1] = result.imag

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, [firsts[k :: self.threads] for k in range(self.threads)]))
        return out


def _read_out(counts: np.ndarray, sent: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Line integrals that the detector reports: electronic noise, a floor of one count, logarithm."""
    read = counts + np.sqrt(variance) * rng.standard_normal(counts.shape, dtype=np.float32)
    return np.log(sent / np.maximum(read, 1.0))


def _roll_off(kernel: str, frequency: np.ndarray) -> np.ndarray:
    """Response of a kernel at `frequency` in line pairs a cm."""
    if kernel not in KERNELS:
        raise StudyError(f"Unknown kernel '{kernel}'; choose from {', '.join(KERNELS)}.")
    half, power = KERNELS[kernel]
    return np.exp(-np.log(2.0) * (frequency / half) ** power)
