"""Which patches are used, and in which order."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import pandas as pd

from lib.errors import CohortError

SHARD: Final = {"slices": 512, "patches": 4096}  # patches; about 150 MB of 96 x 96 for the longer one


@dataclass(frozen=True)
class PatchPlan:
    """How slices become patches."""

    size: int  # side of a patch, pixels
    skip: int  # stride of the grid, pixels
    # the authors': slices shuffled once, a slice's patches in sequence; or the slices of all patients shuffled once, and
    # then the patches of each shard of slices
    order: Literal["slices", "patches"] = "slices"
    # all of the grid, or without patches of air, or ``limit`` of it with about as many of each kernel and slice thickness
    sampling: Literal["grid", "foreground", "balanced"] = "grid"
    limit: int | None = None  # so many of them, drawn at random, spread over all slices


def grid(rows: int, columns: int, size: int, skip: int) -> np.ndarray:
    """Top left corners of the patches of one slice: a grid of stride ``skip`` from the top left (Table 2), int (patches, 2)
    of (row, column), row by row. Patches that would leave the slice are left out: 5 x 5 = 25 patches of 96 at stride 96 in
    512 x 512, so that the last 32 rows and columns are never seen."""
    tops, lefts = np.arange(0, rows - size + 1, skip), np.arange(0, columns - size + 1, skip)
    return np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)


def patch_index(
    pairs: pd.DataFrame, shapes: list[tuple[int, int]], plan: PatchPlan, random: np.random.Generator,
    foreground: Callable[[np.ndarray], np.ndarray] | None = None, shard: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Which patches a subset has, in the order in which every epoch of every experiment sees them.

    Parameters
    ----------
    pairs, shapes : a row per pair of slices, and (rows, columns) of each
    foreground : says for rows of the index, sorted by pair, which ones to keep
    shard : most patches in a shard, ``SHARD`` unless given; a single slice may have more

    Returns
    -------
    index : int array, shape (patches, 3), position of the pair in ``pairs``, row, column
    bounds : int array, shape (shards + 1,), of the shards in the index; no slice is in two shards

    Raises
    ------
    CohortError : no patch fits into any slice, or none is foreground
    """
    corners = [grid(*shape, plan.size, plan.skip) for shape in shapes]
    parts = [np.column_stack([np.full(len(corners[pair]), pair), corners[pair]]) for pair in random.permutation(len(pairs))]
    index = np.concatenate(parts or [np.empty((0, 3), int)])
    if foreground is not None and len(index):
        index = index[foreground(index)]
    if not len(index):
        raise CohortError(f"no patch of {plan.size} x {plan.size} in {len(pairs)} pairs of slices",
                          remedy="check DATA, the split, patch_size and sampling")
    if plan.limit is not None and plan.limit < len(index):
        shares = _equal_shares(pairs, index[:, 0]) if plan.sampling == "balanced" else None
        index = index[np.sort(random.choice(len(index), plan.limit, replace=False, p=shares))]
    bounds = _bounds(index[:, 0], shard or SHARD[plan.order])
    if plan.order == "patches":
        for start, stop in pairwise(bounds):
            index[start:stop] = random.permutation(index[start:stop])
    return index, bounds


def _equal_shares(pairs: pd.DataFrame, of: np.ndarray) -> np.ndarray:
    """Probability of each patch, of the pair ``of``, at which every kernel and slice thickness has the same."""
    series = pairs.groupby(["kernel", "thickness_mm"]).ngroup().to_numpy()[of]
    share = 1.0 / np.bincount(series)[series]
    return share / share.sum()


def _bounds(pairs: np.ndarray, limit: int) -> np.ndarray:
    """Cut a sequence that is grouped by pair into runs of at most ``limit``, between pairs only."""
    ends = [*(np.flatnonzero(np.diff(pairs)) + 1), len(pairs)]
    bounds = [0]
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        if following is None or following - bounds[-1] > limit:
            bounds.append(end)
    return np.array(bounds)
