"""Eq. 2 to 4 as Keras losses between NDCT and prediction, images (batch, rows, columns, 1) in [0, 1].

Losses are float32, whatever the precision of the layers: squares of features leave the range of float16.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from .configuration import Distance, LossConfiguration, Reduction
from .encoders import encoder as build_encoder


def distance(a, b, kind: Distance = "mse", reduction: Reduction = "mean"):
    """Eq. 2 and 3: squared or absolute differences of images or features, one value per image.

    Parameters
    ----------
    a, b : tensors, shape (batch, rows, columns, channels)
    kind : {'mse', 'l1'}
    reduction : {'mean', 'sum'}, over all elements of an image. The paper's numbers are means.

    Returns
    -------
    float32 tensor, shape (batch,).
    """
    difference = ops.cast(a, "float32") - ops.cast(b, "float32")
    elements = ops.square(difference) if kind == "mse" else ops.abs(difference)
    return (ops.mean if reduction == "mean" else ops.sum)(elements, axis=(1, 2, 3))


class Parts(NamedTuple):
    """Eq. 4 and its terms, each of shape (batch,): pixel term (with its multiplier), perceptual term, lambda times that, and
    the total."""

    pixel: Any
    perceptual: Any
    weighted: Any
    total: Any


class PerceptualLoss(keras.losses.Loss):
    """Eq. 3: weighted distances of the features of several layers.

    Parameters
    ----------
    configuration : LossConfiguration or mapping, with an encoder; the pixel term and lambda play no part here
    encoder : keras.Model, optional
        Frozen, image -> features of ``configuration.layers`` in their order (:func:`perceptual.encoders.encoder`). By
        default that of ``configuration``, with Keras's ImageNet weights or from a file.
    """

    def __init__(
        self, configuration: LossConfiguration | Mapping, encoder: keras.Model | None = None, name: str = "perceptual"
    ):
        super().__init__(name=name)
        self.configuration = _configuration(configuration)
        if self.configuration.encoder is None:
            raise ValueError("encoder: a perceptual loss needs one, this configuration has none")
        self.encoder = build_encoder(self.configuration) if encoder is None else encoder

    def features(self, images) -> list:
        """Features of each layer, a tensor each."""
        return as_list(self.encoder(images, training=False))

    def between(self, features: Sequence, targets: Sequence):
        """The loss from features that are there, shape (batch,)."""
        return layered_distance(self.configuration, features, targets)

    def call(self, y_true, y_pred):
        return self.between(self.features(y_pred), [ops.stop_gradient(each) for each in self.features(y_true)])

    def get_config(self) -> dict:
        return {"name": self.name, "configuration": self.configuration.as_dict()}


class TotalLoss(keras.losses.Loss):
    """Eq. 4: pixel term + lambda x perceptual term.

    Parameters
    ----------
    configuration : LossConfiguration or mapping, without an encoder it is the pixel term alone
    lambda_ : float, optional, the first value of lambda; by default the configuration's, where that is a number
    encoder : keras.Model, optional, as for :class:`PerceptualLoss`

    Attributes
    ----------
    lambda_ : keras.Variable
        The weight of the perceptual term: the only place where it is kept. Assign it to change it during training.
    """

    def __init__(
        self,
        configuration: LossConfiguration | Mapping,
        lambda_: float | None = None,
        encoder: keras.Model | None = None,
        name: str = "total",
    ):
        super().__init__(name=name)
        self.configuration = _configuration(configuration)
        value = self.configuration.lambda_.value if lambda_ is None else float(lambda_)
        if value is None:
            raise ValueError("lambda_: this loss calibrates its lambda; pass the value (perceptual.calibrate gives it)")
        if self.configuration.encoder is None and value != 0:
            raise ValueError(f"lambda_: {value} weights a perceptual term, which needs an encoder")
        self.perceptual = None if self.configuration.encoder is None else PerceptualLoss(self.configuration, encoder)
        self.lambda_ = keras.Variable(value, dtype="float32", trainable=False, name="lambda")

    def parts(self, y_true, y_pred) -> Parts:
        """Eq. 4 with its terms; the perceptual one is zero without an encoder.

        Parameters
        ----------
        y_true : tensor, or tuple (NDCT, features of each layer ...)
            The targets' features are the same in every epoch: they can be computed once and passed along.
        y_pred : tensor
        """
        ndct, *known = y_true if isinstance(y_true, tuple | list) else (y_true,)
        pixel = self._pixel(ndct, y_pred)
        if self.perceptual is None:
            perceptual = ops.zeros_like(pixel)
        else:
            targets = known or [ops.stop_gradient(each) for each in self.perceptual.features(ndct)]
            perceptual = self.perceptual.between(self.perceptual.features(y_pred), targets)
        weighted = self.lambda_ * perceptual
        return Parts(pixel, perceptual, weighted, pixel + weighted)

    def _pixel(self, ndct, y_pred):
        return pixel_term(self.configuration, ndct, y_pred)

    def call(self, y_true, y_pred):
        return self.parts(y_true, y_pred).total

    def get_config(self) -> dict:
        return {"name": self.name, "configuration": self.configuration.as_dict(), "lambda_": float(self.lambda_.numpy())}


def pixel_term(configuration: LossConfiguration, ndct, prediction):
    """The term beside the perceptual one, with its multiplier, shape (batch,); zero where there is none."""
    if configuration.pixel is None:
        return ops.zeros_like(distance(prediction, ndct))
    term = distance(prediction, ndct, configuration.pixel)
    return term if configuration.pixel_weight == 1 else configuration.pixel_weight * term


def pixel_gradient(configuration: LossConfiguration, ndct, prediction):
    """The gradient of :func:`pixel_term` at the prediction, of each image's own, in closed form: float32, its shape."""
    difference = ops.cast(prediction, "float32") - ops.cast(ndct, "float32")
    slope = 2.0 * difference if configuration.pixel == "mse" else ops.sign(difference)
    weight = 0.0 if configuration.pixel is None else configuration.pixel_weight
    return weight * slope / ops.cast(ops.prod(ops.shape(prediction)[1:]), "float32")


def layered_distance(configuration: LossConfiguration, features: Sequence, targets: Sequence):
    """The perceptual term from features of ``configuration.layers``, in their order, shape (batch,)."""
    terms = [
        distance(found, target, configuration.distance, configuration.reduction)
        if weight == 1
        else weight * distance(found, target, configuration.distance, configuration.reduction)
        for (_, weight), found, target in zip(configuration.layers, features, targets, strict=True)
    ]
    return sum(terms[1:], terms[0])


def as_list(outputs) -> list:
    """A model's outputs as a list, of one as of several."""
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _configuration(value: LossConfiguration | Mapping) -> LossConfiguration:
    return value if isinstance(value, LossConfiguration) else LossConfiguration.from_dict(value)
