"""Photons: how many are sent to each detector bin, what is counted, and how a lower dose is thinned from it.

The low dose is a binomial thinning of the *same* photons, as the Mayo challenge inserted its quarter dose.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lib.simulation.scanner import Scanner, checked

I0_RANGE = (0.85e5, 2.5e5)  # photons; set so that the mean liver SD of the simulated patients is near the real one


def draw_i0(seed: int) -> float:
    """Photons that a detector bin receives unattenuated, for the patient of this seed: log-uniform over `I0_RANGE`."""
    low, high = np.log(I0_RANGE)
    return float(np.exp(np.random.default_rng([seed, 0x10]).uniform(low, high)))


def incident(scanner: Scanner, line_integrals: np.ndarray, i0: float) -> np.ndarray:
    """Photons sent towards each bin at full dose: `i0` through the bowtie, modulated with the view.

    Needs no knowledge of the phantom, so it serves as well for inserting noise into a measured series.

    Parameters
    ----------
    line_integrals : of one slice, shape (views, bins)
    i0 : photons per bin at the axis

    Returns
    -------
    float64, shape (views, bins)
    """
    offset = (np.arange(scanner.bins) - scanner.bins // 2) * scanner.pixel_mm / 150.0
    lacking = scanner.mu_water * 300.0 * (1.0 - np.sqrt(np.clip(1.0 - offset**2, 0.0, None)))
    thickest = line_integrals.max(axis=1).astype(np.float64)
    current = np.exp(scanner.modulation * (thickest - thickest.mean()))
    return i0 * current[:, None] * np.exp(-scanner.bowtie * lacking)[None, :]


def expose(
    scanner: Scanner, line_integrals: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """One acquisition at full dose, and the same photons thinned to `dose_fraction` of it.

    Counts are Poisson(I exp(-p)) and Binomial(counts, dose_fraction), each with its own electronic noise and a floor of
    one. Each slice has its own child of `rng`, so a slice's noise does not depend on how many follow.

    Parameters
    ----------
    line_integrals : noise-free, shape (slices, views, bins)
    i0, dose_fraction : photons per bin at the axis; share of the full dose, between 0 and 1

    Returns
    -------
    Log-transformed line integrals at full and at low dose, float32, same shape each
    """
    line_integrals = _checked(scanner, line_integrals, i0, dose_fraction)
    full, low = np.empty_like(line_integrals), np.empty_like(line_integrals)

    def one(index: int, own: np.random.Generator) -> None:
        sent = incident(scanner, line_integrals[index], i0)
        photons = own.poisson(sent * np.exp(-line_integrals[index].astype(np.float64)))
        kept = own.binomial(photons, dose_fraction)
        full[index] = _read_out(photons, sent, scanner.electronic_variance, own)
        low[index] = _read_out(kept, sent * dose_fraction, scanner.electronic_variance, own)

    _each_slice(one, len(full), rng, scanner.threads)
    return full, low


def thin(
    scanner: Scanner, line_integrals: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float = 0.25
) -> np.ndarray:
    """What a lower dose would add to line integrals measured at full dose: noise, and the bias of starved bins.

    The measured counts round(I exp(-p)) are thinned to Binomial(counts, dose_fraction). They carry the noise of the full
    dose already, quantum and electronic; read-out at the low dose therefore adds only what is lacking,
    electronic_variance (1 - dose_fraction^2) counts^2. With N counts the result has the variance
    (1 - a) / (a N) (1 + (1 + a) electronic_variance / (a N)), a the dose fraction, as in Yu et al., J Comput Assist
    Tomogr 36 (2012) 477. Each slice has its own child of `rng`, as in `expose`.

    Parameters
    ----------
    line_integrals : measured, with their noise, shape (slices, views, bins)
    i0, dose_fraction : as for `expose`

    Returns
    -------
    Low-dose minus measured line integrals, float32, same shape
    """
    line_integrals = _checked(scanner, line_integrals, i0, dose_fraction)
    lacking = scanner.electronic_variance * (1.0 - dose_fraction**2)
    added = np.empty_like(line_integrals)

    def one(index: int, own: np.random.Generator) -> None:
        sent = incident(scanner, line_integrals[index], i0)
        counts = np.rint(sent * np.exp(-line_integrals[index].astype(np.float64))).astype(np.int64)
        kept = own.binomial(counts, dose_fraction)
        added[index] = _read_out(kept, sent * dose_fraction, lacking, own) - line_integrals[index]

    _each_slice(one, len(added), rng, scanner.threads)
    return added


def _checked(scanner: Scanner, line_integrals: np.ndarray, i0: float, dose_fraction: float) -> np.ndarray:
    if not (i0 > 0.0 and 0.0 < dose_fraction < 1.0):
        raise ValueError(f"i0 {i0} must be positive and dose_fraction {dose_fraction} between 0 and 1")
    return checked(line_integrals, scanner.sinogram_shape, "line integrals")


def _each_slice(work: Callable, slices: int, rng: np.random.Generator, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(slices), rng.spawn(slices)))


def _read_out(counts: np.ndarray, sent: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Line integrals that the detector reports: electronic noise, a floor of one count, logarithm."""
    read = counts + np.sqrt(variance) * rng.standard_normal(counts.shape, dtype=np.float32)
    return np.log(sent / np.maximum(read, 1.0))
