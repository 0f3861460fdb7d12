"""From HU volumes to batches of paired patches in [0, 1], as a tf.data pipeline. Patches are read a *shard* at a time: all
patches of some slices. No slice is read twice per epoch, and memory does not depend on the size of the cohort."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from lib.data import hu
from lib.data.features import Features
from lib.data.patch_index import PatchPlan, patch_index
from lib.data.store import reading

FOREGROUND = 0.1  # a patch is foreground if this share of its NDCT pixels is above BODY_HU


class Patches:
    """The patches of some pairs of slices: their images, their batches, their `index` and its `bounds`, see
    :func:`lib.data.patch_index.patch_index`.

    Parameters
    ----------
    pairs, store : as :func:`lib.data.store.reading.pairs` gives them; folder of the volumes
    seed : of the order and of what is drawn
    """

    def __init__(self, pairs: pd.DataFrame, store: Path, plan: PatchPlan, seed: int | Sequence[int]):
        self.pairs, self.plan = pairs.reset_index(drop=True), plan
        names = pd.unique(self.pairs[["ldct", "ndct"]].to_numpy().ravel())
        self._volumes = {name: reading.open_volume(store, name) for name in names}
        self._files = {dose: self.pairs[dose].to_numpy() for dose in ("ldct", "ndct")}
        self._positions = self.pairs["index"].to_numpy()
        shapes = [self._volumes[name].shape[1:] for name in self._files["ndct"]]
        foreground = self._foreground if plan.sampling == "foreground" else None
        self.index, self.bounds = patch_index(self.pairs, shapes, plan, np.random.default_rng(seed), foreground)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def digest(self) -> str:
        """Hash of the index: which patches, in which order."""
        return hashlib.sha256(np.ascontiguousarray(self.index, "<i8")).hexdigest()

    def _plane(self, pair: int, dose: str) -> np.ndarray:
        return self._volumes[self._files[dose][pair]].slice(self._positions[pair])

    def _foreground(self, index: np.ndarray) -> np.ndarray:
        size, keep = self.plan.size, np.empty(len(index), bool)
        for pair in np.unique(index[:, 0]):
            body = self._plane(pair, "ndct") > hu.BODY_HU
            for place in np.flatnonzero(index[:, 0] == pair):
                _, row, column = index[place]
                keep[place] = body[row : row + size, column : column + size].mean() >= FOREGROUND
        return keep

    def hu(self, index: np.ndarray, dose: str) -> np.ndarray:
        """Patches in HU, (patches, size, size), int16 or float32 as stored, of rows of ``self.index``, at the dose 'ldct' or
        'ndct'; each slice is read once."""
        size = self.plan.size
        patches = np.empty((len(index), size, size), self._dtype)
        pair, plane = None, None
        for place in np.argsort(index[:, 0], kind="stable"):
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
        return hu.normalise(self.hu(index, dose))[..., None]

    def mean_ndct(self) -> float:
        """Mean normalised NDCT value of all patches, for the ``data_mean`` output bias."""
        parts = [self.hu(self.index[start:stop], "ndct") for start, stop in zip(self.bounds, self.bounds[1:], strict=False)]
        return float(hu.normalise(np.average([part.mean() for part in parts], weights=[len(part) for part in parts])))

    def slices(self, places: np.ndarray) -> str:
        """The slices of some patches, for messages: 'SIM01 B30 1 mm 12, SIM02 D45 3 mm 4'."""
        rows = self.pairs.iloc[np.unique(self.index[places, 0])]
        return ", ".join(f"{row.patient} {row.kernel} {row.thickness_mm:g} mm {row.index_}"
                         for row in rows.rename(columns={"index": "index_"}).itertuples())

    def dataset(
        self, batch: int, drop_remainder: bool, features: Sequence[Features] = (), start: int = 0
    ) -> tf.data.Dataset:
        """Batches (LDCT, NDCT) in the order of ``index``, each float32 (batch, size, size, 1) in [0, 1].

        Parameters
        ----------
        batch, drop_remainder : patches per batch; leave out an incomplete last one, as the authors do in training
        features : of every patch's NDCT, one per layer: batches are then (LDCT, (NDCT, features ...))
        start : patches to skip, where a training goes on in mid-epoch
        """
        size, dtype = self.plan.size, self._dtype
        bounds = np.array([start, *self.bounds[self.bounds > start]])

        def load(first: int, last: int) -> list[np.ndarray]:
            index = self.index[first:last]
            return [self.hu(index, "ldct"), self.hu(index, "ndct"), np.arange(first, last)]

        def read(first, last):
            ldct, ndct, places = tf.numpy_function(load, [first, last], [dtype, dtype, tf.int64])
            shape = (None, size, size)
            return tf.ensure_shape(ldct, shape), tf.ensure_shape(ndct, shape), tf.ensure_shape(places, (None,))

        def normalised(values):
            return ((tf.cast(values, tf.float32) - hu.HU_MIN) / (hu.HU_MAX - hu.HU_MIN))[..., None]

        def pair(ldct, ndct, places):
            target = normalised(ndct)
            if features:
                known = [tf.ensure_shape(tf.numpy_function(each.read, [places[0], places[-1] + 1], tf.float32),
                                         (None, *each.shape)) for each in features]
                target = target, *known
            return normalised(ldct), target

        shards = tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:])).map(read).prefetch(1)
        batches = shards.rebatch(batch, drop_remainder).map(pair, num_parallel_calls=2, deterministic=True).prefetch(4)
        return untuned(batches.apply(tf.data.experimental.assert_cardinality(self.batches(batch, drop_remainder, start))))

    def batches(self, batch: int, drop_remainder: bool, start: int = 0) -> int:
        """How many batches :meth:`dataset` has."""
        left = len(self) - start
        return left // batch if drop_remainder else -(-left // batch)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """``dataset`` without TensorFlow's tuning: nothing is left to it here, and an iterator that is dropped waits for its
    thread, 5 to 40 s at the end of an epoch (measured, TensorFlow 2.20)."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
