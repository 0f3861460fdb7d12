"""Noise of a real scan, measured in its own soft tissue, and the photons that explain it: small squares are freed of a
tilted plane. Anatomy's own texture stays in, so only the calmest squares of each slice count."""

from typing import NamedTuple

import numpy as np

from lib.simulation.exposure import I0_RANGE, expose
from lib.simulation.scanner import RollOff, Scanner

SQUARE_MM = 10.0
TISSUE_HU = (0.0, 150.0)  # mean of a square of soft tissue
LIMITS_HU = (-300.0, 400.0)  # a square with a pixel beyond them holds air, fat's edge, bone or metal
CALM = (0.2, 1.25)
"""Quantile of a slice's SDs, and the multiple of it up to which squares count: chosen on simulated patients, whose I0
of 1 mm series comes out between 12 % too low and 1 % too high then (texture counts as noise)."""

MIN_SQUARES = 20
I0_BOUNDS = (1e4, 1e8)
I0_DEFAULT = float(np.sqrt(I0_RANGE[0] * I0_RANGE[1]))  # geometric mean of the simulated cohort
ROUNDS = 3  # of the estimate: electronic noise does not scale as photon noise does


class Photons(NamedTuple):
    """I0 of a series in photons per detector bin, and how it was found."""

    i0: float
    source: str


class TissueNoise(NamedTuple):
    """Of homogeneous squares of soft tissue: sums that add up over slices."""

    full: float  # variances at full dose, HU^2
    low: float  # at low dose
    shift: float  # means of low dose less full dose, HU
    squares: int


def tissue_noise(full_hu: np.ndarray, low_hu: np.ndarray, pixel_mm: float) -> TissueNoise:
    """Of one slice, (rows, columns), at both doses, in the squares that the full dose shows to be homogeneous."""
    calm = calm_squares(full_hu, pixel_mm)
    full, low = (squares_of(hu, pixel_mm)[0][calm].mean(axis=1) for hu in (full_hu, low_hu))
    variances = (float(square_variances(hu, pixel_mm)[calm].sum()) for hu in (full_hu, low_hu))
    return TissueNoise(*variances, float((low - full).sum()), int(calm.sum()))


def square_variances(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Variance around the best-fitting plane in HU^2 of each square of 10 mm (5 pixels at least), shape (squares,). What is
    left over of the slice, (rows, columns), at the right and below belongs to no square."""
    squares, side = squares_of(hu, pixel_mm)
    return (without_plane(squares, side) ** 2).sum(axis=1) / (side * side - 3)


def without_plane(squares: np.ndarray, side: int) -> np.ndarray:
    """Each square, (squares, side * side), less its best-fitting plane."""
    tilts = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2  # orthogonal to each other and to a constant
    plane = squares.mean(axis=1, keepdims=True)
    for tilt in tilts:
        plane = plane + (squares * tilt).sum(axis=1, keepdims=True) / (tilt**2).sum() * tilt
    return squares - plane


def calm_squares(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Which squares hold homogeneous soft tissue: mean HU, extremes, and a variance near the lowest of the slice."""
    squares, _ = squares_of(hu, pixel_mm)
    mean = squares.mean(axis=1)
    tissue = (mean > TISSUE_HU[0]) & (mean < TISSUE_HU[1])
    tissue &= (squares.min(axis=1) > LIMITS_HU[0]) & (squares.max(axis=1) < LIMITS_HU[1])
    if not tissue.any():
        return tissue
    sd = np.sqrt(square_variances(hu, pixel_mm))
    return tissue & (sd <= CALM[1] * np.quantile(sd[tissue], CALM[0]))


def estimate_i0(scanner: Scanner, hu: np.ndarray, kernel: str | RollOff, rng: np.random.Generator) -> Photons:
    """Photons at which this scanner's full-dose noise is that of the scan, in the same squares of soft tissue.

    Noise of a reference I0, drawn from `rng`, is reconstructed with `kernel` on the line integrals of `hu`, a few slices of
    shape (slices, size, size); its variance falls as 1 / I0. The result is within `I0_BOUNDS`, or `I0_DEFAULT` where there
    are fewer than 20 squares; `source` says which.
    """
    calm = np.stack([calm_squares(image, scanner.pixel_mm) for image in hu])
    count = int(calm.sum())
    if count < MIN_SQUARES:
        return Photons(I0_DEFAULT, f"not measurable ({count} squares of soft tissue): mean of the simulated cohort")
    measured = sum(square_variances(image, scanner.pixel_mm)[kept].sum() for image, kept in zip(hu, calm, strict=True))
    ideal, i0 = scanner.project(hu), I0_DEFAULT
    for own in rng.spawn(ROUNDS):
        noise = scanner.reconstruct(expose(scanner, ideal, own, i0)[0] - ideal, kernel) + 1000.0
        pure = sum(square_variances(image, scanner.pixel_mm)[kept].sum() for image, kept in zip(noise, calm, strict=True))
        wanted = float(f"{i0 * pure / max(measured, 1e-6 * pure):.4g}")  # digits that are the same on every processor
        i0 = float(np.clip(wanted, *I0_BOUNDS))
    if i0 != wanted:
        return Photons(i0, f"bounded: the noise of {count} squares of soft tissue asks for {wanted:.1e}")
    return Photons(i0, f"noise of {count} squares of soft tissue")


def squares_of(hu: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, int]:
    """Non-overlapping squares, shape (squares, side * side), float64, and their side in pixels."""
    side = max(5, round(SQUARE_MM / pixel_mm))
    down, across = (length // side for length in hu.shape)
    tiles = np.asarray(hu, np.float64)[: down * side, : across * side].reshape(down, side, across, side)
    return tiles.transpose(0, 2, 1, 3).reshape(down * across, side * side), side
