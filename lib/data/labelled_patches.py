"""Random NDCT patches with what each pixel is: an organ where the cohort has masks, else a tissue by its Hounsfield units.

Neither kind of label says which patient it is, at which dose it was scanned, or how it was reconstructed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from lib.data.hu import normalise
from lib.data.organ_masks import OrganMasks
from lib.data.store import reading

TISSUE = 0.125  # normalised value of -512 HU: a patch needs half its pixels above it
TISSUES_HU = (-900.0, -500.0, -190.0, -30.0, 20.0, 80.0, 200.0)
"""Between air, lung, lung's edge, fat, water, soft tissue, contrast medium and bone."""
SMOOTHED = 5  # side in pixels of the mean that keeps noise out of the tissues


class Samples:
    """Random NDCT patches of some pairs, drawn from a seed: `rows` is an int array (samples, 3) of pair, row and column,
    `classes` how many organs or tissues there are, `kind` which of the two.

    Parameters
    ----------
    pairs, store : as :func:`lib.data.store.reading.pairs` gives them; folder of the volumes
    masks : folder of the organ masks of a simulated cohort, None: tissues by HU
    size, count : side of a patch in pixels, number of patches
    """

    def __init__(self, pairs: pd.DataFrame, store: Path, masks: Path | None, *, size: int, count: int,
                 seed: int | Sequence[int]):
        self.pairs, self.size = pairs.reset_index(drop=True), size
        self._volumes = {name: reading.open_volume(store, name) for name in self.pairs["ndct"].unique()}
        self._masks = None if masks is None else OrganMasks(masks, self.pairs["patient"].unique().tolist())
        self.kind, self.classes = "tissues", len(TISSUES_HU) + 1
        if self._masks is not None:
            self.kind, self.classes = "organs", self._masks.classes
        random = np.random.default_rng(seed)
        self.rows = np.stack([self._draw(random) for _ in range(count)])

    def _draw(self, random: np.random.Generator) -> np.ndarray:
        for _ in range(100):  # a patch of air teaches nothing: draw again
            pair = int(random.integers(len(self.pairs)))
            shape = self._volumes[self.pairs["ndct"][pair]].shape[1:]
            row = np.array([pair, *(int(random.integers(side - self.size + 1)) for side in shape)])
            if np.median(normalise(self._hu(row))) > TISSUE:
                break
        return row

    def _cut(self, plane: np.ndarray, row: np.ndarray) -> np.ndarray:
        _, top, left = row
        return plane[top : top + self.size, left : left + self.size]

    def _hu(self, row: np.ndarray) -> np.ndarray:
        return self._cut(self._volumes[self.pairs["ndct"][row[0]]].slice(self.pairs["index"][row[0]]), row)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (samples, size, size, 1) in [0, 1]."""
        return np.stack([normalise(self._hu(row)) for row in rows])[..., None]

    def label_map(self, row: np.ndarray) -> np.ndarray:
        """The class of each pixel of one patch, (size, size); organs are those of the masks' slice that is nearest in z."""
        if self._masks is None:
            return np.digitize(uniform_filter(self._hu(row).astype(np.float32), SMOOTHED), TISSUES_HU)
        return self._cut(self._masks.at(self.pairs["patient"][row[0]], self.pairs["z_mm"][row[0]]), row)

    def shares(self, rows: np.ndarray, stride: int) -> np.ndarray:
        """Of each class in each cell of ``stride`` x ``stride`` pixels: float32 (samples, size / stride, size / stride,
        classes), which sum to 1."""
        cells = self.size // stride
        maps = np.stack([self.label_map(row) for row in rows])[:, : cells * stride, : cells * stride]
        is_class = np.eye(self.classes, dtype=np.float32)[maps]
        return is_class.reshape(len(rows), cells, stride, cells, stride, self.classes).mean((2, 4))
