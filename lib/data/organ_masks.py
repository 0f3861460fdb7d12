"""Organ labels of a simulated cohort's slices."""

from pathlib import Path

import numpy as np

from lib.errors import CohortError


class OrganMasks:
    """The labels of some patients, read from ``folder``/<patient>.npz (arrays labels, (slices, rows, columns), and z_mm).
    Raises CohortError where a patient has none."""

    def __init__(self, folder: Path, patients: list[str]):
        self._labels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for path in (folder / f"{patient}.npz" for patient in patients):
            if not path.is_file():
                raise CohortError("the organ masks of a simulated patient are missing", where=path,
                                  remedy="simulate the cohort again")
            with np.load(path, allow_pickle=False) as store:
                self._labels[path.stem] = store["labels"], store["z_mm"]

    @property
    def classes(self) -> int:
        """How many labels there are, from 0 on."""
        return 1 + max(int(labels.max()) for labels, _ in self._labels.values())

    def at(self, patient: str, z_mm: float) -> np.ndarray:
        """Labels, uint8 (rows, columns), of the slice that is nearest in z."""
        labels, positions = self._labels[patient]
        return labels[int(np.abs(positions - z_mm).argmin())]
