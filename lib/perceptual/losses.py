"""Eq. 2 to 4 as Keras losses between NDCT and prediction, images (batch, rows, columns, 1) in [0, 1].

Losses are float32, whatever the precision of the layers: squares of features leave the range of float16.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from .configuration import Distance, LossConfiguration, Reduction
from .encoders import encoder as build_encoder
from .structure import structural_gradient, structural_term

LENGTH = 1e-10  # added to the squared length of features that become of unit length: those of a dark position are all 0


def distance(a, b, kind: Distance = "mse", reduction: Reduction = "mean"):
    """Eq. 2 and 3: squared or absolute differences of images or features, one value per image.

    Parameters
    ----------
    a, b : tensors, shape (batch, rows, columns, channels)
    kind : {'mse', 'l1'}
    reduction : {'mean', 'sum', 'positions'}
        Over all elements of an image (the paper's numbers are means), or summed over channels, mean over positions.

    Returns
    -------
    float32 tensor, shape (batch,).
    """
    difference = ops.cast(a, "float32") - ops.cast(b, "float32")
    elements = ops.square(difference) if kind == "mse" else ops.abs(difference)
    if reduction == "positions":
        return ops.mean(ops.sum(elements, axis=3), axis=(1, 2))
    return (ops.mean if reduction == "mean" else ops.sum)(elements, axis=(1, 2, 3))


def of_unit_length(features):
    """Features of length 1 over channels at each position, (batch, rows, columns, channels): what LPIPS compares (Zhang et
    al. 2018, Eq. 1)."""
    features = ops.cast(features, "float32")
    return features * ops.rsqrt(ops.sum(ops.square(features), axis=-1, keepdims=True) + LENGTH)


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
        if not 0 <= value < float("inf"):
            raise ValueError(f"lambda_: {value} is no weight, expected 0 or a positive number")
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
    """The terms beside the perceptual one, with their multipliers, shape (batch,); zero where there is none.

    Of a difference d, mean over pixels: d^2; |d|; Huber's d^2 / 2 up to delta, delta |d| - delta^2 / 2 beyond; Charbonnier's
    sqrt(d^2 + epsilon^2), which is never 0. 'ssim' is 1 - SSIM.
    """
    part = configuration.pixel_part
    if not part.terms:
        return ops.zeros_like(distance(prediction, ndct))
    terms = []
    for kind, weight in part.terms:
        if kind in ("mse", "l1"):
            term = distance(prediction, ndct, kind)
        elif kind == "ssim":
            term = structural_term(prediction, ndct)
        else:
            difference = ops.cast(prediction, "float32") - ops.cast(ndct, "float32")
            if kind == "huber":
                inside = ops.minimum(ops.abs(difference), part.huber_delta)
                elements = inside * (ops.abs(difference) - 0.5 * inside)
            else:
                elements = ops.sqrt(ops.square(difference) + part.charbonnier_epsilon**2)
            term = ops.mean(elements, axis=(1, 2, 3))
        terms.append(term if weight == 1 else weight * term)
    return sum(terms[1:], terms[0])


def pixel_gradient(configuration: LossConfiguration, ndct, prediction):
    """The gradient of :func:`pixel_term` at the prediction, of each image's own, in closed form: float32, its shape."""
    part, prediction, ndct = configuration.pixel_part, ops.cast(prediction, "float32"), ops.cast(ndct, "float32")
    difference, count = prediction - ndct, ops.cast(ops.prod(ops.shape(prediction)[1:]), "float32")
    terms = []
    for kind, weight in part.terms or (("mse", 0.0),):
        if kind == "ssim":
            terms.append(weight * structural_gradient(prediction, ndct))
            continue
        if kind == "mse":
            slope = 2.0 * difference
        elif kind == "l1":
            slope = ops.sign(difference)
        elif kind == "huber":
            slope = ops.clip(difference, -part.huber_delta, part.huber_delta)
        else:
            slope = difference * ops.rsqrt(ops.square(difference) + part.charbonnier_epsilon**2)
        terms.append(weight * slope / count)
    return sum(terms[1:], terms[0])


def layered_distance(configuration: LossConfiguration, features: Sequence, targets: Sequence):
    """The perceptual term from features of ``configuration.layers``, in their order, shape (batch,)."""
    if configuration.features == "unit":
        features, targets = ([of_unit_length(each) for each in some] for some in (features, targets))
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
