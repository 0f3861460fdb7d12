"""Whether one order predicts another, of a few things that were chosen and not drawn."""

from typing import Final, NamedTuple

import numpy as np
from scipy import stats

LEAST: Final = 8  # pairs for an interval and a p: a bootstrap of fewer resamples one or two of them again and again
RESAMPLES: Final = 9_999


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation, the 95 % interval of a bootstrap over the pairs (percentiles), and the two-sided p of
    permuting one side against the other; NaN from fewer than eight pairs, or where one side is constant. Both take the pairs
    as independent: of pairs that are alike, as neighbouring layers are, the interval is too narrow, and p too small."""

    estimate: float
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    pairs: int = 0


def rank_correlation(first: np.ndarray, second: np.ndarray) -> RankCorrelation:
    """Of pairs, (n,) each; those with a NaN do not count. The permutations are all of them where they are no more
    than 9,999, else so many random ones."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    there = np.isfinite(first) & np.isfinite(second)
    first, second = first[there], second[there]
    count = len(first)
    if count < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(np.nan, pairs=count)
    estimate = float(_spearman(first, second))
    if count < LEAST:
        return RankCorrelation(estimate, pairs=count)
    rng = np.random.default_rng(5)
    drawn = rng.integers(0, count, (RESAMPLES, count))
    low, high = np.nanpercentile(_spearman(first[drawn], second[drawn]), (2.5, 97.5))
    p = stats.permutation_test(
        (first,), lambda values, axis: _spearman(values, second), permutation_type="pairings", vectorized=True,
        n_resamples=RESAMPLES, rng=rng,
    ).pvalue  # fmt: skip
    return RankCorrelation(estimate, float(low), float(high), float(p), count)


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Along the last axis; NaN where a resample has one value only."""
    ranks = [stats.rankdata(each, axis=-1) for each in (first, second)]
    a, b = (each - each.mean(axis=-1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
