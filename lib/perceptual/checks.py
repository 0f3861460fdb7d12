"""The single checks of :mod:`.linter`: each takes what was measured, and says what is wrong, and what it cannot know.

A limit stands beside the reason for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from .configuration import LossConfiguration, Standardised
from .encoders import APPLICATIONS, ARCHITECTURES, MEANS_RGB, SDS_RGB
from .findings import Finding, Severity
from .torch_weights import ENDINGS

SPAN = 2.0  # of images said to lie in [0, 1]: more is another unit (HU, grey levels)
LEVELS = 2 / 255  # all images together span less than two grey levels: divided once too often
SCALE = (2.0, 10.0)  # factor off the range of the training: preprocessings themselves differ by less; ten is a decade
DEGREE = 0.1  # by which the power of a loss may change: ImageNet's VGG-16 has .03 in [0, 255] and .5 to 1.3 in [0, 1]
BOUNDED = 0.5  # a power below this is no longer a loss of differences: its scale cannot be seen
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


def known_range(name: str, loss: LossConfiguration, images: np.ndarray) -> list[Finding]:
    """What an encoder sees, by the loss's configuration, against what it was trained on: [0, 255] less means
    (keras.applications), [0, 1] less means and by SDs (torchvision).

    That is certain of Keras's ImageNet weights, and taken for likely of other ones; random weights have no range, nor has
    an autoencoder of one's own one that is known.
    """
    low, high = (float(each) for each in np.percentile(images, (0.5, 99.5)))
    span = high - low
    if span > SPAN or 0 < np.ptp(images) < LEVELS:
        what = f"images reach from {low:.4g} to {high:.4g}, {name} takes their 0 and 1 to {loss.input_range}"
        return [Finding("range", "error", what, span, "bring images to [0, 1]")]
    torch = str(loss.encoder).startswith("torchvision_") or str(loss.weights).endswith(ENDINGS)
    if loss.weights is None or not (torch or loss.encoder in APPLICATIONS):
        return []
    sd, own = float(np.mean(SDS_RGB)), loss.preprocessing
    width, unit = loss.input_range[1] - loss.input_range[0], 1.0 if torch else 255 * sd  # of an SD of the training's images
    seen = width / (own.sd if isinstance(own, Standardised) else sd if own == "torch" else 1.0)
    trained, whose = unit / sd, "torchvision" if torch else "keras.applications"
    if (factor := max(seen / trained, trained / seen)) > SCALE[0]:
        what = f"{name} shows {loss.encoder} a range of {seen:.3g}, {whose} trained it on one of {trained:.3g}"
        severity: Severity = "error" if factor >= SCALE[1] and loss.weights == "ImageNet" else "warning"
        remedy = "[0, 1], preprocessing: torch" if torch else "[0, 255], preprocessing: caffe or none"
        return [Finding("range", severity, what, seen / trained, f"input_range: {remedy}")]
    if own == "none":
        offset = (float(np.mean(images)) * width + loss.input_range[0]) / unit
        what = f"{loss.encoder} was trained on images less their mean; it sees them {offset:.2g} SD above that"
        remedy = "torch" if torch else "caffe, or none as the paper, and say which"
        return [Finding("range", "note", what, offset, f"preprocessing: {remedy}")]
    return []


def power(loss: Callable, targets: Any, scale: float, centre: Any = 0.0) -> float:
    """By which power a loss between a target and its mean image grows with the scale of both about ``centre``, where that is
    ``scale``: 2 of squares."""
    flat = ops.broadcast_to(ops.mean(targets, axis=(1, 2), keepdims=True), ops.shape(targets))
    both = [
        [centre + factor * scale * (each - centre) for each in (targets, flat)]
        for factor in (1.0, 1.1)
    ]  # fmt: skip
    sums = [as_trained(loss, *each) for each in both]
    return math.log(sums[1] / sums[0]) / math.log(1.1) if min(sums) > 0 else math.nan


def response(name: str, loss: Callable, targets: Any) -> tuple[list[Finding], list[str]]:
    """What scaling says of a loss's range when nothing else is known: a network of ReLUs that was trained on [0, 255] has
    biases of no weight there (the loss has one power, 2 for squares), and of much weight in [0, 1]. Scaled about 0, about
    ImageNet's mean and about 0.5, which a preprocessing may take off.

    It sees images that are too small for their network, by the power that changes on the way to 255 times as large. It
    cannot see images that are too large, nor a loss that does not grow with its images (SSIM, normalised features); and
    a network that was trained on small values (torchvision's, standardised) may look as one that sees too small ones.
    """
    flat = ops.broadcast_to(ops.mean(targets, axis=(1, 2), keepdims=True), ops.shape(targets))
    here, shifted = as_trained(loss, targets, flat), as_trained(loss, targets - flat, ops.zeros_like(flat))
    if abs(here - shifted) <= 1e-3 * here:
        return [], []  # it knows differences only: no network, and no range
    unit = 255.0 if float(ops.convert_to_numpy(ops.max(targets))) > SPAN else 1.0
    mean = np.array(MEANS_RGB, np.float32) if targets.shape[-1] == 3 else np.mean(MEANS_RGB, dtype=np.float32)
    best: list[float] = []
    for centre in (0.0, unit * mean, unit * 0.5):
        powers = [power(loss, targets, scale, centre) for scale in (1.0, 16.0, 255.0)]
        if not np.isfinite(powers).all() or powers[-1] < BOUNDED:
            return [], [f"range: {name} does not grow with its images (power {powers[-1]:.2g}), its scale cannot be seen"]
        if np.ptp(powers) <= DEGREE:
            return [], []
        best = powers if not best or np.ptp(powers) < np.ptp(best) else best
    what = f"{name} grows with its images' scale by the power {best[0]:.2f} here and {best[-1]:.2f} at 255 times that"
    remedy = "if its network was trained on [0, 255] (keras.applications), multiply by 255; right if on small values"
    return [Finding("range", "warning", what, float(np.ptp(best)), remedy)], []


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
    if channels == 1 and loss is not None and loss.encoder in ARCHITECTURES:
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
