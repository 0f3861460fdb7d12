"""Photons: how many are sent to each detector bin, what is counted, and how a lower dose is thinned from it: binomially,
from the *same* photons, as the Mayo challenge inserted its quarter dose.

The same photons are drawn on every processor. Line integrals differ by about 1e-13 between processors and are rounded to
`GRID`, whose steps next to none of them crosses; and each view of each slice has a generator of its own, so that one that
does cross changes its own counts, and at worst the rest of its view.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lib.data.doses import LARGEST_I0
from lib.simulation.scanner import Scanner, checked

I0_RANGE = (0.85e5, 2.5e5)  # photons; set so that the mean liver SD of the simulated patients is near the real one
STEEPEST = 20.0  # exponent of the tube current: beyond what blocks of metal ask for, and far beyond a body
GRID = 2.0**-12  # of line integrals: a tenth of the full dose's noise behind air, a hundredth behind 20 cm of water


def draw_i0(seed: int) -> float:
    """Photons that a detector bin receives unattenuated, for the patient of this seed: log-uniform over `I0_RANGE`."""
    low, high = np.log(I0_RANGE)
    return float(np.exp(np.random.default_rng([seed, 0x10]).uniform(low, high)))


def expose(
    scanner: Scanner, line_integrals: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals of one acquisition at full dose, and of the same photons thinned to `dose_fraction`, float32.

    Counts are Poisson(I exp(-p)) and Binomial(counts, dose_fraction), each with its own electronic noise and a floor of
    one. Each slice has its own child of `rng`, and each view that one's, so noise does not depend on how many follow.

    Parameters
    ----------
    line_integrals : noise-free, shape (slices, views, bins); both results have their shape
    i0, dose_fraction : photons per bin at the axis; share of the full dose, between 0 and 1
    """
    variance = scanner.electronic_variance

    def one(ideal: np.ndarray, sent: np.ndarray, views: list[np.random.Generator]) -> np.ndarray:
        noise = _electronic(views, scanner.bins, variance), _electronic(views, scanner.bins, variance)
        photons = _each_view(np.random.Generator.poisson, views, sent * np.exp(-ideal))
        kept = _each_view(np.random.Generator.binomial, views, photons, dose_fraction)
        return np.stack([_read_out(photons + noise[0], sent), _read_out(kept + noise[1], sent * dose_fraction)])

    full, low = _each_slice(one, scanner, line_integrals, rng, i0, dose_fraction).swapaxes(0, 1)
    return full, low


def thin(
    scanner: Scanner, line_integrals: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float = 0.25
) -> np.ndarray:
    """Low-dose minus measured full-dose line integrals, float32: added noise, and the bias of starved bins.

    The measured counts round(I exp(-p)) are thinned to Binomial(counts, dose_fraction). They carry the noise of the full
    dose already, quantum and electronic; read-out at the low dose therefore adds only what is lacking,
    electronic_variance (1 - dose_fraction^2) counts^2. With N counts the result has the variance
    (1 - a) / (a N) (1 + (1 + a) electronic_variance / (a N)), a the dose fraction, as in Yu et al., J Comput Assist
    Tomogr 36 (2012) 477. Arguments are as for `expose`, but `line_integrals` are measured, with their noise.
    """
    lacking = scanner.electronic_variance * (1.0 - dose_fraction**2)

    def one(measured: np.ndarray, sent: np.ndarray, views: list[np.random.Generator]) -> np.ndarray:
        noise = _electronic(views, scanner.bins, lacking)
        counts = np.rint(sent * np.exp(-measured)).astype(np.int64)
        kept = _each_view(np.random.Generator.binomial, views, counts, dose_fraction)
        return _read_out(kept + noise, sent * dose_fraction) - measured

    return _each_slice(one, scanner, line_integrals, rng, i0, dose_fraction)


def _each_slice(work: Callable, scanner: Scanner, line_integrals, rng, i0: float, dose_fraction: float) -> np.ndarray:
    """`work(line integrals, photons sent, a generator a view)` of every slice, float32, in the scanner's threads."""
    if not (0.0 < i0 <= LARGEST_I0 and 0.0 < dose_fraction < 1.0):
        raise ValueError(f"i0 {i0}, dose_fraction {dose_fraction}: expected {LARGEST_I0:g} photons at most, a share below 1")

    def one(measured: np.ndarray, own: np.random.Generator) -> np.ndarray:
        measured = np.rint(measured.astype(np.float64) / GRID) * GRID
        return work(measured, _incident(scanner, measured, i0), own.spawn(scanner.views)).astype(np.float32)

    line_integrals = checked(line_integrals, scanner.sinogram_shape, "line integrals")
    with ThreadPoolExecutor(scanner.threads) as pool:
        return np.stack(list(pool.map(one, line_integrals, rng.spawn(len(line_integrals)))))


def _incident(scanner: Scanner, line_integrals: np.ndarray, i0: float) -> np.ndarray:
    """Photons sent towards each bin of a slice, (views, bins), at full dose: `i0` through the bowtie, modulated with the
    view. Needs no knowledge of the phantom, so it serves as well for inserting noise into a measured series."""
    offset = (np.arange(scanner.bins) - scanner.bins // 2) * scanner.pixel_mm / 150.0
    lacking = scanner.mu_water * 300.0 * (1.0 - np.sqrt(np.clip(1.0 - offset**2, 0.0, None)))
    thickest = line_integrals.max(axis=1)
    current = np.exp(np.minimum(scanner.modulation * (thickest - thickest.mean()), STEEPEST))
    return i0 * current[:, None] * np.exp(-scanner.bowtie * lacking)[None, :]


def _electronic(views: list[np.random.Generator], bins: int, variance: float) -> np.ndarray:
    """Electronic noise, (views, bins), in counts. It is drawn before photons: how many random numbers they take varies."""
    return np.sqrt(variance) * np.stack([view.standard_normal(bins, np.float32) for view in views])


def _each_view(draw: Callable, views: list[np.random.Generator], of: np.ndarray, *settings: float) -> np.ndarray:
    """`draw` of a generator for each view, from the view's row of `of`, (views, bins)."""
    return np.stack([draw(view, row, *settings) for view, row in zip(views, of, strict=True)])


def _read_out(counts: np.ndarray, sent: np.ndarray) -> np.ndarray:
    """Line integrals that the detector reports: a floor of one count, logarithm."""
    return np.log(sent / np.maximum(counts, 1.0))
