"""Random NDCT patches with labels that a scan carries anyway: position, rotation, kernel, slice thickness, organs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.hu import normalise
from lib.data.store import reading

PRESENT = 0.02  # share of a patch's pixels from which an organ counts as present
TISSUE = 0.125  # normalised value of -512 HU: a patch needs half its pixels above it


class Samples:
    """Random NDCT patches of some pairs with their labels, drawn from a seed: `rows` is an int array (samples, 4) of pair,
    row, column and quarter turns, `organs` the number of organ labels, 0 where the cohort has no masks.

    Parameters
    ----------
    pairs, store : as :func:`lib.data.store.reading.pairs` gives them; folder of the volumes
    z_range_mm, masks : what becomes 0 and 1 of the positions; folder of the organ masks of a simulated cohort
    size, count : side of a patch in pixels, number of patches
    """

    def __init__(self, pairs: pd.DataFrame, store: Path, z_range_mm: tuple[float, float], masks: Path | None, *, size: int,
                 count: int, seed: int | Sequence[int]):
        self.pairs, self.size = pairs.reset_index(drop=True), size
        self._volumes = {name: reading.open_volume(store, name) for name in self.pairs["ndct"].unique()}
        low, high = z_range_mm
        self._z = ((self.pairs["z_mm"] - low) / max(high - low, 1.0)).to_numpy(np.float32)
        self._masks = None if masks is None else _masks(masks, self.pairs)
        self.organs = 0 if self._masks is None else 1 + max(int(mask.max()) for mask, _ in self._masks.values())
        random = np.random.default_rng(seed)
        self.rows = np.stack([self._draw(random) for _ in range(count)])

    def _draw(self, random: np.random.Generator) -> np.ndarray:
        for _ in range(100):  # a patch of air teaches nothing: draw again
            pair = int(random.integers(len(self.pairs)))
            shape = self._volumes[self.pairs["ndct"][pair]].shape[1:]
            corner = [int(random.integers(side - self.size + 1)) for side in shape]
            row = np.array([pair, *corner, int(random.integers(4))])
            if np.median(self._image(row)) > TISSUE:
                break
        return row

    def _cut(self, plane: np.ndarray, row: np.ndarray) -> np.ndarray:
        _, top, left, turns = row
        return np.rot90(plane[top : top + self.size, left : left + self.size], turns)

    def _image(self, row: np.ndarray) -> np.ndarray:
        plane = self._volumes[self.pairs["ndct"][row[0]]].slice(self.pairs["index"][row[0]])
        return normalise(self._cut(plane, row))

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (samples, size, size, 1) in [0, 1]."""
        return np.stack([self._image(row) for row in rows])[..., None]

    def organ_map(self, row: np.ndarray) -> np.ndarray:
        """Organ labels of one patch, uint8 (size, size), from the slice of the masks that is nearest in z."""
        labels, z_mm = self._masks[self.pairs["patient"][row[0]]]
        return self._cut(labels[int(np.abs(z_mm - self.pairs["z_mm"][row[0]]).argmin())], row)

    def labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Targets of the tasks: z (n, 1), rotation (n,), kernel (n, 1), thickness (n, 1), organs (n, organs)."""
        pair = rows[:, 0]
        targets = {
            "z": self._z[pair, None], "rotation": rows[:, 3].astype(np.int32),
            "kernel": (self.pairs["kernel"] == self.pairs["kernel"].min()).to_numpy(np.float32)[pair, None],
            "thickness": (self.pairs["thickness_mm"] > 2).to_numpy(np.float32)[pair, None],
        }
        if self.organs:
            maps = [np.bincount(self.organ_map(row).ravel(), minlength=self.organs) for row in rows]
            targets["organs"] = (np.stack(maps) > PRESENT * self.size**2).astype(np.float32)
        return targets


def _masks(folder: Path, pairs: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for patient in pairs["patient"].unique():
        with np.load(folder / f"{patient}.npz", allow_pickle=False) as store:
            found[patient] = store["labels"], store["z_mm"]
    return found
