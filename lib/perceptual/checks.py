"""The single checks of :mod:`.linter`: each takes what was measured, and says what is wrong, and what it cannot know.

A limit stands beside the reason for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from .configuration import LossConfiguration
from .encoders import ARCHITECTURES
from .findings import Finding, Severity

LEVELS = 2 / 255  # all images together span less than two grey levels: divided once too often
EXPONENT = 0.25  # half of the smallest step there is, from a mean (0) to a norm (1/2) to a sum (1); borders make .2 at most
SIDE = 96  # pixels: six cells of the deepest layer of a VGG
NEAR, WRONG = 1e-3, 1e-2  # of an output's span: at its bound, where a sigmoid has 0.4 % of its slope; not where it should be
SATURATED = (0.1, 0.5)  # share of the elements: visible; most
DECADE = 1.0  # the paper rounds lambda to powers of ten: a decade outside what both conventions give is no rounding
COST = 3.0  # beyond it, targets' features that are computed once (a third of the term) save a fifth of a step and more

BOUNDS = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
}


def as_trained(loss: Callable, targets: Any, predictions: Any) -> float:
    """The number that ``fit`` would minimise for a batch: with a Keras loss's own reduction, else a mean."""
    return float(ops.convert_to_numpy(ops.mean(ops.cast(loss(targets, predictions), "float32"))))


def growth(loss: Callable, targets: Any, predictions: Any) -> tuple[float, float]:
    """By which power a loss grows with the number of pixels, and of images in a batch: 0 of means, 1 of sums, 1/2 of norms.

    Of one image, at most ``SIDE`` a side where it differs most, and its mirror images side by side: so many of them, and
    four times as many. What an encoder does at borders hardly counts in images of that size. NaN where the loss is 0.
    """

    def mirrored(each: Any) -> Any:
        each = ops.concatenate([each, ops.flip(each, axis=1)], axis=1)
        return ops.concatenate([each, ops.flip(each, axis=2)], axis=2)

    def by_power(smaller: Sequence, larger: Sequence, times: int) -> float:
        values = as_trained(loss, *larger), as_trained(loss, *smaller)
        return math.log(values[0] / values[1]) / math.log(times) if min(values) > 0 else math.nan

    both = targets, predictions
    row, column = _most_different(*(ops.convert_to_numpy(each[0]) for each in both))
    one = [each[:1, row : row + SIDE, column : column + SIDE] for each in both]
    while min(one[0].shape[1:3]) < SIDE:
        one = [mirrored(each) for each in one]
    pixels = by_power(one, [mirrored(each) for each in one], 4)
    return pixels, by_power(both, [ops.concatenate([each, each], axis=0) for each in both], 2)


