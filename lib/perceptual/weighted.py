"""Any two losses as one, with the weight of the second as a variable: what :class:`~.losses.TotalLoss` is for Eq. 4."""

from collections.abc import Callable

import keras

from .losses import Parts
from .pairs import per_image


class WeightedSum(keras.losses.Loss):
    """a + lambda x b, one value for each image; reductions that the two have for a batch play no part.

    Parameters
    ----------
    loss_a, loss_b : keras.losses.Loss or function, (targets, predictions) -> a number for each image
    lambda_ : float, the first value of lambda

    Attributes
    ----------
    lambda_ : keras.Variable
        Assign it to change it. JAX reads it when it compiles a step: call ``model.compile`` again after that.
    """

    def __init__(self, loss_a: Callable, loss_b: Callable, lambda_: float, name: str = "weighted_sum"):
        super().__init__(name=name)
        if not 0 <= lambda_ < float("inf"):
            raise ValueError(f"lambda_: {lambda_} is no weight, expected 0 or a positive number")
        self.loss_a, self.loss_b = per_image(loss_a, "loss_a"), per_image(loss_b, "loss_b")
        self.lambda_ = keras.Variable(lambda_, dtype="float32", trainable=False, name="lambda")

    def parts(self, y_true, y_pred) -> Parts:
        """The losses a (``pixel``) and b (``perceptual``), lambda b, and the total, each (batch,)."""
        a, b = self.loss_a(y_true, y_pred), self.loss_b(y_true, y_pred)
        weighted = self.lambda_ * b
        return Parts(a, b, weighted, a + weighted)

    def call(self, y_true, y_pred):
        return self.parts(y_true, y_pred).total
