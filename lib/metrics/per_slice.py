"""Scores of single slices, the mean over the seeds of an experiment."""

from typing import Final

import pandas as pd

SLICE: Final = ["patient", "kernel", "thickness_mm", "scan", "index"]
"""Columns that name a slice."""


def ssim_by_slice(metrics: pd.DataFrame) -> pd.DataFrame:
    """SSIM of each test slice and experiment, the mean over its seeds: experiment, the slice's four columns, ssim.

    Raises ValueError if the seeds of an experiment were not evaluated on the same slices.
    """
    groups = metrics.groupby(["experiment", *SLICE], sort=False, dropna=False)
    seeds = metrics.groupby("experiment")["seed"].nunique().clip(lower=1)
    counts = groups.size()
    if (counts != seeds.reindex(counts.index.get_level_values("experiment")).to_numpy()).any():
        raise ValueError("metrics: the seeds were evaluated on different slices; evaluate all of them again")
    return groups["ssim"].mean().reset_index()
