"""``lint``: what ten pairs say about a loss, before a training does.

input range    what the encoder sees is not what it was trained on
reduction      one loss is a sum where the other is a mean
output         the network's last activation is dead at the start
gradient       a loss is there, and no gradient of it at the output, or at the weights
grey           grey images in a network of colours
lambda         orders of magnitude from the usual conventions
cost           what the second loss adds to a step
"""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from . import checks, ranges
from .findings import Finding, Report
from .gradients import failures, forward
from .losses import PerceptualLoss, TotalLoss
from .measure import Gradients, gradients, step
from .pairs import batches, first_line, fitting, for_losses, function_of, per_image, require_values

PAIRS = 10
FEW = 4  # of them where images are changed, and losses computed a dozen times
TIMES = 3  # a step is timed; the shortest counts
NAMES = ("loss_a", "loss_b")


def lint(loss_a: Callable, loss_b: Callable, model: keras.Model, pairs: Iterable, lambda_: float | None = None) -> Report:
    """What is wrong with the weighted sum of two losses, loss_a + lambda x loss_b, for a network at its start.

    Parameters
    ----------
    loss_a, loss_b : keras.losses.Loss or function
        (targets, predictions) -> a number for each image, or one for the batch. Of a TotalLoss as ``loss_b`` its perceptual
        term is meant, and its lambda.
    model : keras.Model, images (batch, rows, columns, channels) -> predictions of that shape
    pairs : iterable of (images, targets), batches of any kind that :func:`~.pairs.batches` takes; the first ten count
    lambda_ : float, optional, the weight that is meant for ``loss_b``

    Returns
    -------
    Report
        Its findings, one line each, what could not be checked, and what was measured: of each loss its mean and the powers
        by which it grows with pixels and images; lambda at which Psi (Algorithm 2) is .95 and Gamma at the output .5; the
        shares at ``lambda_``; seconds of a step, forward and back, with ``loss_a`` and with both.

    Raises
    ------
    ValueError : as :func:`~.measure.exchange`, but for a loss without gradient, which is a finding
    """
    if isinstance(loss_b, TotalLoss):
        lambda_ = float(ops.convert_to_numpy(loss_b.lambda_)) if lambda_ is None else lambda_
        if loss_b.perceptual is None:
            raise ValueError("loss_b: it has no perceptual term")
        loss_b = loss_b.perceptual
    if lambda_ is not None and not 0 <= lambda_ < math.inf:
        raise ValueError(f"lambda_: {lambda_} is no weight, expected 0 or a positive number")
    losses = dict(zip(NAMES, (loss_a, loss_b), strict=True))
    some = [*fitting(model, _first(pairs))]
    if not getattr(model, "trainable_variables", None):
        raise ValueError("model: it has no trainable weights, there is nothing to train")
    each_image = [per_image(loss, name) for name, loss in losses.items()]
    found = gradients(model, lambda y, f: [each(y, f) for each in each_image], for_losses(losses, some))
    require_values(found.values, NAMES)
    return _Linted(losses, model, some, found).report(lambda_)


def _first(pairs: Iterable) -> list[tuple]:
    """The first pairs, in their batches."""
    some: list[tuple] = []
    left = PAIRS
    for images, targets in batches(pairs, PAIRS):
        if len(images.shape) != 4:
            raise ValueError(f"pairs: images of shape {tuple(images.shape)}, expected (batch, rows, columns, channels)")
        some.append((images[:left], targets[:left]))
        left -= len(some[-1][0])
        if left <= 0:
            break
    if not some:
        raise ValueError("pairs: there are none to measure")
    return some


