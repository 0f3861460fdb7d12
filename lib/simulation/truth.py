"""What only a simulation knows of its patients: a slice without noise, and the same slice with other noise."""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.errors import CohortError
from lib.simulation.abdomen import Abdomen
from lib.simulation.cohort import SPACING_MM, positions
from lib.simulation.exposure import draw_i0, expose
from lib.simulation.phantom import draw
from lib.simulation.scanner import Scanner
from lib.simulation.series import SLICES_AT_ONCE

SHARP = "D45"  # what is reconstructed; B30 is softened from it (lib.simulation.series)


class Slice(NamedTuple):
    """One slice without noise, (size, size) each."""

    hu: np.ndarray  # float32, as the scanner shows it with a kernel
    object_hu: np.ndarray  # float32, the patient itself
    labels: np.ndarray  # uint8, indices into lib.simulation.anatomy.ORGANS, of the middle of the slice


class Acquisition(NamedTuple):
    """How one patient of a simulated cohort was made."""

    seed: int  # of the cohort
    number: int  # of the patient
    slabs: int
    slices: int
    size: int
    dose_fraction: float

    @classmethod
    def of(cls, cohort: Path, patient: str) -> "Acquisition":
        """From the stamp beside the scans of a cohort's folder. Raises CohortError where there is none that can be read."""
        stamp = cohort / "patients" / f"{patient}.json"
        try:
            config = json.loads(stamp.read_text(encoding="utf-8"))["config"]
            return cls(**{name: config[name] for name in cls._fields})
        except (OSError, ValueError, KeyError, TypeError):
            raise CohortError("the stamp of a simulated patient is missing or cannot be read", where=stamp,
                              remedy="simulate the cohort again") from None

    @property
    def own_seed(self) -> int:
        """Of the patient's anatomy and photons."""
        return self.seed * 1000 + self.number

    @property
    def z_mm(self) -> np.ndarray:
        """Positions of the thin slices, mm, of all slabs."""
        return positions(self.number, self.slabs, self.slices).ravel()

    def require_same(self, z_mm: float, labels: np.ndarray, patient: str) -> None:
        """Raises CohortError if the organs at one place of a thin slice, as the cohort's folder has them, are not those that
        this code draws: the truth would be another patient's."""
        _, drawn = draw(Abdomen.random(self.own_seed), np.array([z_mm]), self.size)
        if not np.array_equal(drawn[0], labels):
            raise CohortError("it was simulated by other code: its organs are not those that this code draws", where=patient,
                              remedy="simulate the cohort again")

    def scanner(self, threads: int = 2) -> Scanner:
        """The one that scanned the patient."""
        return Scanner(size=self.size, threads=threads)

    def thin(self, z_mm: float, thickness_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the thin slices, mm, that a slice at ``z_mm`` is the mean of, and their weights, as
        :func:`lib.simulation.series.thicken` has them. ValueError where the patient has no such slice."""
        slabs = positions(self.number, self.slabs, self.slices)
        if thickness_mm <= 1.0:
            nearest = slabs.ravel()[np.abs(slabs - z_mm).argmin()]
            if abs(nearest - z_mm) > SPACING_MM / 2:
                raise ValueError(f"no slice at z = {z_mm:g} mm: the nearest is at {nearest:g} mm")
            return np.array([nearest]), np.ones(1)
        half = thickness_mm / 2
        slab = slabs[np.abs(slabs - z_mm).min(axis=1).argmin()]
        overlap = np.minimum(slab + SPACING_MM / 2, z_mm + half) - np.maximum(slab - SPACING_MM / 2, z_mm - half)
        weights = np.clip(overlap, 0.0, None)
        if abs(weights.sum() - thickness_mm) > 1e-3:
            raise ValueError(f"no slice of {thickness_mm:g} mm at z = {z_mm:g} mm: it reaches beyond its slab")
        return slab[weights > 0], weights[weights > 0] / weights.sum()


def noise_free(cohort: Path, patient: str, z_mm: float, kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """A thin slice of a simulated patient as its series would be without noise, HU, float32, and its organ labels, uint8
    (:data:`lib.simulation.anatomy.ORGANS`); both (size, size). Drawn again from what the cohort's folder keeps.

    Parameters
    ----------
    cohort : Path, folder that :func:`lib.simulation.cohort.simulate` wrote
    patient : str, 'SIM01'
    z_mm, kernel : place and kernel of the slice; ValueError for another

    Raises
    ------
    CohortError : the cohort does not say how the patient was made
    """
    found = noise_free_slice(Acquisition.of(cohort, patient), z_mm, kernel, 1.0)
    return found.hu, found.labels


def noise_free_slice(made: Acquisition, z_mm: float, kernel: str, thickness_mm: float,
                     scanner: Scanner | None = None) -> Slice:
    """A slice of a simulated patient as it would be with infinitely many photons. Takes about a second a thin slice.

    Parameters
    ----------
    kernel : 'B30' or 'D45'
    z_mm, thickness_mm : of a slice of the cohort; ValueError for another
    """
    scanner = scanner or made.scanner()
    places, weights = made.thin(z_mm, thickness_mm)
    thick, labels = _drawn(made, tuple(places), tuple(weights))
    shown = scanner.reconstruct(scanner.project(thick[None]), SHARP)
    return Slice(_with(scanner, shown, kernel)[0], thick, labels)


@lru_cache(maxsize=2)  # of two thicknesses: kernels share them
def _drawn(made: Acquisition, places: tuple[float, ...], weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    hu, labels = draw(Abdomen.random(made.own_seed), np.array(places), made.size)
    return np.tensordot(weights, hu, 1).astype(np.float32), labels[len(labels) // 2]


def realisations(made: Acquisition, object_hu: np.ndarray, kernel: str, count: int, seed: list[int],
                 scanner: Scanner | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``count`` acquisitions of one thin slice with the patient's tube output and other photons: full and low dose, each
    (some, size, size), float32, HU, some at a time.

    Parameters
    ----------
    object_hu : array, (size, size), the slice of :func:`noise_free_slice`
    seed : of the noise
    """
    scanner = scanner or made.scanner()
    ideal, i0 = scanner.project(object_hu[None]), draw_i0(made.own_seed)
    rng = np.random.default_rng(seed)
    for first in range(0, count, SLICES_AT_ONCE):
        some = min(SLICES_AT_ONCE, count - first)
        both = np.concatenate(expose(scanner, np.repeat(ideal, some, axis=0), rng, i0, made.dose_fraction))
        full, low = np.split(_with(scanner, scanner.reconstruct(both, SHARP), kernel), 2)
        yield full, low


def _with(scanner: Scanner, sharp: np.ndarray, kernel: str) -> np.ndarray:
    return sharp if kernel == SHARP else scanner.soften(sharp, SHARP, kernel)
