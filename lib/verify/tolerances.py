"""How far a run that does reproduce may lie from the reference: measured from repeated runs, not chosen.

Runs are repeated in one of two ways: with the same seeds and other *arithmetic* (a processor's instructions, threads,
libraries), or with other *seeds*. Of each quantity n runs give a mean, which is the reference (it has less noise than any
one of them), and a variance with d = n - 1 degrees of freedom. So few say little of one quantity but much of many:
quantities of one family (table and column) have variances around a common one. They are moderated as in limma (Smyth 2004,
Statistical Applications in Genetics and Molecular Biology 3:3): log variances of a family are scattered by sampling, which
is known, and beyond it by d0 degrees of freedom of a prior, which is estimated over all families at once;

    s0^2 = exp(mean(e) + psi(d0 / 2) - log(d0 / 2)),  e = log(s^2) - psi(d / 2) + log(d / 2),  of each family
    s~^2 = (d0 s0^2 + d s^2) / (d0 + d)

Quantities of a family move together (one network's SSIM and another's; psi and lambda are made from the same losses). Their
mean squared correlation r2 shrinks what sampling scatters by the factor 1 - r2, and a family of m quantities tells no more
than m / (1 + (m - 1) r2) independent ones: s~ has at most so many times d degrees of freedom (limma's bound, for
independent genes, is m d).

That is for normal deviations, and rounding is not normal: most ways to add up lead a training along the same path, and one
in a few along another, to numbers that lie far off by comparison. Which experiment it happens to is chance, so that a
variance is taken as no smaller than the mean over its family, of those quantities, too, that never varied.

The tolerance is half a Student prediction interval for one new run, t s~ sqrt(1 + 1 / n), two-sided at the risk .01 /
number of quantities (Bonferroni): for normal deviations a run that is one more of the same kind is called different in any
of its numbers with a probability of about .01; somewhat more by three to five runs, whose variances and correlations are
hardly known, and many times that where tails are heavy (benchmarks/false_alarms.py). Two runs leave one degree of freedom: a
tolerance of tens of thousands s~, which says next to nothing.

What it does not cover: what was not repeated (another version of a library, a GPU, where arithmetic differs in kind; a kind
of processor unlike those of the runs), a change that is smaller than the tolerance, and errors that all runs share.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import t as student

RISK: Final = 0.01  # that a run which does reproduce differs in one of its numbers
SMALLEST_PRIOR, LARGEST_PRIOR = 1e-3, 1e6  # degrees of freedom: less is none, more is no scatter of variances at all
ENOUGH: Final = 6  # runs: with fewer a tolerance is ten standard deviations and more; 20 with five of demo (REPRODUCING.md)


class Spread(NamedTuple):
    """Of each quantity over repeated runs."""

    sd: np.ndarray  # moderated, in units of the quantity
    df: np.ndarray  # degrees of freedom that it has
    prior: float  # d0


def spread(values: np.ndarray, families: Sequence[str], scales: np.ndarray) -> Spread:
    """Moderated standard deviations.

    Parameters
    ----------
    values : array, (runs, quantities)
        At least two runs.
    families : sequence of str, (quantities)
        Those of one family share a prior.
    scales : array, (quantities)
        Positive numbers: values divided by them have variances that are alike within a family.

    Returns
    -------
    Spread
        At least that of the family as a whole, which is zero where nothing varied.
    """
    degrees = len(values) - 1
    scaled = values / scales
    variance = scaled.var(axis=0, ddof=1)
    rounding = (1e-12 * np.abs(scaled).max(axis=0)) ** 2  # of the mean and the sums of double precision numbers
    variance = np.where(variance > rounding, variance, 0.0)
    labels = np.asarray(families)
    members = {name: np.flatnonzero((labels == name) & (variance > 0)) for name in dict.fromkeys(families)}
    likeness = {name: mean_squared_correlation(scaled[:, which]) for name, which in members.items()}
    logs = np.log(variance, out=np.zeros(len(labels)), where=variance > 0) - digamma(degrees / 2) + np.log(degrees / 2)
    prior = prior_degrees([logs[which] for which in members.values()], list(likeness.values()), degrees)
    moderated, df = variance.copy(), np.full(len(labels), float(degrees))
    for name, which in members.items():
        family = labels == name
        if len(which) > 1:
            common = np.exp(logs[which].mean() + digamma(prior / 2) - np.log(prior / 2)) if prior else 0.0
            moderated[which] = (prior * common + degrees * variance[which]) / (prior + degrees)
            df[family] = min(prior + degrees, degrees * len(which) / (1 + (len(which) - 1) * likeness[name]))
        moderated[family] = np.maximum(moderated[family], variance[family].mean())
    return Spread(np.sqrt(moderated) * scales, df, prior)


def prior_degrees(families: Sequence[np.ndarray], likeness: Sequence[float], degrees: int) -> float:
    """d0, from how far log variances lie from the mean of their family beyond what sampling does.

    Parameters
    ----------
    families : sequence of arrays
        ``e`` of each family's quantities.
    likeness : sequence of float
        Mean squared correlation of each.
    degrees : int
        d.

    Returns
    -------
    float
        0 where no family has two quantities, else the d0 whose trigamma(d0 / 2) is the scatter left over, at most
        ``LARGEST_PRIOR``.
    """
    free = np.array([max(len(each) - 1, 0) for each in families], float)
    if not free.sum():
        return 0.0
    scatter = sum(((each - each.mean()) ** 2).sum() for each in families if len(each) > 1) / free.sum()
    sampling = polygamma(1, degrees / 2) * (1 - np.average(likeness, weights=free))
    left = scatter - sampling
    if left <= polygamma(1, LARGEST_PRIOR / 2):
        return LARGEST_PRIOR
    if left >= polygamma(1, SMALLEST_PRIOR / 2):
        return 0.0
    root = brentq(lambda log: polygamma(1, np.exp(log) / 2) - left, np.log(SMALLEST_PRIOR), np.log(LARGEST_PRIOR))
    return float(np.exp(root))


def mean_squared_correlation(values: np.ndarray) -> float:
    """Of all pairs of columns, without what chance adds: independent ones have 1 / d on average.

    ``values`` are (runs, quantities), none constant. Two runs say nothing of it: 1, as if all moved together.
    """
    runs, quantities = values.shape
    if quantities < 2:
        return 0.0
    if runs < 3:
        return 1.0
    squares = np.corrcoef(values, rowvar=False) ** 2
    mean = (squares.sum() - quantities) / (quantities * (quantities - 1))
    chance = 1 / (runs - 1)
    return float(np.clip((mean - chance) / (1 - chance), 0, 1))


def tolerances(values: np.ndarray, families: Sequence[str], scales: np.ndarray, floors: np.ndarray,
               risk: float = RISK) -> np.ndarray:
    """How far one more run may lie from the mean of ``values``; the parameters are those of :func:`spread`.

    ``floors`` (quantities) are the least tolerances, of rounding; ``risk`` is shared by all quantities.
    """
    found = spread(values, families, scales)
    quantile = student.isf(risk / (2 * values.shape[1]), found.df)
    return np.maximum(quantile * found.sd * np.sqrt(1 + 1 / len(values)), floors)


def caution(runs: int) -> str:
    """What so few runs mean for a tolerance, to be added to a sentence; nothing where they are enough."""
    if runs > 2:
        return ", which is so few that they allow much" if runs < ENOUGH else ""
    return ", which is too few: they allow tens of thousands of standard deviations"
