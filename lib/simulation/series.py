"""All series of one patient from one acquisition: two doses, two kernels, two slice thicknesses."""

import numpy as np

from lib.data.doses import FULL, LOW
from lib.simulation.exposure import expose
from lib.simulation.scanner import Scanner

DOSES = {"full": FULL, "low": LOW}  # doses, and their names in files and tables
THICKNESSES_MM = (1.0, 3.0)
THICK_SPACING_MM = 2.0
SLICES_AT_ONCE = 8

Series = tuple[np.ndarray, np.ndarray]  # z in mm, shape (slices,), and HU, float32, shape (slices, size, size)


def thicken(z_mm: np.ndarray, hu: np.ndarray, thickness_mm: float = 3.0, spacing_mm: float = THICK_SPACING_MM) -> Series:
    """Thick slices as the mean of thin ones, each weighted by its overlap with the window; maybe none.

    `z_mm` are the centres of the thin slices, rising or falling by one step, `hu` is (slices, rows, columns). Centres come
    back in the same order, only where the window fits into the slab. ValueError: fewer than two slices, or uneven spacing.
    """
    z_mm = np.asarray(z_mm, dtype=np.float64)
    step = np.diff(z_mm)
    if len(z_mm) != len(hu) or len(z_mm) < 2 or step[0] == 0 or not np.allclose(step, step[0], rtol=0, atol=1e-3):
        raise ValueError(f"{len(z_mm)} positions for {len(hu)} slices: expected two or more, evenly spaced in z")
    half, half_window = abs(step[0]) / 2.0, thickness_mm / 2.0
    low, high = z_mm.min() - half + half_window, z_mm.max() + half - half_window
    centres = low + spacing_mm * np.arange(max(0, int(np.floor((high - low) / spacing_mm + 1e-6)) + 1))
    centres = centres[:: int(np.sign(step[0]))]
    upper = np.minimum(z_mm[None, :] + half, centres[:, None] + half_window)
    lower = np.maximum(z_mm[None, :] - half, centres[:, None] - half_window)
    weights = np.clip(upper - lower, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    thick = np.zeros((len(centres), *np.shape(hu)[1:]))
    for to, of in np.argwhere(weights):
        thick[to] += weights[to, of] * hu[of]
    return centres, thick.astype(np.float32)


def scan(
    volume_hu: np.ndarray, z_mm: np.ndarray, scanner: Scanner, rng: np.random.Generator, i0: float, dose_fraction=0.25
) -> dict[tuple[str, str, float], Series]:
    """Everything that is reconstructed from one acquisition of a patient: (dose, kernel, thickness in mm) -> (z_mm, HU).

    '1 mm' slices are the input's, '3 mm' ones average them over 3 mm, spaced 2 mm, where the window fits into a slab.

    Parameters
    ----------
    volume_hu : noiseless, shape (slabs x slices, size, size)
    z_mm : centres, evenly spaced within a slab (0.8 mm for the challenge's), shape (slabs, slices) or (slices,)
    rng : of the noise; its seed, the slice's index and the view's decide every photon
    i0, dose_fraction : as for `lib.simulation.exposure.expose`
    """
    z_mm = np.atleast_2d(np.asarray(z_mm, dtype=np.float64))
    sharp: dict[str, list[np.ndarray]] = {dose: [] for dose in DOSES}
    for first in range(0, len(volume_hu), SLICES_AT_ONCE):
        ideal = scanner.project(volume_hu[first : first + SLICES_AT_ONCE])
        both = np.concatenate(expose(scanner, ideal, rng, i0, dose_fraction))
        for dose, hu in zip(DOSES, np.split(scanner.reconstruct(both, "D45"), 2), strict=True):
            sharp[dose].append(hu)
    series = {}
    for dose in DOSES:
        thin = {"D45": np.concatenate(sharp.pop(dose))}
        thin["B30"] = scanner.soften(thin["D45"])
        for kernel, hu in thin.items():
            series[dose, kernel, THICKNESSES_MM[0]] = (z_mm.ravel(), hu)
            thick = map(thicken, z_mm, np.split(hu, len(z_mm)), THICKNESSES_MM[1:] * len(z_mm))
            series[dose, kernel, THICKNESSES_MM[1]] = tuple(map(np.concatenate, zip(*thick, strict=True)))
    return series
