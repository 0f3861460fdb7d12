"""The grid, the order, and what a patch holds."""

import numpy as np
import pandas as pd
import pytest

from lib import paper, split
from lib.errors import CohortError
from lib.patches import Patches, grid, patch_index
from lib.study import Training

SETTINGS = {"patch_size": 8, "patch_skip": 8, "batch": 4, "epochs": 1, "lr": 1e-3, "beta_1": 0.9, "beta_2": 0.999,
            "seed": 5, "schedule": "constant", "order": "slices"}


def training(**changes) -> Training:
    return Training(**(SETTINGS | changes))


def test_25_patches_a_slice_and_the_last_32_rows_are_never_seen():
    corners = grid(512, 512, 96, 96)
    assert len(corners) == paper.PATCHES_PER_SLICE
    assert corners.max() + 96 == 480 and corners[1].tolist() == [0, 96]


@pytest.mark.parametrize(("rows", "columns", "size", "skip", "count"), [
    (17, 9, 8, 8, 2), (16, 16, 8, 4, 9), (7, 30, 8, 8, 0), (8, 8, 8, 8, 1), (20, 11, 3, 5, 8),
])
def test_grid_on_odd_shapes(rows, columns, size, skip, count):
    corners = grid(rows, columns, size, skip)
    assert len(corners) == count
    assert all(row + size <= rows and column + size <= columns for row, column in corners)


def index(pairs=5, **changes) -> np.ndarray:
    return patch_index(pd.DataFrame(index=range(pairs)), [(16, 24)] * pairs, training(**changes), "train")


def test_slices_stay_together_in_the_authors_order():
    found = index()
    assert len(found) == 30 and len(np.unique(found, axis=0)) == 30
    blocks = found[:, 0].reshape(5, 6)
    assert (blocks == blocks[:, :1]).all() and sorted(blocks[:, 0]) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found[:6, 1:], grid(16, 24, 8, 8))


def test_patches_order_shuffles_all_and_the_seed_decides():
    found = index(order="patches")
    assert len(np.unique(found, axis=0)) == 30 and (np.diff(found[:, 0]) != 0).sum() > 10
    np.testing.assert_array_equal(found, index(order="patches"))
    assert (found != index(order="patches", seed=6)).any()


def test_max_patches_draws_without_repetition_from_all_slices():
    found = index(pairs=20, order="patches", max_patches={"train": 40})
    assert len(np.unique(found, axis=0)) == 40 and len(np.unique(found[:, 0])) > 14
    assert len(index(max_patches={"validation": 3})) == 30, "a limit of another subset"


def test_no_patch_at_all_is_refused():
    with pytest.raises(CohortError, match="no patch of 32 x 32 in the train subset"):
        index(patch_size=32)


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()
    index(order="patches")
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_patches_are_the_volumes_own_pixels_paired(smoke_study):
    patches = Patches(smoke_study, "train")
    pair, row, column = patches.index[3]
    expected = patches.pairs.iloc[pair]
    for dose in ("ldct", "ndct"):
        volume = np.load(smoke_study.paths.volumes / expected[dose])
        cut = volume[expected["index"], row : row + 32, column : column + 32]
        np.testing.assert_array_equal(patches.images(patches.index[3:4], dose)[0, ..., 0], (cut + 1024) / np.float32(4096))
    assert set(patches.pairs["patient"]) == set(smoke_study.cohort.split.train)
    assert patches.mean_ndct() == pytest.approx(patches.images(patches.index, "ndct").mean(), abs=1e-6)


def test_batches_come_in_the_same_order_every_time_and_drop_the_rest(smoke_study):
    patches = Patches(smoke_study, "train")
    patches.index = patches.index[:11]
    first, again = ([np.asarray(batch[0]) for batch in patches.dataset(drop_remainder=True)] for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4] and first[0].dtype == np.float32
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.concatenate(first), patches.images(patches.index[:8], "ldct"))
    assert sum(len(batch[0]) for batch in patches.dataset(drop_remainder=False)) == 11


def test_no_test_or_validation_patient_is_ever_in_training(smoke_study):
    subsets = [set(Patches(smoke_study, name).pairs["patient"]) for name in ("train", "validation")]
    everyone = split.subsets(smoke_study)
    assert not subsets[0] & subsets[1] and not (subsets[0] | subsets[1]) & set(everyone["test"]["patient"])
