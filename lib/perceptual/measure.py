"""Losses of pairs and their gradients, measured in one state of a network: one pass forward, and back once for each loss."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from .balance import encodings
from .configuration import LossConfiguration
from .exchange_rate import Exchange
from .gradients import at_input, at_weights, compiled, forward
from .losses import as_list, layered_distance, pixel_term
from .pairs import batches, fitting, for_losses, per_image, require_values

TINY = 1e-30  # in place of a norm that is 0, in a cosine
NORM = 8.0  # about that of a gradient on its way back: its elements, and sums of them, are then numbers of float16

Losses = Callable[[Any, Any], Sequence]
"""(targets, predictions), (batch, ...) -> one tensor (batch,) for each loss; what the losses have in common is done once."""


@dataclass(frozen=True)
class Gradients:
    """Losses of pairs, and norms of their gradients; the fields are those of :class:`Exchange`, a column for each loss."""

    values: np.ndarray  # (pairs, losses)
    output: np.ndarray  # (pairs, losses)
    cosine: np.ndarray  # (pairs, losses), with the gradient of the first loss
    weights: np.ndarray  # (batches, losses)
    last: np.ndarray  # (batches, losses)
    weights_cosine: np.ndarray  # (batches, losses), with that of the first loss

    def exchange(self, b: int = 1) -> Exchange:
        """The first loss as a, and the one with this number as b."""
        two = [0, b]
        return Exchange(
            self.values[:, two], self.output[:, two], self.cosine[:, b],
            self.weights[:, two], self.last[:, two], self.weights_cosine[:, b],
        )  # fmt: skip


def exchange(model: Callable, loss_a: Callable, loss_b: Callable, pairs: Iterable, weights: bool = True) -> Exchange:
    """What a weight of ``loss_b`` beside ``loss_a`` is worth, for any two losses and any network.

    Parameters
    ----------
    model : keras.Model, or with ``weights=False`` any function: images (batch, ...) -> predictions (batch, ...)
    loss_a, loss_b : keras.losses.Loss or function
        (targets, predictions) -> a number for each image, or one for the batch: then images are given one at a time. Each
        image counts as its own, whatever reduction a keras.losses.Loss has for a batch.
    pairs : iterable of (images, targets), batches of any kind that :func:`~.pairs.batches` takes
    weights : bool, whether gradients at the weights are measured

    Raises
    ------
    ValueError : no pairs, or none that can be read (:func:`~.pairs.batches`); predictions of another shape than targets; a
        loss that is not finite, negative, or constant, or whose encoder leaves nothing of images of this size; a model
        without trainable weights, or whose weights no gradient reaches
    """
    named = {"loss_a": loss_a, "loss_b": loss_b}
    losses = [per_image(loss, name) for name, loss in named.items()]
    found = gradients(model, lambda y, f: [each(y, f) for each in losses], for_losses(named, pairs), weights)
    _require_losses(found, [*named])
    return found.exchange()


def terms(configurations: Sequence[LossConfiguration], encoder: keras.Model) -> Losses:
    """The pixel term that some configurations share, then the perceptual term of each, from one pass of their encoder.

    Parameters
    ----------
    configurations : sequence, all of one encoding, pixel term and its weight
    encoder : keras.Model, image -> features of the layers of :func:`~.balance.encodings`, in that order
    """
    first = configurations[0]
    ((_, names),) = encodings(configurations).items()
    if len({each.pixel_part for each in configurations}) > 1:
        raise ValueError("configurations: they have several pixel terms, measure those of one at a time")

    def losses(targets: Any, predictions: Any) -> list:
        both = [dict(zip(names, as_list(encoder(each, training=False)), strict=True)) for each in (predictions, targets)]
        perceptual = [
            layered_distance(each, *([found[name] for name in each.layer_names] for found in both))
            for each in configurations
        ]
        return [pixel_term(first, targets, predictions), *perceptual]

    return losses


def gradients(model: Callable, losses: Losses, pairs: Iterable, weights: bool = True) -> Gradients:
    """The same for several losses at once, the first of which is the one beside all others. Raises ValueError: no pairs,
    predictions of another shape than targets, a model without trainable weights."""
    return meter(model, losses, weights)(pairs)


def meter(model: Callable, losses: Losses, weights: bool = True) -> Callable[[Iterable], Gradients]:
    """:func:`gradients` of one model and its losses as a function of pairs: a graph that is made once, and measures the
    model in every state that its weights are set to."""
    if isinstance(model, keras.Model) and not model.built:
        raise ValueError("model: its weights are not there yet, call it on some images first")
    if weights and not getattr(model, "trainable_variables", None):
        raise ValueError("model: it has no trainable weights; weights=False measures losses and gradients at the output")
    measured = step(model, losses, weights)

    def of(pairs: Iterable) -> Gradients:
        parts: list[list[np.ndarray]] = []
        for images, targets in fitting(model, batches(pairs)):
            parts.append([ops.convert_to_numpy(each).astype(float) for each in measured(images, targets)])
        if not parts:
            raise ValueError("pairs: there are none to measure")
        return Gradients(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    return of


def step(model: Callable, losses: Losses, weights: bool = True) -> Callable:
    """As a graph: (images, targets) -> the fields of :class:`Gradients` for one batch, as tensors. One pass forward, and for
    each loss one back."""
    return compiled(_measuring(model, losses, weights), model.variables if isinstance(model, keras.Model) else ())


def _measuring(model: Callable, losses: Losses, weights: bool) -> Callable:
    """(images, targets) -> the fields of :class:`Gradients` for one batch."""

    def measured(images: Any, targets: Any) -> tuple:
        values: list = []
        at_place: list = []
        units: list = []
        count = ops.shape(images)[0]

        def at_output(output: Any) -> list:
            place = ops.cast(output, "float32")
            for kept, found in zip((values, at_place), at_input(lambda place: losses(targets, place), place), strict=True):
                kept.extend(found)
            of_mean = [each / ops.cast(count, each.dtype) for each in at_place]  # of the batch's mean loss
            units.extend(_unit(each) for each in of_mean)
            return [ops.cast(each / unit, output.dtype) for each, unit in zip(of_mean, units, strict=True)]

        everywhere = at_weights(model, images, at_output) if weights else []
        if not weights:
            at_output(forward(model, images))
        norms, cosine = _norms([ops.reshape(each, (count, -1)) for each in at_place])
        if not weights:
            return ops.stack(values, axis=1), norms, cosine, norms[:0], norms[:0], norms[:0]
        whole, whole_cosine = _norms([ops.concatenate([ops.ravel(part) for part in each])[None] for each in everywhere])
        last, _ = _norms([ops.ravel(each[_last_kernel(each)])[None] for each in everywhere])
        scale = ops.stack(units)
        return ops.stack(values, axis=1), norms, cosine, scale * whole, scale * last, whole_cosine

    return measured


def _unit(gradient: Any) -> Any:
    """By what a gradient is divided on its way through layers of half precision, as losses are scaled in a training: a power
    of two, so that it changes no digit of float32."""
    norm = ops.sqrt(ops.sum(ops.square(gradient)))
    return ops.power(2.0, ops.floor(ops.log2(ops.maximum(norm, TINY)))) / NORM


def _norms(gradients: Sequence) -> tuple:
    """A tensor (n, elements) for each loss -> norms, and cosines with the first loss, (n, losses)."""
    flat = ops.stack([ops.cast(each, "float32") for each in gradients], axis=1)
    norms = ops.sqrt(ops.sum(ops.square(flat), axis=-1))
    return norms, ops.sum(flat * flat[:, :1], axis=-1) / ops.maximum(norms * norms[:, :1], TINY)


def _last_kernel(weights: Sequence) -> int:
    """The place of the last layer's kernel; VQGAN's own is its last convolution's."""
    kernels = [place for place, each in enumerate(weights) if len(each.shape) > 1]
    return kernels[-1] if kernels else len(weights) - 1


def _require_losses(found: Gradients, names: Sequence[str]) -> None:
    require_values(found.values, names)
    for place, name in enumerate(names):
        values, norms = found.values[:, place], found.output[:, place]
        if (wrong := ~np.isfinite(norms)).any():
            pair = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"{name}: {values[pair]:g} for pair {pair}, its gradient is no number")
        if not norms.any():
            raise ValueError(f"{name}: its gradient is 0 for all {len(norms)} pairs, it is constant or not differentiated")
        inner = found.weights[:, place]
        if (wrong := ~np.isfinite(inner)).any():
            batch = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"{name}: its gradient at the weights is no number for batch {batch}")
        if len(inner) and not inner.any():
            raise ValueError(
                f"{name}: its gradient is 0 at all weights: a dead last layer, or one that is not differentiated"
            )
