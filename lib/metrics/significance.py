"""The paper's own test and effect size: paired scores of slices, each taken as independent of all others.

Slices of one patient are alike: with many slices of few patients these p values say far too much.
:mod:`lib.metrics.patients` has the tests whose unit is the patient.
"""

import sys

import numpy as np
from scipy import stats


def cohens_d_from_summary(mean1: float, sd1: float, mean2: float, sd2: float) -> float:
    """Cohen's d of two independent samples of one size, pooled SD: the paper's effect size, from Table 3 alone.

    0 for 0 / 0, signed infinity where only the SD is zero.

    >>> round(cohens_d_from_summary(0.9443, 0.043, 0.9293, 0.053), 2)
    0.31
    """
    difference, sd = mean1 - mean2, np.sqrt((sd1**2 + sd2**2) / 2)
    if difference == 0:
        return 0.0
    return float(difference / sd) if sd != 0 else float(np.copysign(np.inf, difference))


def cohens_d(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's d with the pooled SD of two independent samples of one size (the paper's: it ignores the pairing)."""
    return cohens_d_from_summary(first.mean(), _sd(first), second.mean(), _sd(second))


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else np.nan


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
