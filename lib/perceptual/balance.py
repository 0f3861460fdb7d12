"""Where lambda comes from: the losses of pairs, measured, and the weight at which Psi is as wanted (Algorithm 2)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from .configuration import Encoding, LossConfiguration
from .gradients import compiled, forward
from .losses import PerceptualLoss, TotalLoss, as_list, layered_distance, pixel_term
from .pairs import fitting, for_losses, per_image, require_values
from .psi import TARGET_PSI, lambda_star, psi, psi_algorithm2


@dataclass(frozen=True)
class Calibration:
    """Losses of pairs in one state of the network, and the lambda that they ask for."""

    pixel: np.ndarray  # (pairs,), the terms of Eq. 4 before lambda
    perceptual: np.ndarray
    lambda_star: float  # Algorithm 2 gives ``target`` there
    target: float  # the wanted Psi

    def psi(self, lambda_) -> np.ndarray:
        """Eq. 5 at one weight or several."""
        return psi(self.pixel, self.perceptual, lambda_)

    def psi_algorithm2(self, lambda_) -> np.ndarray:
        """Algorithm 2's ratio of sums at one weight or several."""
        return psi_algorithm2(self.pixel, self.perceptual, lambda_)


def calibrate(
    model: Callable, loss: Callable, pairs: Iterable, target: float = TARGET_PSI, beside: Callable | None = None
) -> Calibration:
    """Algorithm 2 for one network and one loss, or for any two losses.

    Parameters
    ----------
    model : keras.Model or function, f_theta: images (batch, ...) -> predictions (batch, ...)
    loss : PerceptualLoss, TotalLoss, or with ``beside`` any other
        The one that is weighed; a lambda of its own plays no part: ``loss.lambda_.assign(found.lambda_star)`` sets it. Any
        other is a keras.losses.Loss or function, (targets, predictions) -> a number for each image, or one for the batch:
        then images are given one at a time. Reductions for a batch play no part.
    pairs : iterable of (images, targets), batches, each pair with losses of its own: all that :func:`~.pairs.batches` takes
    target : float, the wanted Psi, in (0, 1)
    beside : keras.losses.Loss or function, optional
        The loss with weight 1. By default the pixel term of ``loss``, images (batch, rows, columns, 1) in [0, 1].

    Raises
    ------
    ValueError : no pairs, or none that can be read; a loss without a perceptual term; a loss that is not finite, negative, 0
        for all pairs or the same for all, or whose encoder leaves nothing of images of this size
    """
    if not 0 < target < 1:
        raise ValueError(f"target: {target}, expected a share between 0 and 1")
    weighed = loss.perceptual if isinstance(loss, TotalLoss) else loss
    if weighed is None:
        raise ValueError("loss: without a perceptual term there is nothing to weigh")
    if beside is not None:
        names = ("beside", "loss")
        values = _values(model, {names[0]: beside, names[1]: weighed}, pairs)
    elif isinstance(weighed, PerceptualLoss):
        names = ("loss's pixel term", "loss")
        configuration = weighed.configuration
        measure = pair_losses([model], [configuration], {configuration.encoding: weighed.encoder})
        values = _concatenated(
            ops.convert_to_numpy(measure(*pair))[0, :, 0] for pair in fitting(model, for_losses({names[1]: weighed}, pairs))
        )
    else:
        raise ValueError("loss: this one has no pixel term; pass the loss that it stands beside: beside=...")
    require_values(values, names)
    _require_weights(values, names)
    a, b = values.T
    return Calibration(a, b, lambda_star(a, b, target), target)


def _values(model: Callable, losses: Mapping[str, Callable], pairs: Iterable) -> np.ndarray:
    """Losses of pairs, (pairs, losses)."""
    each_image = [per_image(loss, name) for name, loss in losses.items()]

    def measured(images, targets):
        output = forward(model, images)
        return ops.stack([each(targets, output) for each in each_image], axis=1)

    graph = compiled(measured, model.variables if isinstance(model, keras.Model) else ())
    return _concatenated(ops.convert_to_numpy(graph(*pair)) for pair in fitting(model, for_losses(losses, pairs)))


