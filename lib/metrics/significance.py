"""Tests, effect sizes and intervals for paired scores of slices that share patients."""

import sys
from typing import Final

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

CHUNK: Final = 500  # resamples at a time: bounds the memory of the bootstrap


def cohens_d_from_summary(mean1: float, sd1: float, mean2: float, sd2: float) -> float:
    """Cohen's d of two independent samples of one size, pooled SD: the paper's effect size, from Table 3 alone.

    >>> round(cohens_d_from_summary(0.9443, 0.043, 0.9293, 0.053), 2)
    0.31
    """
    return _ratio(mean1 - mean2, np.sqrt((sd1**2 + sd2**2) / 2))


def cohens_d(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's d with the pooled SD of two independent samples of one size (the paper's: it ignores the pairing)."""
    return cohens_d_from_summary(first.mean(), _sd(first), second.mean(), _sd(second))


def cohens_dz(difference: np.ndarray) -> float:
    """Paired effect size: mean difference over the SD of the differences."""
    return _ratio(difference.mean(), _sd(difference))


def rank_biserial(difference: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation in [-1, 1]: (W+ - W-) / (W+ + W-), zero differences left out (Kerby
    2014). 1: the first is better on every slice. Zero if all differences are."""
    nonzero = difference[difference != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum()) if nonzero.size else 0.0


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else np.nan


def _ratio(difference: float, sd: float) -> float:
    """The quotient; 0 for 0 / 0, signed infinity where only the SD is zero."""
    if difference == 0:
        return 0.0
    return float(difference / sd) if sd != 0 else float(np.copysign(np.inf, difference))


def wilcoxon(difference: np.ndarray) -> tuple[float, float]:
    """Two-sided Wilcoxon signed-rank test of paired differences: p and log10 p; zero differences are dropped.

    p = 1 if all differences are zero. Over some 2,000 slices p may be smaller than any float: then log10 p comes from the
    logarithm of the normal tail, and p is the smallest normal float (2.2e-308), an upper bound: never 0.
    """
    nonzero = difference[difference != 0]
    if not nonzero.size:
        return 1.0, 0.0
    if nonzero.size <= 50:  # exact where there are no ties
        p = float(stats.wilcoxon(nonzero).pvalue)
        return p, float(np.log10(p))
    z = stats.wilcoxon(nonzero, method="asymptotic").zstatistic
    log_p = float(min(np.log(2) + stats.norm.logsf(abs(z)), 0.0))
    return float(max(np.exp(log_p), sys.float_info.min)), log_p / np.log(10)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction for testing several hypotheses at once (Holm 1979)."""
    return multipletests(p_values, method="holm")[1]


def bootstrap_interval(
    difference: np.ndarray, patients: np.ndarray, resamples: int = 10_000, seed: int = 5, level: float = 0.95
) -> tuple[float, float]:
    """Lower and upper end of the percentile interval of the mean difference, two-level bootstrap: patients, then slices.

    Slices of one patient are alike, so patients are the units that are sampled (Davison & Hinkley 1997, sec. 3.8).

    Parameters
    ----------
    difference, patients : ndarray, (slices,), the paired differences and the patient of each slice
    resamples, seed : int, their number, and the seed of a generator of this function's own
    level : float, what the interval covers
    """
    generator = np.random.default_rng(seed)
    groups = [difference[patients == patient] for patient in dict.fromkeys(patients)]
    means = [_resampled_means(groups, min(CHUNK, resamples - start), generator) for start in range(0, resamples, CHUNK)]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_means(groups: list[np.ndarray], resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Mean over slices of each resample: (resamples,)."""
    drawn = generator.integers(len(groups), size=(resamples, len(groups)))
    total, count = np.zeros(resamples), np.zeros(resamples)
    for number, group in enumerate(groups):
        owner = np.nonzero(drawn == number)[0]  # one entry for each time that a resample drew this patient
        slices = generator.integers(group.size, size=(owner.size, group.size))
        total += np.bincount(owner, group[slices].sum(axis=1), minlength=resamples)
        count += np.bincount(owner, minlength=resamples) * group.size
    return total / count