class _Linted:
    """Two losses, a network and pairs, of which all that is needed was measured."""

    def __init__(self, losses: dict[str, Callable], model: keras.Model, pairs: list[tuple], found: Gradients):
        self.losses, self.model, self.pairs, self.found = losses, model, pairs, found
        self.targets = [ops.convert_to_numpy(targets) for _, targets in pairs]  # what a loss sees
        self.outputs = [ops.cast(forward(model, images), "float32") for images, _ in pairs]
        self.findings: list[Finding] = []
        self.unchecked: list[str] = []
        self.measured: dict[str, float] = {
            name: float(value) for name, value in zip(losses, found.values.mean(axis=0), strict=True)
        }

    def report(self, lambda_: float | None) -> Report:
        self._range()
        scales = self._reduction()
        self._output()
        lost = checks.lost_gradients(NAMES, self.found.values, self.found.output, self.found.weights)
        self.findings += lost
        loss_b = self.losses["loss_b"]
        configuration = loss_b.configuration if isinstance(loss_b, PerceptualLoss) else None
        self.findings += checks.grey(configuration, self.targets[0])
        if lost:
            self.unchecked.append("lambda: without both gradients no share can be had")
        else:
            self._lambda(lambda_, scales)
        self._cost()
        return Report(self.findings, self.measured, self.unchecked)

    def _range(self) -> None:
        values = np.concatenate([each.ravel() for each in self.targets])
        for name, loss in self.losses.items():
            if isinstance(loss, TotalLoss) and loss.perceptual is None:
                continue  # pixels only
            if isinstance(loss, PerceptualLoss):
                findings, unchecked = ranges.known_range(name, loss.configuration, values)
                self.findings += findings
                self.unchecked += unchecked
            else:
                self._tried("range", name, lambda name=name, loss=loss: ranges.response(name, loss, self.pairs[0][1][:FEW]))

    def _reduction(self) -> dict[str, float]:
        """Also what a loss is as ``fit`` counts it, by what it is as a mean over images."""
        targets, outputs = self.pairs[0][1], self.outputs[0]
        scales, grown = {}, {}
        for name, loss, values in zip(self.losses, self.losses.values(), self.found.values.T, strict=True):
            mean = float(values[: len(targets)].mean())
            scales[name] = checks.as_trained(loss, targets, outputs) / mean if mean else 1.0
            try:
                if mean:
                    first = int(np.flatnonzero(values[: len(targets)])[0])
                    powers = checks.growth(loss, *(each[first : first + FEW] for each in (targets, outputs)))
                    if np.isfinite(powers).all():
                        grown[name] = powers
                    else:
                        self.unchecked.append(f"reduction: {name} is 0 in a part of an image, not checked")
            except failures() as error:
                self.unchecked.append(f"reduction: {name} takes images of this size only ({first_line(error)})")
        for name, powers in grown.items():
            self.measured |= {f"{name}_by_pixels": powers[0], f"{name}_by_images": powers[1]}
        if len(grown) == len(NAMES):
            self.findings += checks.reduction(grown)
        return scales

    def _output(self) -> None:
        outputs = np.concatenate([ops.convert_to_numpy(each).ravel() for each in self.outputs])
        targets = np.concatenate([each.ravel() for each in self.targets])
        findings, unchecked = checks.dead_output(last_activation(self.model), outputs, targets)
        self.findings += findings
        self.unchecked += unchecked

    def _lambda(self, lambda_: float | None, scales: dict[str, float]) -> None:
        exchange, factor = self.found.exchange(), scales["loss_a"] / scales["loss_b"]  # where fit adds up, this is no 1
        psi, gamma = factor * exchange.lambda_at("psi_alg2", 0.95), factor * exchange.lambda_at("gamma_output", 0.5)
        self.measured |= {"lambda_at_psi_0.95": psi, "lambda_at_gamma_0.5": gamma}
        if lambda_ is not None:
            own = lambda_ / factor
            shares = exchange.share("psi_alg2", own), exchange.share("gamma_output", own)
            self.measured |= {"lambda": lambda_, "psi": float(shares[0]), "gamma": float(shares[1])}
            self.findings += checks.misplaced_lambda(lambda_, {"Psi = .95": psi, "equal gradients": gamma})

    def _cost(self) -> None:
        a, b = self.losses.values()

        def first(y: Any, f: Any) -> list:
            return [_values(a, y, f)]

        def both(y: Any, f: Any) -> list:
            return [_values(a, y, f) + _values(b, y, f)]  # whatever lambda: a graph may leave out what is times 0

        seconds = [self._seconds(losses) for losses in (first, both)]
        self.measured |= {"seconds_with_loss_a": seconds[0], "seconds_with_both": seconds[1]}
        self.findings += checks.cost(*seconds)

    def _seconds(self, losses: Callable) -> float:
        graph, taken = step(self.model, losses), []
        for _ in range(1 + TIMES):  # the first compiles
            start = time.perf_counter()
            for each in graph(*self.pairs[0]):
                ops.convert_to_numpy(each)  # JAX and GPUs compute on; this waits
            taken.append(time.perf_counter() - start)
        return min(taken[1:])

    def _tried(self, code: str, name: str, check: Callable) -> None:
        try:
            findings, unchecked = check()
        except failures() as error:
            self.unchecked.append(f"{code}: {name} cannot be computed for other images ({first_line(error)})")
            return
        self.findings += findings
        self.unchecked += unchecked


def _values(loss: Callable, targets: Any, predictions: Any) -> Any:
    """A loss with one value for each image; one for all is that of each, which costs the same."""
    found = ops.cast(function_of(loss)(targets, predictions), "float32")
    count = ops.shape(predictions)[0]
    return ops.mean(ops.reshape(found, (count, -1)), axis=1) if len(found.shape) else ops.broadcast_to(found, (count,))


def last_activation(model: keras.Model) -> str | None:
    """The name of the activation that a network's output comes from, None where that cannot be seen."""
    outputs = getattr(model, "outputs", None)
    return _activation_of(outputs[0]) if outputs and len(outputs) == 1 else None


def _activation_of(output: keras.KerasTensor) -> str | None:
    layer, node, _ = output._keras_history
    if isinstance(layer, keras.Model):
        return last_activation(layer)
    if (activation := getattr(layer, "activation", None)) is not None:
        if isinstance(layer, keras.layers.Activation) and activation is keras.activations.linear:
            return _activation_of(layer._inbound_nodes[node].input_tensors[0])  # it only gives a type
        return getattr(activation, "__name__", None)
    name = type(layer).__name__.lower()
    if name in checks.BOUNDS:
        return name
    plain = (
        keras.layers.Conv2D,
        keras.layers.Dense,
        keras.layers.Add,
        keras.layers.Subtract,
        keras.layers.BatchNormalization,
    )
    return "linear" if isinstance(layer, plain) or name in ("add", "subtract") else None
