"""The scale of a ReLU network's features is free: relu(s x) = s relu(x) for s > 0, and pooling keeps it."""

import keras
import numpy as np
from keras import layers

from lib.errors import WeightsError


def convolutions(network: keras.Model) -> list[layers.Conv2D]:
    """Those of a chain, in order."""
    return [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]


def scale_features(network: keras.Model, scales: np.ndarray) -> None:
    """Multiply the output of each convolution by its own positive number; what the others give stays as it is.

    Parameters
    ----------
    network : a chain of convolutions with ReLU, and poolings (a VGG without its top), changed in place
    scales : array, (convolutions,): a kernel takes scale / scale before it, a bias takes scale
    """
    before = 1.0
    for layer, scale in zip(convolutions(network), np.asarray(scales, np.float64).tolist(), strict=True):
        kernel, bias = layer.get_weights()
        layer.set_weights([(kernel * (scale / before)).astype(np.float32), (bias * scale).astype(np.float32)])
        before = scale


def matching_scales(squares: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scales that give each convolution the mean square of the reference's, (convolutions,). Raises WeightsError for a
    convolution that is zero everywhere."""
    if not np.all(squares > 0):
        raise WeightsError("a convolution of the fine-tuned encoder gives nothing but zeros",
                           remedy="lower medical.lr")
    return np.sqrt(np.asarray(reference, np.float64) / squares)
