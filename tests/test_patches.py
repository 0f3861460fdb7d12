"""The grid, the order, and what a patch holds."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from lib.data.patch_index import PatchPlan, grid, patch_index
from lib.data.patches import Patches
from lib.errors import CohortError
from lib.paper import published
from lib.stages import inputs


def test_25_patches_a_slice_and_the_last_32_rows_are_never_seen():
    corners = grid(512, 512, 96, 96)
    assert len(corners) == published.PATCHES_PER_SLICE
    assert corners.max() + 96 == 480 and corners[1].tolist() == [0, 96]


@pytest.mark.parametrize(("rows", "columns", "size", "skip", "count"), [
    (17, 9, 8, 8, 2), (16, 16, 8, 4, 9), (7, 30, 8, 8, 0), (8, 8, 8, 8, 1), (20, 11, 3, 5, 8),
])
def test_grid_on_odd_shapes(rows, columns, size, skip, count):
    corners = grid(rows, columns, size, skip)
    assert len(corners) == count
    assert all(row + size <= rows and column + size <= columns for row, column in corners)


def index(pairs=5, **changes) -> np.ndarray:
    return sharded(pairs, **changes)[0]


def sharded(pairs=5, shard=None, foreground=None, seed=5, **changes) -> tuple[np.ndarray, np.ndarray]:
    plan = PatchPlan(**({"size": 8, "skip": 8} | changes))
    return patch_index(pd.DataFrame(index=range(pairs)), [(16, 24)] * pairs, plan, np.random.default_rng(seed), foreground,
                       shard)


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
    found = index(pairs=20, order="patches", limit=40)
    assert len(np.unique(found, axis=0)) == 40 and len(np.unique(found[:, 0])) > 14
    assert len(index(limit=31)) == 30, "more than there are"


def test_balanced_sampling_draws_about_as_many_patches_of_a_rare_series():
    pairs = pd.DataFrame({"kernel": ["B30"] * 27 + ["D45"] * 3, "thickness_mm": 1.0})
    drawn = [patch_index(pairs, [(24, 40)] * 30, PatchPlan(8, 8, sampling=sampling, limit=60), np.random.default_rng(1))[0]
             for sampling in ("grid", "balanced")]
    rare = [int((index[:, 0] >= 27).sum()) for index in drawn]
    # 45 of 450 patches are rare: 6 of 60 at random; half of the draws at first, less as the 45 are used up
    assert rare[0] < 14 and 20 <= rare[1] <= 35, rare
    assert all(len(np.unique(index, axis=0)) == 60 for index in drawn)


def test_balanced_sampling_needs_its_numbers(study):
    with pytest.raises(ValueError, match="max_patches of train and validation"):
        type(study.training).model_validate(study.training.model_dump() | {"sampling": "balanced", "max_patches": None})


def test_a_limit_is_of_its_own_subset(study):
    assert [study.training.plan(name).limit for name in ("train", "validation", "test")] == [24, 8, None]


def test_no_patch_at_all_is_refused():
    with pytest.raises(CohortError, match="no patch of 32 x 32 in 5 pairs of slices; check DATA"):
        index(size=32)


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    index(order="patches")
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_patches_are_the_volumes_own_pixels_paired(smoke_study):
    patches = inputs.patches(smoke_study, "train", 5)
    pair, row, column = patches.index[3]
    expected = patches.pairs.iloc[pair]
    for dose in ("ldct", "ndct"):
        volume = np.load(smoke_study.paths.volumes / expected[dose])
        cut = volume[expected["index"], row : row + 32, column : column + 32]
        np.testing.assert_array_equal(patches.images(patches.index[3:4], dose)[0, ..., 0], (cut + 1024) / np.float32(4096))
    assert set(patches.pairs["patient"]) == set(smoke_study.cohort.split.train)
    assert patches.mean_ndct() == pytest.approx(patches.images(patches.index, "ndct").mean(), abs=1e-6)


@pytest.mark.parametrize(("shard", "bounds"), [
    (6, [0, 6, 12, 18, 24, 30]), (13, [0, 12, 24, 30]), (1, [0, 6, 12, 18, 24, 30]), (30, [0, 30]),
])
def test_shards_hold_whole_slices_and_shuffle_within(shard, bounds):
    found, ends = sharded(order="patches", shard=shard)
    assert ends.tolist() == bounds and len(np.unique(found, axis=0)) == 30
    parts = [set(found[start:stop, 0]) for start, stop in pairwise(ends)]
    assert sum(map(len, parts)) == 5, "no slice is in two shards, so none is read twice an epoch"
    assert shard != 13 or (np.diff(found[:12, 0]) != 0).sum() > 3


def test_foreground_sampling_leaves_out_the_rest_of_the_grid():
    found, _ = sharded(foreground=lambda rows: rows[:, 2] == 8, order="patches")
    assert len(found) == 10 and (found[:, 2] == 8).all()
    with pytest.raises(CohortError, match="no patch .*sampling"):
        sharded(foreground=lambda rows: np.zeros(len(rows), bool))


def test_foreground_of_a_study_is_where_the_body_is(smoke_study):
    pairs, store = inputs.subsets(smoke_study)["train"], smoke_study.paths.volumes
    body, everything = (Patches(pairs, store, PatchPlan(32, 32, sampling=each), 5) for each in ("foreground", "grid"))
    share = [(patches.hu(patches.index, "ndct") > -500).mean(axis=(1, 2)) for patches in (body, everything)]
    assert share[0].min() >= 0.1 and len(body) == (share[1] >= 0.1).sum() and 0 < len(body) < len(everything)


def limited(smoke_study, count: int) -> Patches:
    plan = replace(smoke_study.training.plan("train"), limit=count)
    return Patches(inputs.subsets(smoke_study)["train"], smoke_study.paths.volumes, plan, [5, 0])


def test_batches_come_in_the_same_order_every_time_and_drop_the_rest(smoke_study):
    patches = limited(smoke_study, 11)
    patches.bounds = np.array([0, 3, 5, 11])  # batches reach over the bounds of shards
    first, again = ([np.asarray(batch[0]) for batch in patches.dataset(4, drop_remainder=True)] for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4] and first[0].dtype == np.float32
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.concatenate(first), patches.images(patches.index[:8], "ldct"))
    assert sum(len(batch[0]) for batch in patches.dataset(4, drop_remainder=False)) == 11
    assert [patches.batches(4, True), patches.batches(4, False), patches.batches(4, False, start=4)] == [2, 3, 2]


@pytest.mark.parametrize("start", [0, 3, 4, 8])
def test_a_dataset_that_starts_later_goes_on_with_the_same_patches(smoke_study, start):
    patches = limited(smoke_study, 11)
    patches.bounds = np.array([0, 3, 5, 11])
    found = np.concatenate([np.asarray(batch[1]) for batch in patches.dataset(4, drop_remainder=False, start=start)])
    np.testing.assert_array_equal(found, patches.images(patches.index[start:], "ndct"))
    assert len(patches.dataset(4, drop_remainder=False, start=start)) == patches.batches(4, False, start=start)


def test_each_slice_is_read_once_an_epoch(smoke_study, monkeypatch):
    patches, read = limited(smoke_study, 40), []
    plane = Patches._plane
    monkeypatch.setattr(Patches, "_plane", lambda self, pair, dose: (read.append((pair, dose)), plane(self, pair, dose))[1])
    for _ in patches.dataset(4, drop_remainder=False):
        pass
    assert len(read) == len(set(read)) == 2 * len(np.unique(patches.index[:, 0]))


def test_patches_tell_their_slices(smoke_study):
    patches = inputs.patches(smoke_study, "train", 5)
    row = patches.pairs.iloc[patches.index[3, 0]]
    assert patches.slices([3]) == f"{row['patient']} {row['kernel']} {row['thickness_mm']:g} mm {row['index']}"


def test_no_test_or_validation_patient_is_ever_in_training(smoke_study):
    subsets = [set(inputs.patches(smoke_study, name, 5).pairs["patient"]) for name in ("train", "validation")]
    everyone = inputs.subsets(smoke_study)
    assert not subsets[0] & subsets[1] and not (subsets[0] | subsets[1]) & set(everyone["test"]["patient"])
