"""The share of the perceptual term during training, as Keras metrics: in the loss, and in the gradient at the output."""

import keras
from keras import ops


class Share(keras.metrics.Metric):
    """A ratio of sums, b / (a + b), over everything seen since the last reset; NaN while nothing was seen."""

    def __init__(self, name: str):
        super().__init__(name=name)
        self.s_a = self.add_weight(name="s_a", initializer="zeros")
        self.s_b = self.add_weight(name="s_b", initializer="zeros")

    def add(self, a, b) -> None:
        """Count tensors of any shape."""
        self.s_a.assign_add(ops.sum(a))
        self.s_b.assign_add(ops.sum(b))

    def result(self):
        whole = self.s_a + self.s_b
        return ops.where(whole > 0, ops.divide_no_nan(self.s_b, whole), float("nan"))


class PerceptualInfluence(Share):
    """Psi of Algorithm 2 over all pairs seen since the last reset, from the terms of :class:`~.losses.Parts`: each pair
    counts with the lambda of its own step."""

    def __init__(self, name: str = "psi"):
        super().__init__(name)

    def update_state(self, pixel, weighted):
        self.add(pixel, weighted)


class GradientShare(Share):
    """Gamma at the network's output over all pairs seen since the last reset: |g_b| / (|g_a| + |g_b|), of norms summed over
    pairs.

    Training needs no pass for it: the gradient of the total at the output is computed on the way to the weights, and the
    pixel term's is known in closed form (:func:`~.losses.pixel_gradient`); what is left is the perceptual term's.
    """

    def __init__(self, name: str = "gamma"):
        super().__init__(name)

    def update_state(self, pixel_gradient, total_gradient):
        """Gradients of each image's own loss, (batch, rows, columns, channels)."""
        pixel, total = (ops.cast(each, "float32") for each in (pixel_gradient, total_gradient))
        self.add(*(ops.sqrt(ops.sum(ops.square(each), axis=(1, 2, 3))) for each in (pixel, total - pixel)))