def _concatenated(parts: Iterable[np.ndarray]) -> np.ndarray:
    if not (found := list(parts)):
        raise ValueError("pairs: there are none to measure")
    return np.concatenate(found).astype(float)


def _require_weights(values: np.ndarray, names: Sequence[str]) -> None:
    """Raise ValueError where a ratio of sums says nothing: a loss is 0, or the same for all pairs while the other is not."""
    varied = [len(np.unique(column)) > 1 for column in values.T]
    for column, name, varies, other in zip(values.T, names, varied, varied[::-1], strict=True):
        if not column.any():
            raise ValueError(f"{name}: it is 0 for all {len(column)} pairs, there is nothing to weigh")
        if other and not varies:
            raise ValueError(f"{name}: {column[0]:g} for all {len(column)} pairs, it is constant")


def encodings(configurations: Iterable[LossConfiguration]) -> dict[Encoding, tuple[str, ...]]:
    """The passes of an encoder that some losses need: each encoding with all the layers that are looked at."""
    found: dict[Encoding, dict[str, None]] = {}
    for each in configurations:
        if each.encoder is not None:
            found.setdefault(each.encoding, {}).update(dict.fromkeys(each.layer_names))
    return {encoding: tuple(names) for encoding, names in found.items()}


def pair_losses(
    models: Sequence[Callable],
    losses: Sequence[LossConfiguration],
    encoders: Mapping[Encoding, keras.Model],
    target_encoders: Mapping[Encoding, keras.Model | None] | None = None,
) -> Callable:
    """Algorithm 2, lines 3 to 5, for several networks and losses at once: one pass of each network, and one encoder pass for
    each encoding and network.

    Parameters
    ----------
    models : sequence, f_theta in different states
    losses : sequence of LossConfiguration, those that share an encoding share its pass
    encoders : mapping, for each of :func:`encodings`: image -> features of its layers, in that order
    target_encoders : mapping, optional
        The same for those layers whose target features will be given; None where all are. By default none are given.

    Returns
    -------
    function
        (LDCT, NDCT, known) -> float32 tensor (models, batch, losses, 2): pixel and perceptual term, the latter 0 without an
        encoder. ``known`` has, for each encoding, a tensor or None for each layer: target features that are there already.
    """
    layers = encodings(losses)
    target_encoders = dict(encoders) if target_encoders is None else target_encoders

    def all_targets(encoding: Encoding, ndct, known: Sequence) -> dict:
        network = target_encoders[encoding]
        found = iter(() if network is None else as_list(network(ndct, training=False)))
        return dict(zip(layers[encoding], [next(found) if each is None else each for each in known], strict=True))

    def terms(loss: LossConfiguration, ndct, output, features: dict, targets: dict) -> list:
        pixel = pixel_term(loss, ndct, output)
        if loss.encoder is None:
            return [pixel, ops.zeros_like(pixel)]
        both = ([each[loss.encoding][name] for name in loss.layer_names] for each in (features, targets))
        return [pixel, layered_distance(loss, *both)]

    def measured(ldct, ndct, known):
        targets = {encoding: all_targets(encoding, ndct, each) for encoding, each in zip(layers, known, strict=True)}
        states = []
        for model in models:
            output = forward(model, ldct)
            features = {
                encoding: dict(zip(names, as_list(encoders[encoding](output, training=False)), strict=True))
                for encoding, names in layers.items()
            }
            found = [ops.stack(terms(loss, ndct, output, features, targets), axis=-1) for loss in losses]
            states.append(ops.stack(found, axis=1))
        return ops.stack(states)

    graph = compiled(measured, [each for model in models if isinstance(model, keras.Model) for each in model.variables])
    return lambda ldct, ndct, known=None: graph(
        ldct, ndct, [[None] * len(names) for names in layers.values()] if known is None else known
    )
