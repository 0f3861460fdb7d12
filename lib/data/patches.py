"""From HU volumes to batches of paired patches in [0, 1], as a tf.data pipeline.

Patches are read a *shard* at a time: all patches of some slices. No slice is read twice an epoch, and memory does not
depend on the size of the cohort.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import tensorflow as tf

from lib.data.features import Features
from lib.data.hu import HU_MAX, HU_MIN, normalise
from lib.data.split import subsets
from lib.data.store import reading
from lib.errors import CohortError
from lib.study.config import Study, Training

SHARD = {"slices": 512, "patches": 4096}  # patches; about 150 MB of 96 x 96 for the longer one
BODY_HU, FOREGROUND = -500.0, 0.1  # a patch is foreground if this share of its NDCT pixels is above this value


def grid(rows: int, columns: int, size: int, skip: int) -> np.ndarray:
    """Top left corners of the patches of one slice: a grid of stride ``skip`` from the top left (Table 2).

    Patches that would leave the slice are left out: 5 x 5 = 25 patches of 96 at stride 96 in 512 x 512, so that the
    last 32 rows and columns are never seen.

    Returns:
        int array (patches, 2) of (row, column), row by row; empty for a slice smaller than a patch.
    """
    tops, lefts = np.arange(0, rows - size + 1, skip), np.arange(0, columns - size + 1, skip)
    return np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)


def patch_index(
    pairs: pd.DataFrame,
    shapes: list[tuple[int, int]],
    training: Training,
    subset: str,
    foreground: Callable[[np.ndarray], np.ndarray] | None = None,
    shard: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which patches a subset has, in the order in which every epoch of every experiment sees them.

    ``order: slices`` shuffles the slices once and keeps a slice's patches in sequence, as the authors do;
    ``patches`` shuffles the slices of all patients once, and then the patches of each shard of slices.
    ``max_patches`` draws that many of them, spread over all slices.

    Args:
        pairs: a row a pair of slices.
        shapes: (rows, columns) of each pair.
        subset: 'train' or 'validation', for ``max_patches``.
        foreground: tells for rows of the index, sorted by pair, which ones to keep.
        shard: most patches a shard, ``SHARD`` unless given; a single slice may have more.

    Returns:
        int array (patches, 3): position of the pair in ``pairs``, row, column; and the bounds of the shards, int array
        (shards + 1,). No slice is in two shards.

    Raises:
        CohortError: no patch fits into any slice, or none is foreground.
    """
    corners = [grid(*shape, training.patch_size, training.patch_skip) for shape in shapes]
    random = np.random.default_rng([training.seed, ["train", "validation"].index(subset)])
    slices = random.permutation(len(pairs))
    index = np.concatenate(
        [np.column_stack([np.full(len(corners[pair]), pair), corners[pair]]) for pair in slices]
        or [np.empty((0, 3), int)]
    )
    if foreground is not None and len(index):
        index = index[foreground(index)]
    if not len(index):
        raise CohortError(f"no patch of {training.patch_size} x {training.patch_size} in the {subset} subset "
                          f"({len(pairs)} pairs of slices): check DATA, the split, patch_size and sampling")
    limit = (training.max_patches or {}).get(subset, len(index))
    if limit < len(index):
        index = index[np.sort(random.choice(len(index), limit, replace=False))]
    bounds = _bounds(index[:, 0], shard or SHARD[training.order])
    if training.order == "patches":
        for start, stop in zip(bounds, bounds[1:], strict=False):
            index[start:stop] = random.permutation(index[start:stop])
    return index, bounds


def _bounds(pairs: np.ndarray, limit: int) -> np.ndarray:
    """Cut a sequence that is grouped by pair into runs of at most ``limit``, between pairs only."""
    ends = [*(np.flatnonzero(np.diff(pairs)) + 1), len(pairs)]
    bounds = [0]
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        if following is None or following - bounds[-1] > limit:
            bounds.append(end)
    return np.array(bounds)


