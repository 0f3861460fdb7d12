"""From HU volumes to batches of paired patches in [0, 1], as a tf.data pipeline."""

import numpy as np
import pandas as pd
import tensorflow as tf

from lib import volumes
from lib.errors import CohortError
from lib.study import Study, Training


def grid(rows: int, columns: int, size: int, skip: int) -> np.ndarray:
    """Top left corners of the patches of one slice: a grid of stride ``skip`` from the top left (Table 2).

    Patches that would leave the slice are left out: 5 x 5 = 25 patches of 96 at stride 96 in 512 x 512, so that the
    last 32 rows and columns are never seen.

    Returns:
        int array (patches, 2) of (row, column), row by row; empty for a slice smaller than a patch.
    """
    tops, lefts = np.arange(0, rows - size + 1, skip), np.arange(0, columns - size + 1, skip)
    return np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)


def patch_index(pairs: pd.DataFrame, shapes: list[tuple[int, int]], training: Training, subset: str) -> np.ndarray:
    """Which patches a subset has, in the order in which every epoch of every experiment sees them.

    ``order: slices`` shuffles the slices once and keeps a slice's patches in sequence, as the authors do;
    ``patches`` shuffles all patches once. ``max_patches`` draws that many of them, spread over all slices.

    Args:
        pairs: a row a pair of slices.
        shapes: (rows, columns) of each pair.
        subset: 'train' or 'validation', for ``max_patches``.

    Returns:
        int array (patches, 3): position of the pair in ``pairs``, row, column.

    Raises:
        CohortError: no patch fits into any slice.
    """
    corners = [grid(*shape, training.patch_size, training.patch_skip) for shape in shapes]
    random = np.random.default_rng([training.seed, ["train", "validation"].index(subset)])
    slices = random.permutation(len(pairs))
    index = np.concatenate(
        [np.column_stack([np.full(len(corners[pair]), pair), corners[pair]]) for pair in slices]
        or [np.empty((0, 3), int)]
    )
    if not len(index):
        raise CohortError(f"no patch of {training.patch_size} x {training.patch_size} in the {subset} subset "
                          f"({len(pairs)} pairs of slices): check DATA, the split and patch_size")
    limit = (training.max_patches or {}).get(subset, len(index))
    if limit < len(index):
        index = index[np.sort(random.choice(len(index), limit, replace=False))]
    return random.permutation(index) if training.order == "patches" else index


class Patches:
    """The patches of one subset of a study: their index, their images, their batches.

    Attributes:
        index: int array (patches, 3), see :func:`patch_index`.
        pairs: the subset's pairs of slices.
    """

    def __init__(self, study: Study, subset: str):
        self.study, self.store = study, study.paths.volumes
        manifest = volumes.load_manifest(self.store)
        self.pairs = volumes.split_pairs(volumes.pairs(manifest), study.cohort.split.parts())[subset]
        self.pairs = self.pairs.reset_index(drop=True)
        names = pd.unique(self.pairs[["ldct", "ndct"]].to_numpy().ravel())
        self._volumes = {name: volumes.open_volume(self.store, name) for name in names}
        shapes = [self._volumes[name].shape[1:] for name in self.pairs["ndct"]]
        self.index = patch_index(self.pairs, shapes, study.training, subset)

    def __len__(self) -> int:
        return len(self.index)

    def images(self, index: np.ndarray, dose: str) -> np.ndarray:
        """Normalised patches, float32 (patches, size, size, 1) in [0, 1]; ``dose`` is 'ldct' or 'ndct'."""
        size = self.study.training.patch_size
        files, positions = self.pairs[dose].to_numpy(), self.pairs["index"].to_numpy()
        cut = [
            self._volumes[files[pair]][positions[pair], row : row + size, column : column + size]
            for pair, row, column in index
        ]
        return volumes.normalise(np.stack(cut))[..., None]

    def mean_ndct(self) -> float:
        """Mean normalised NDCT value of all patches, for the ``data_mean`` output bias."""
        batches = np.array_split(self.index, max(1, len(self) // 256))
        return float(np.average([self.images(part, "ndct").mean() for part in batches],
                                weights=[len(part) for part in batches]))

    def dataset(
        self, drop_remainder: bool, features: np.ndarray | None = None, batch: int | None = None
    ) -> tf.data.Dataset:
        """Batches (LDCT, NDCT) in the order of ``index``, each float32 (batch, size, size, 1) in [0, 1].

        Args:
            drop_remainder: leave out an incomplete last batch, as the authors do in training.
            features: of every patch's NDCT, in the order of ``index``: batches are then (LDCT, (NDCT, features)).
            batch: patches a batch, where it is not the training's.
        """
        size = self.study.training.patch_size
        shapes = [(None, size, size, 1)] * 2 + ([] if features is None else [(None, *features.shape[1:])])

        def load(places: np.ndarray) -> list[np.ndarray]:
            index = self.index[places]
            return [self.images(index, "ldct"), self.images(index, "ndct"),
                    *([] if features is None else [features[places]])]

        def cut(places: tf.Tensor):
            parts = tf.numpy_function(load, [places], [tf.float32] * len(shapes))
            ldct, *target = (tf.ensure_shape(part, shape) for part, shape in zip(parts, shapes, strict=True))
            return ldct, target[0] if features is None else tuple(target)

        places = tf.data.Dataset.range(len(self)).batch(batch or self.study.training.batch, drop_remainder)
        return places.map(cut, num_parallel_calls=1, deterministic=True).prefetch(2)

