"""The exchange rate of loss weights: one weight lambda of a loss b beside a loss a, as every trade counts it.

    total = a + lambda b

Psi is the share of b in the *loss* (Eq. 5, Algorithm 2). Gamma is its share in the *gradient* that the update follows,

    lambda |g_b| / (|g_a| + lambda |g_b|),

at the network's output or at its weights. Others weight losses by gradients, too: VQGAN (Esser et al. 2021, adaptive weight)
by their norms at the last layer's kernel, EnCodec (Defossez et al. 2022, balancer) by those at the output.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from .psi import lambda_star, psi, psi_algorithm2

Trade = Literal["psi_eq5", "psi_alg2", "gamma_output", "gamma_weights", "gamma_last"]
VQGAN_EPSILON, VQGAN_LARGEST = 1e-4, 1e4  # of taming-transformers' calculate_adaptive_weight
STEPS = 200  # of the bisection, more than float64 needs


def _nothing() -> np.ndarray:
    return np.empty((0, 2))


@dataclass(frozen=True)
class Exchange:
    """Two losses a and b of pairs in one state of a network, and the norms of their gradients: what converts a weight."""

    values: np.ndarray  # (pairs, 2), the losses before lambda
    output: np.ndarray  # (pairs, 2), at the output, each image's gradient that of its own loss
    cosine: np.ndarray  # (pairs,), between those two gradients
    weights: np.ndarray = field(default_factory=_nothing)  # (batches, 2), at all trainable weights, of a batch's mean loss
    last: np.ndarray = field(default_factory=_nothing)  # (batches, 2), the same at the last layer's kernel
    weights_cosine: np.ndarray = field(default_factory=lambda: np.empty(0))  # (batches,)

    def share(self, trade: Trade, lambda_: ArrayLike) -> np.ndarray:
        """The share of b at one lambda or several, as a trade counts it.

        Parameters
        ----------
        trade : str
            'psi_eq5' (mean over pairs of the share in the loss), 'psi_alg2' (ratio of sums of the losses), 'gamma_output',
            'gamma_weights' or 'gamma_last' (ratio of sums of the gradients' norms at the output, at all weights, at the last
            layer's kernel). EnCodec's weight of b, where its weights add up to 1, is gamma_output.
        lambda_ : float or array_like, shape (n,)

        Returns
        -------
        The share in [0, 1], a scalar or shape (n,).

        Raises
        ------
        ValueError : no such trade, or gradients at the weights were not measured
        """
        return (psi if trade == "psi_eq5" else psi_algorithm2)(*self._sides(trade), lambda_)

    def lambda_at(self, trade: Trade, share: float) -> float:
        """The lambda at which b has this share, in (0, 1), as a trade counts it: the inverse of :meth:`share`.

        Raises
        ------
        ValueError : as :meth:`share`; or Eq. 5 cannot have it, for pairs whose a or b is 0 and whose share stays what it is
        """
        a, b = self._sides(trade)
        start = lambda_star(a, b, share)
        if trade != "psi_eq5":
            return start
        a, b = (each[(a > 0) | (b > 0)] for each in (a, b))  # as Eq. 5 does
        moving, least, most = (a > 0) & (b > 0), np.mean(a == 0), np.mean(b > 0)
        if not least < share < most:
            reached = f"only {least:.2g} to {most:.2g}: a or b is 0 for some pairs"
            raise ValueError(f"share: {share} cannot be had by Eq. 5, {reached}")
        a, b, share = a[moving], b[moving], (share - least) / (most - least)
        each = np.log(share / (1 - share) * a / b)  # a pair's own: that of all lies between
        low, high = each.min(), each.max()
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if psi(a, b, np.exp(middle)) < share else (low, middle)
        return float(np.exp((low + high) / 2))

    def rate(self, trade: Trade) -> float:
        """The exchange rate: how many times the odds of Psi (Algorithm 2) the odds of a trade's share are, at every lambda.

        Both are ratios of sums, so that odds, share / (1 - share), are proportional to lambda. 1: the share of the loss is
        that of the gradient.
        """
        if trade == "psi_eq5":
            raise ValueError("trade: Eq. 5 is no ratio of sums, it has no rate")
        a, b = self._sides(trade)
        return float(b.sum() / a.sum() * self.values[:, 0].sum() / self.values[:, 1].sum())

    @property
    def vqgan(self) -> float:
        """The lambda that VQGAN's adaptive weight is, before its constant factor."""
        a, b = self._sides("gamma_last")
        return float(np.clip(a.mean() / (b.mean() + VQGAN_EPSILON), 0.0, VQGAN_LARGEST))

    @property
    def trades(self) -> Iterator[Trade]:
        """Those that were measured."""
        return (trade for trade in get_args(Trade) if len(self._table(trade)))

    def row(self, lambda_: float) -> dict[str, float]:
        """One lambda as every trade counts it: its shares, and its factor to VQGAN's adaptive weight."""
        found: dict[str, float] = {"lambda": lambda_}
        found |= {str(trade): float(self.share(trade, lambda_)) for trade in self.trades}
        return found | ({"vqgan_factor": lambda_ / own if (own := self.vqgan) else math.inf} if len(self.last) else {})

    def _table(self, trade: Trade) -> np.ndarray:
        if trade.startswith("psi"):
            return self.values
        return {"gamma_output": self.output, "gamma_weights": self.weights, "gamma_last": self.last}[trade]

    def _sides(self, trade: Trade) -> tuple[np.ndarray, np.ndarray]:
        if trade not in get_args(Trade):
            raise ValueError(f"trade: {trade!r}, choose one of {', '.join(get_args(Trade))}")
        if not len(table := self._table(trade)):
            raise ValueError(f"trade: {trade} was not measured, pass weights=True")
        return table[:, 0], table[:, 1]
