"""The paper in one file: the losses, perceptual influence Psi, and the lambda that gives a wanted Psi.

Notation: mse and pl are per-pair losses, l_MSE and l_PL^{c,phi}; lambda_ is the weight of the perceptual term. The
paper writes squared norms (Eq. 2-3); its published numbers come from *means* over all elements, and so do ours: its
lambdas make sense with means only.
"""

import keras
import numpy as np
from keras import ops

from lib.paper.published import TARGET_PSI


def mse_loss(a, b):
    """Eq. 2 as a mean: squared difference of images (batch, rows, columns, 1), one value an image, (batch,)."""
    return _mean_square(a, b)


def perceptual_loss(features_a, features_b):
    """Eq. 3 as a mean: squared difference of features (batch, rows, columns, channels), one value an image."""
    return _mean_square(features_a, features_b)


def _mean_square(a, b):
    """In float32, whatever the precision of the layers: squares of features leave the range of float16."""
    difference = ops.cast(a, "float32") - ops.cast(b, "float32")
    return ops.mean(ops.square(difference), axis=(1, 2, 3))


def total_loss(mse, pl, lambda_: float):
    """Eq. 4: l_MSE + lambda l_PL, elementwise."""
    return mse + lambda_ * pl


def psi_eq5(mse: np.ndarray, pl: np.ndarray, lambda_) -> np.ndarray:
    """Eq. 5: the mean over pairs of the share of the perceptual term in the total loss.

    Args:
        mse, pl: losses of each pair, shape (pairs,).
        lambda_: one weight, or weights of shape (n,).

    Returns:
        Psi in [0, 1], a scalar or shape (n,).
    """
    mse, pl, lambda_ = np.asarray(mse, float), np.asarray(pl, float), np.asarray(lambda_, float)[..., None]
    return (lambda_ * pl / total_loss(mse, pl, lambda_)).mean(axis=-1)


def psi_algorithm2(mse: np.ndarray, pl: np.ndarray, lambda_) -> np.ndarray:
    """Algorithm 2, line 10: a ratio of sums, lambda S_PL / (S_MSE + lambda S_PL). Arguments as in :func:`psi_eq5`.

    It differs from Eq. 5 unless every pair has the same ratio of losses.
    """
    s_mse, s_pl = np.asarray(mse, float).sum(), np.asarray(pl, float).sum()
    weighted = np.asarray(lambda_, float) * s_pl
    return weighted / (s_mse + weighted)


def lambda_star(mse: np.ndarray, pl: np.ndarray, psi: float = TARGET_PSI) -> float:
    """The exact lambda at which Algorithm 2 gives ``psi``: psi / (1 - psi) S_MSE / S_PL, that is 19 MSE / PL at 0.95."""
    return float(psi / (1.0 - psi) * np.asarray(mse, float).sum() / np.asarray(pl, float).sum())


def decade(lambda_: float) -> float:
    """The paper's rounding: the power of ten nearest in log10 (4.36e-6 -> 1e-5)."""
    return float(f"1e{round(np.log10(lambda_))}")


class TotalLoss(keras.losses.Loss):
    """Eq. 4 as a Keras loss between NDCT and prediction, images (batch, rows, columns, 1) in [0, 1].

    Args:
        lambda_: weight of the perceptual term.
        encoder: frozen E_c^phi, image in [0, 1] -> features; None only with ``lambda_`` 0 (the MSE control).
    """

    def __init__(self, lambda_: float, encoder: keras.Model | None = None, name: str = "total"):
        super().__init__(name=name)
        if encoder is None and lambda_ != 0:
            raise ValueError(f"lambda_ = {lambda_} weights a perceptual term, which needs an encoder")
        self.lambda_ = float(lambda_)
        self.encoder = encoder

    def terms(self, y_true, y_pred):
        """(mse, pl), each of shape (batch,); pl is zero without an encoder.

        ``y_true`` is the NDCT, or a pair (NDCT, its features): they are the same in every epoch, so that they can be
        computed once.
        """
        ndct, target = y_true if isinstance(y_true, tuple | list) else (y_true, None)
        mse = mse_loss(y_pred, ndct)
        if self.encoder is None:
            return mse, ops.zeros_like(mse)
        if target is None:
            target = ops.stop_gradient(self.encoder(ndct, training=False))
        return mse, perceptual_loss(self.encoder(y_pred, training=False), target)

    def call(self, y_true, y_pred):
        return total_loss(*self.terms(y_true, y_pred), self.lambda_)


class PerceptualInfluence(keras.metrics.Metric):
    """Psi of Algorithm 2 over all pairs seen since the last reset, as a Keras metric of per-pair losses."""

    def __init__(self, lambda_: float, name: str = "psi"):
        super().__init__(name=name)
        self.lambda_ = float(lambda_)
        self.s_mse = self.add_weight(name="s_mse", initializer="zeros")
        self.s_pl = self.add_weight(name="s_pl", initializer="zeros")

    def update_state(self, mse, pl):
        self.s_mse.assign_add(ops.sum(mse))
        self.s_pl.assign_add(ops.sum(pl))

    def result(self):
        weighted = self.lambda_ * self.s_pl
        return ops.divide_no_nan(weighted, self.s_mse + weighted)