class Patches:
    """The patches of one subset of a study: their index, their images, their batches.

    Attributes:
        index: int array (patches, 3), see :func:`patch_index`.
        bounds: of the shards in ``index``.
        pairs: the subset's pairs of slices.
    """

    def __init__(self, study: Study, subset: str):
        self.study, store = study, study.paths.volumes
        self.pairs = subsets(study)[subset].reset_index(drop=True)
        names = pd.unique(self.pairs[["ldct", "ndct"]].to_numpy().ravel())
        self._volumes = {name: reading.open_volume(store, name) for name in names}
        self._files = {dose: self.pairs[dose].to_numpy() for dose in ("ldct", "ndct")}
        self._positions = self.pairs["index"].to_numpy()
        shapes = [self._volumes[name].shape[1:] for name in self._files["ndct"]]
        foreground = self._foreground if study.training.sampling == "foreground" else None
        self.index, self.bounds = patch_index(self.pairs, shapes, study.training, subset, foreground)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def digest(self) -> str:
        """Hash of the index: which patches, in which order."""
        return hashlib.sha256(np.ascontiguousarray(self.index, "<i8")).hexdigest()

    def _plane(self, pair: int, dose: str) -> np.ndarray:
        return reading.read_slice(self._volumes[self._files[dose][pair]], self._positions[pair])

    def _foreground(self, index: np.ndarray) -> np.ndarray:
        size, keep = self.study.training.patch_size, np.empty(len(index), bool)
        for pair in np.unique(index[:, 0]):
            body = self._plane(pair, "ndct") > BODY_HU
            for place in np.flatnonzero(index[:, 0] == pair):
                _, row, column = index[place]
                keep[place] = body[row : row + size, column : column + size].mean() >= FOREGROUND
        return keep

    def hu(self, index: np.ndarray, dose: str) -> np.ndarray:
        """Patches in HU, (patches, size, size), int16 or float32 as stored; each slice is read once.

        Args:
            index: rows of ``self.index``.
            dose: 'ldct' or 'ndct'.
        """
        size = self.study.training.patch_size
        order = np.argsort(index[:, 0], kind="stable")
        patches = np.empty((len(index), size, size), self._dtype)
        pair, plane = None, None
        for place in order:
            wanted, row, column = index[place]
            if wanted != pair:
                pair, plane = wanted, self._plane(wanted, dose)
            patches[place] = plane[row : row + size, column : column + size]
        return patches

    @property
    def _dtype(self) -> np.dtype:
        return np.result_type(*{volume.dtype for volume in self._volumes.values()})

    def images(self, index: np.ndarray, dose: str) -> np.ndarray:
        """The same, normalised: float32 (patches, size, size, 1) in [0, 1]."""
        return normalise(self.hu(index, dose))[..., None]

    def mean_ndct(self) -> float:
        """Mean normalised NDCT value of all patches, for the ``data_mean`` output bias."""
        parts = [self.hu(self.index[start:stop], "ndct") for start, stop in zip(self.bounds, self.bounds[1:], strict=False)]
        return float(normalise(np.average([part.mean() for part in parts], weights=[len(part) for part in parts])))

    def slices(self, places: np.ndarray) -> str:
        """The slices of some patches, for messages: 'SIM01 B30 1 mm 12, SIM02 D45 3 mm 4'."""
        rows = self.pairs.iloc[np.unique(self.index[places, 0])]
        return ", ".join(f"{row.patient} {row.kernel} {row.thickness_mm:g} mm {row.index_}"
                         for row in rows.rename(columns={"index": "index_"}).itertuples())

    def dataset(
        self, drop_remainder: bool, features: Features | None = None, batch: int | None = None, start: int = 0
    ) -> tf.data.Dataset:
        """Batches (LDCT, NDCT) in the order of ``index``, each float32 (batch, size, size, 1) in [0, 1].

        Args:
            drop_remainder: leave out an incomplete last batch, as the authors do in training.
            features: of every patch's NDCT: batches are then (LDCT, (NDCT, features)).
            batch: patches a batch, where it is not the training's.
            start: patches to skip, where a training goes on in mid-epoch.
        """
        size, dtype = self.study.training.patch_size, self._dtype
        bounds = np.array([start, *self.bounds[self.bounds > start]])

        def load(first: int, last: int) -> list[np.ndarray]:
            index = self.index[first:last]
            return [self.hu(index, "ldct"), self.hu(index, "ndct"), np.arange(first, last)]

        def read(first, last):
            ldct, ndct, places = tf.numpy_function(load, [first, last], [dtype, dtype, tf.int64])
            shape = (None, size, size)
            return tf.ensure_shape(ldct, shape), tf.ensure_shape(ndct, shape), tf.ensure_shape(places, (None,))

        def normalised(hu):
            return ((tf.cast(hu, tf.float32) - HU_MIN) / (HU_MAX - HU_MIN))[..., None]

        def pair(ldct, ndct, places):
            target = normalised(ndct)
            if features is not None:
                known = tf.numpy_function(features.read, [places[0], places[-1] + 1], tf.float32)
                target = target, tf.ensure_shape(known, (None, *features.shape))
            return normalised(ldct), target

        shards = tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:])).map(read).prefetch(1)
        batch = batch or self.study.training.batch
        batches = shards.rebatch(batch, drop_remainder).map(pair, num_parallel_calls=2, deterministic=True).prefetch(4)
        return batches.apply(tf.data.experimental.assert_cardinality(self.batches(drop_remainder, batch, start)))

    def batches(self, drop_remainder: bool, batch: int | None = None, start: int = 0) -> int:
        """How many batches :meth:`dataset` has."""
        batch, left = batch or self.study.training.batch, len(self) - start
        return left // batch if drop_remainder else -(-left // batch)
