"""Perceptual influence Psi, and the lambda that gives a wanted Psi: the paper's Eq. 5 and Algorithm 2, in NumPy alone.

Notation: ``mse`` and ``pl`` are losses per pair of images, l_MSE (or whatever pixel term stands in its place, with its
multiplier) and l_PL^{c,phi}; ``lambda_`` is the weight of the perceptual term.
"""

import numpy as np
from numpy.typing import ArrayLike

TARGET_PSI = 0.95
"""What the paper calibrates to (Section 5.2)."""


def psi(mse: ArrayLike, pl: ArrayLike, lambda_: ArrayLike) -> np.ndarray:
    """Eq. 5: the mean over pairs of the share of the perceptual term in the total loss. A pair whose two losses are 0, as of
    air that is left as it is, has no share, and is left out.

    Parameters
    ----------
    mse, pl : array_like, shape (pairs,), losses of each pair
    lambda_ : float or array_like, shape (n,), one weight, or several

    Returns
    -------
    Psi in [0, 1], a scalar or shape (n,).
    """
    mse, pl, lambda_ = np.asarray(mse, float), np.asarray(pl, float), np.asarray(lambda_, float)[..., None]
    some = (mse != 0) | (pl != 0)
    weighted = lambda_ * pl[some]
    total = mse[some] + weighted
    return np.divide(weighted, total, out=np.zeros_like(total), where=total != 0).mean(axis=-1)


def psi_algorithm2(mse: ArrayLike, pl: ArrayLike, lambda_: ArrayLike) -> np.ndarray:
    """Algorithm 2, line 10: a ratio of sums, lambda S_PL / (S_MSE + lambda S_PL). Arguments as in :func:`psi`.

    It differs from Eq. 5 unless every pair has the same ratio of losses.
    """
    s_mse, s_pl = np.asarray(mse, float).sum(), np.asarray(pl, float).sum()
    weighted = np.asarray(lambda_, float) * s_pl
    return weighted / (s_mse + weighted)


def lambda_star(mse: ArrayLike, pl: ArrayLike, psi: float = TARGET_PSI) -> float:
    """The exact lambda at which Algorithm 2 gives ``psi``: psi / (1 - psi) S_MSE / S_PL, that is 19 MSE / PL at 0.95.

    >>> lambda_star([1e-4], [422.0])
    4.502369668246442e-06

    Raises ValueError: ``psi`` is no share. Where all of ``pl`` are 0 no weight does it: it is infinite.
    """
    if not 0 < psi < 1:
        raise ValueError(f"psi: {psi}, expected a share between 0 and 1")
    return float(psi / (1.0 - psi) * np.asarray(mse, float).sum() / np.asarray(pl, float).sum())


def decade(lambda_: float) -> float:
    """The paper's rounding: the power of ten nearest in log10 (4.36e-6 -> 1e-5). Raises ValueError: there is none."""
    if not 0 < lambda_ < np.inf:
        raise ValueError(f"lambda_: {lambda_} has no nearest power of ten")
    return float(f"1e{round(np.log10(lambda_))}")
