"""The share of the perceptual term during training, as Keras metrics: in the loss, and in the gradient at the output."""

from typing import Any

import keras
from keras import ops

from .gradients import at_input


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
    """Psi of Algorithm 2 over all pairs seen since the last reset: each pair counts with the lambda of its own step.

    Parameters
    ----------
    loss : TotalLoss or WeightedSum, optional
        For ``model.compile(loss=loss, metrics=[PerceptualInfluence(loss=loss)])``: it gets targets and predictions, and
        computes the terms once more. Without, it gets the terms of :class:`~.losses.Parts` from who has them.
    """

    def __init__(self, name: str = "psi", loss: Any = None):
        super().__init__(name)
        self.loss = loss

    def update_state(self, pixel, weighted, sample_weight=None):
        """The pixel term and lambda x the perceptual one, of any shape; or with a loss targets and predictions."""
        if self.loss is not None:
            pixel, weighted = _both(self.loss, pixel, weighted, sample_weight)
        self.add(pixel, weighted)


class GradientShare(Share):
    """Gamma at the network's output over all pairs seen since the last reset: |g_b| / (|g_a| + |g_b|), of norms summed over
    pairs.

    Training needs no pass for it: the gradient of the total at the output is computed on the way to the weights, and the
    pixel term's is known in closed form (:func:`~.losses.pixel_gradient`); what is left is the perceptual term's. An image
    whose gradient overflowed, as float16's may (Keras then leaves the step out), does not count.

    Parameters
    ----------
    loss : TotalLoss or WeightedSum, optional
        For ``model.compile(loss=loss, metrics=[GradientShare(loss=loss)])``, as Keras's own step does not hand on the
        gradient at the output: it gets targets and predictions, and differentiates both terms, an encoder pass and back.
    """

    def __init__(self, name: str = "gamma", loss: Any = None):
        super().__init__(name)
        self.loss = loss

    def update_state(self, pixel_gradient, total_gradient, sample_weight=None):
        """Gradients of each image's own loss, (batch, rows, columns, channels); or with a loss targets and predictions."""
        if self.loss is None:
            pixel, total = (ops.cast(each, "float32") for each in (pixel_gradient, total_gradient))
            at_output = [pixel, total - pixel]
        else:
            targets, predictions = pixel_gradient, ops.cast(total_gradient, "float32")
            _, at_output = at_input(lambda place: _both(self.loss, targets, place, sample_weight), predictions)
        norms = [ops.sqrt(ops.sum(ops.square(each), axis=tuple(range(1, len(each.shape))))) for each in at_output]
        sound = ops.logical_and(*(ops.isfinite(each) for each in norms))
        self.add(*(ops.where(sound, each, 0.0) for each in norms))


def _both(loss: Any, targets, predictions, sample_weight) -> list:
    """Both terms of a loss, each (batch,)."""
    if sample_weight is not None:
        raise ValueError("sample_weight: a share counts each pair once, leave the weights out")
    parts = loss.parts(targets, predictions)
    return [parts.pixel, parts.weighted]