def _most_different(target: np.ndarray, prediction: np.ndarray) -> tuple[int, int]:
    """The first row and column of the square of ``SIDE`` pixels, one of a grid by half its side, that differs most."""
    apart = np.abs(target.astype(float) - prediction).sum(axis=-1)
    starts = [sorted({*range(0, max(side - SIDE, 0), SIDE // 2), max(side - SIDE, 0)}) for side in apart.shape]
    places = [(row, column) for row in starts[0] for column in starts[1]]
    return max(places, key=lambda at: apart[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE].sum())


def reduction(grown: Mapping[str, tuple[float, float]]) -> list[Finding]:
    """Two losses of which one is a sum where the other is a mean: lambda then changes with patch or batch size."""
    (a, ours), (b, other) = grown.items()
    found = []
    for place, of in enumerate(("pixels of a patch", "images of a batch")):
        if abs(ours[place] - other[place]) > EXPONENT:
            what = f"with the {of}, {a} grows by the power {ours[place]:.2f} and {b} by {other[place]:.2f} (mean 0, sum 1)"
            remedy = "take means in both, or lambda holds for this size only"
            found.append(Finding("reduction", "error", what, other[place] - ours[place], remedy))
    return found


def dead_output(activation: str | None, outputs: np.ndarray, targets: np.ndarray) -> tuple[list[Finding], list[str]]:
    """Outputs at the bound of the last activation where the target is elsewhere: no gradient passes there.

    ``activation``: its name, None where it is not known. 'linear' has no bound.
    """
    if activation == "linear":
        return [], []
    if activation not in BOUNDS:
        return [], [f"output: the network's last activation ({activation or 'unknown'}) has no bounds that we know of"]
    low, high = BOUNDS[activation]
    unit = high - low if math.isfinite(high) else 1.0
    flat = [outputs <= low + NEAR * unit * (activation != "relu")]
    if math.isfinite(high):
        flat.append(outputs >= high - NEAR * unit)
    share = float(np.mean(np.any(flat, axis=0) & (np.abs(outputs - targets) > WRONG * unit)))
    if share < SATURATED[0]:
        return [], []
    severity: Severity = "error" if share >= SATURATED[1] else "warning"
    what = f"{share:.0%} of the output lies at a bound of its {activation}, the target does not: it learns nothing there"
    remedy = "start the last bias at the data's mean (its logit), or smaller weights"
    return [Finding("output", severity, what, share, remedy)], []


def lost_gradients(names: Sequence[str], values: np.ndarray, output: np.ndarray, weights: np.ndarray) -> list[Finding]:
    """Losses, (pairs, losses), that are there while their gradient at the output, or at all weights (batches, losses), is 0
    or no number."""
    found = []
    for place, name in enumerate(names):
        value, norm, inner = values[:, place], output[:, place], weights[:, place]
        broken, lost = float(np.mean(~np.isfinite(norm))), float(np.mean(norm[value > 0] == 0)) if value.any() else 0.0
        severity: Severity = "error"
        if not value.any():
            what, number, remedy = f"{name} is 0 for all {len(value)} pairs", 0.0, "compare the prediction with the target"
        elif broken:
            what, number = f"the gradient of {name} is no number for {broken:.0%} of the pairs", broken
            remedy = "keep roots, logarithms and divisions off 0, for example sqrt(x + 1e-12)"
        elif lost:
            what = f"{name} is {value.mean():.3g}, its gradient at the output 0 for {lost:.0%} of the pairs"
            number, severity = lost, "error" if lost == 1 else "warning"
            remedy = "look for rounding, stop_gradient, or a loss that compares something else than the prediction"
        elif (wrong := float(np.mean(~np.isfinite(inner)))) > 0:
            what, number = f"the gradient of {name} at the weights is no number for {wrong:.0%} of the batches", wrong
            remedy = "keep roots, logarithms and divisions inside the network off 0; or, in half precision, smaller losses"
        elif not inner.any():
            what, number = f"the gradient of {name} arrives at the output and at no weight", 0.0
            remedy = "look for rounding or stop_gradient inside the network, or a dead last layer"
        else:
            continue
        found.append(Finding("gradient", severity, what, number, remedy))
    return found


def grey(loss: LossConfiguration | None, images: np.ndarray) -> list[Finding]:
    """Grey images in a network of colours. What a function does with one channel inside cannot be seen."""
    channels = images.shape[-1]
    if channels == 1 and loss is not None and loss.encoder in ARCHITECTURES and loss.encoder != "sacnn":  # CT's own
        what = f"1 grey channel is shown to {loss.encoder}, a network of colours, as 3 equal ones"
        return [Finding("grey", "note", what, 1.0, "its lambda is that of grey images: do not take one over from colour")]
    if channels != 3:
        return []
    silent = int(np.sum(np.ptp(images, axis=(0, 1, 2)) == 0))
    if 0 < silent < channels:
        what = f"{silent} of 3 channels are the same everywhere, the image is in the others"
        return [Finding("grey", "warning", what, silent, "repeat a grey image in all channels, do not pad it")]
    apart = float(np.max(np.ptp(images, axis=-1)))
    if apart <= LEVELS / 4 * float(np.ptp(images)):
        what = f"the 3 channels are equal (apart by {apart:.2g} at most)"
        return [Finding("grey", "note", what, apart, "one channel and a first kernel summed over its channels do the same")]
    return []


def misplaced_lambda(lambda_: float, ends: Mapping[str, float]) -> list[Finding]:
    """A lambda more than a decade outside what lies between the conventions: ``ends``, lambda by the share it gives. 0 is a
    lambda that is still to be chosen."""
    if lambda_ == 0:
        return []
    decades = {name: math.log10(lambda_ / end) for name, end in ends.items()}
    outside = max(min(decades.values()), -max(decades.values()))  # beyond the further one; negative between them
    if outside <= DECADE:
        return []
    said = ", ".join(f"{decades[name]:+.1f} decades from {end:.3g} ({name})" for name, end in ends.items())
    severity: Severity = "error" if outside > 2 * DECADE else "warning"
    remedy = "calibrate it: perceptual_influence.calibrate"
    return [Finding("lambda", severity, f"lambda {lambda_:.3g} is {said}", outside, remedy)]


def cost(first: float, both: float) -> list[Finding]:
    """Seconds of a step, forward and back, without and with the second loss."""
    if both / first <= COST:
        return []
    what = f"a step takes {1e3 * both:.3g} ms with loss_b and {1e3 * first:.3g} ms without, {both / first:.1f} times as long"
    remedy = "take a shallower layer or smaller patches, or compute the targets' features once"
    return [Finding("cost", "warning", what, both / first, remedy)]
