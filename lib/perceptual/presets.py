"""Losses that have a name: the paper's four experiments, its baseline from the literature, and the control it lacks."""

from .configuration import LambdaRule, LossConfiguration

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Of each block (Simonyan & Zisserman 2015, configurations D and E)."""

LAST_CONVOLUTION = {"vgg16": "block5_conv3", "vgg19": "block5_conv4"}
"""The deep layer phi; on another VGG its own last convolution stands in."""

SHALLOW = "block3_conv2"
MIDDLE = "block4_conv3"
"""Of every VGG; a depth between the paper's two, which no experiment trains."""

DEPTHS = {"ImageNet": ("E1", "ImageNet middle", "E2"), "Medical": ("E3", "Medical middle", "E4")}
"""The losses of each context, from the shallow to the deep layer."""


def paper(encoder: str = "vgg19") -> dict[str, LossConfiguration]:
    """The paper's configurations (Section 5.2) by name, on its VGG-19 or on a VGG-16 that stands in for it.

    'mse' is the control with lambda = 0, which the paper does not show. The baseline's 0.1 is the literature's (Table 1).

    Raises
    ------
    ValueError : the encoder is no VGG
    """
    if encoder not in LAST_CONVOLUTION:
        raise ValueError(f"encoder: {encoder!r}, the paper's losses need one of {', '.join(LAST_CONVOLUTION)}")
    shallow, deep = ((SHALLOW, 1.0),), ((LAST_CONVOLUTION[encoder], 1.0),)
    return {
        "mse": LossConfiguration(encoder=None, lambda_=LambdaRule(0.0)),
        "baseline": LossConfiguration(encoder, "ImageNet", deep, lambda_=LambdaRule(0.1)),
        "E1": LossConfiguration(encoder, "ImageNet", shallow),
        "E2": LossConfiguration(encoder, "ImageNet", deep),
        "E3": LossConfiguration(encoder, "Medical", shallow),
        "E4": LossConfiguration(encoder, "Medical", deep),
    }


def convolutions(encoder: str = "vgg19") -> list[str]:
    """Keras's names of all convolutions of a VGG, from the first to the last."""
    return [f"block{b}_conv{c}" for b, count in enumerate(CONVOLUTIONS[encoder], 1) for c in range(1, count + 1)]


def middle(encoder: str = "vgg19") -> dict[str, LossConfiguration]:
    """The loss at ``MIDDLE`` in each context, to be measured beside those of :func:`paper`."""
    return {name: LossConfiguration(encoder, context, ((MIDDLE, 1.0),)) for context, (_, name, _) in DEPTHS.items()}


def layers(encoder: str = "vgg19", context: str = "ImageNet") -> dict[str, LossConfiguration]:
    """A loss at each convolution of a VGG (13 or 16) after its ReLU, all of one context, by '<context> <layer>' from the
    shallowest on: they share one pass of the encoder.

    Raises
    ------
    ValueError : the encoder is no VGG
    """
    if encoder not in CONVOLUTIONS:
        raise ValueError(f"encoder: {encoder!r}, expected one of {', '.join(CONVOLUTIONS)}")
    losses = (LossConfiguration(encoder, context, ((name, 1.0),)) for name in convolutions(encoder))
    return {f"{context} {loss.layer_names[0]}": loss for loss in losses}
