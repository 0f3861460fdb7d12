"""The check of :mod:`.linter` of what an encoder sees, against what it was trained on: by a loss's configuration, or by what
scaling does to its value."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from .checks import LEVELS, as_trained
from .configuration import LossConfiguration, Standardised
from .encoders import APPLICATIONS, MEANS_RGB, SDS_RGB
from .findings import Finding, Severity
from .torch_weights import ENDINGS

OUTSIDE = (-0.25, 1.5)  # of images said to lie in [0, 1], but for noise: beyond is another unit (HU, grey levels, [-1, 1])
SPAN = 2.0  # of images in [0, 1]: more are grey levels
SCALE = (2.0, 10.0)  # factor off the range of the training: preprocessings themselves differ by less; ten is a decade
DEGREE = 0.1  # by which the power of a loss may change: ImageNet's VGG-16 has .03 in [0, 255] and .5 to 1.3 in [0, 1]
BOUNDED = 0.5  # a power below this is no longer a loss of differences: its scale cannot be seen


def known_range(name: str, loss: LossConfiguration, images: np.ndarray) -> tuple[list[Finding], list[str]]:
    """What an encoder sees, by the loss's configuration, against what it was trained on: [0, 255] less means
    (keras.applications), [0, 1] less means and by SDs (torchvision).

    That is certain of Keras's ImageNet weights, and taken for likely of other ones; random weights have no range, nor has
    a network of one's own one that is known.
    """
    low, high = (float(each) for each in np.percentile(images, (0.5, 99.5)))
    if low < OUTSIDE[0] or high > OUTSIDE[1] or 0 < np.ptp(images) < LEVELS:
        what = f"images reach from {low:.4g} to {high:.4g}, {name} takes their 0 and 1 to {loss.input_range}"
        return [Finding("range", "error", what, high - low, "bring images to [0, 1]")], []
    torch = str(loss.encoder).startswith("torchvision_") or str(loss.weights).endswith(ENDINGS)
    if loss.weights is None or not (torch or loss.encoder in APPLICATIONS):
        return [], [f"range: what the encoder of {name} was trained on is not known"]
    sd, own = float(np.mean(SDS_RGB)), loss.preprocessing
    width, unit = loss.input_range[1] - loss.input_range[0], 1.0 if torch else 255 * sd  # of an SD of the training's images
    seen = width / (own.sd if isinstance(own, Standardised) else sd if own == "torch" else 1.0)
    trained, whose = unit / sd, "torchvision" if torch else "keras.applications"
    if (factor := max(seen / trained, trained / seen)) > SCALE[0]:
        what = f"{name} shows {loss.encoder} a range of {seen:.3g}, {whose} trained it on one of {trained:.3g}"
        severity: Severity = "error" if factor >= SCALE[1] and loss.weights == "ImageNet" else "warning"
        remedy = "[0, 1], preprocessing: torch" if torch else "[0, 255], preprocessing: caffe or none"
        return [Finding("range", severity, what, seen / trained, f"input_range: {remedy}")], []
    if own == "none":
        offset = (float(np.mean(images)) * width + loss.input_range[0]) / unit
        what = f"{loss.encoder} was trained on images less their mean; it sees them {offset:.2g} SD above that"
        remedy = "torch" if torch else "caffe, or none as the paper, and say which"
        return [Finding("range", "note", what, offset, f"preprocessing: {remedy}")], []
    return [], []


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
    a network that was trained on small values (torchvision's, standardised), or a sum of SSIM and differences, may look as
    one that sees too small ones.
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
    remedy = "if its network was trained on [0, 255] (keras.applications), multiply by 255; "
    remedy += "right if it was trained on small values, or a part of it is bounded, as SSIM is"
    return [Finding("range", "warning", what, float(np.ptp(best)), remedy)], []
