"""The frozen encoders E_c^phi: features of CT images at any layers of a Keras network.

VGG: Simonyan & Zisserman 2015. The Keras names count: blockX_convY is the output *after* the ReLU, blockX_convY:before what
the ReLU takes.
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from . import torch_weights
from .architectures import sacnn, torchvision_resnet
from .brought import image_channels, whole_model
from .configuration import BEFORE, Encoding, LossConfiguration, Standardised

APPLICATIONS = {
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "resnet50": keras.applications.ResNet50,
}
ARCHITECTURES = APPLICATIONS | {"torchvision_resnet50": torchvision_resnet, "sacnn": sacnn}
FILE = "file"  # in place of an architecture: the network is what ``weights`` says
MEANS_BGR, VARIANCES_BGR = (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)  # keras.applications' 'caffe' mode
MEANS_RGB, SDS_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of images in [0, 1]


def network(architecture: str | None, weights: str | Path | None = None) -> keras.Model:
    """A network without its top; input (batch, rows, columns, 3).

    Parameters
    ----------
    architecture : str
        A key of ``ARCHITECTURES``: of keras.applications, or of :mod:`~.architectures`; or 'file': then ``weights`` is a
        whole Keras model (.keras), of which nothing but layers of Keras is accepted.
    weights : 'ImageNet', path or None
        Keras's ImageNet weights (downloaded once), a Keras weights file saved without the top, a torchvision network's
        state (.npz, .safetensors: :mod:`~.torch_weights`), or random ones.

    Raises
    ------
    ValueError : an unknown architecture, a file of another network or one that holds code, ImageNet weights that Keras lacks
    """
    if architecture == FILE:
        return whole_model(Path(weights or ""))
    if architecture not in ARCHITECTURES:
        raise ValueError(f"encoder: {architecture!r}, choose one of {', '.join(ARCHITECTURES)}, {FILE}")
    imagenet = "imagenet" if weights == "ImageNet" else None
    if architecture in APPLICATIONS:
        make = APPLICATIONS[architecture]
        model = make(include_top=False, weights=imagenet, input_shape=(None, None, 3), name=architecture)
    elif imagenet:
        raise ValueError(f"weights: Keras has no ImageNet weights of {architecture}, pass a file")
    else:
        model = ARCHITECTURES[architecture]()
    if weights is not None and not imagenet:
        load_weights(model, Path(weights))
    return model


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill ``model`` from a Keras weights file (.weights.h5, or the older .h5 of keras.applications), or from the state of
    the same network of torchvision (.npz, .safetensors).

    Raises
    ------
    ValueError : the file is missing, damaged or of another network
    """
    if path.suffix in torch_weights.ENDINGS:
        torch_weights.load(model, path)
        return
    try:
        with warnings.catch_warnings():  # Keras only warns where it leaves a layer as it was
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: pass the weights file of {model.name}") from None
    except (OSError, ValueError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} does not hold the weights of {model.name} ({reason:.160}): pass a Keras .h5 or "
            ".weights.h5 file of that network, saved without its top"
        ) from error


def check_layers(model: keras.Model, names: Iterable[str]) -> None:
    """Raise ValueError for a layer that ``model`` lacks, naming those it has; or for one that has nothing before it."""
    known = {layer.name: layer for layer in model.layers if not isinstance(layer, layers.InputLayer)}
    for name in names:
        layer = known.get(name.removesuffix(BEFORE))
        if layer is None:
            raise ValueError(f"layers: {model.name} has no layer {name}, choose from {', '.join(known)}")
        if name.endswith(BEFORE) and not (_activates(layer) or isinstance(layer, layers.ReLU | layers.Activation)):
            raise ValueError(f"layers: {name}, but {layer.name} has no activation")


def outputs_of(model: keras.Model, names: Iterable[str]) -> list:
    """Symbolic features of layers that :func:`check_layers` accepts."""
    found = []
    for name in names:
        layer = model.get_layer(name.removesuffix(BEFORE))
        if not name.endswith(BEFORE):
            found.append(layer.output)
        else:
            found.append(_linear(layer)(layer.input) if _activates(layer) else layer.input)
    return found


def _activates(layer: keras.Layer) -> bool:
    """Whether a convolution or dense layer has an activation of its own."""
    return isinstance(layer, layers.Conv2D | layers.Dense) and layer.activation is not keras.activations.linear


def _linear(layer: keras.Layer) -> keras.Layer:
    """The same layer without its activation."""
    made = type(layer).from_config(layer.get_config() | {"activation": None, "name": f"{layer.name}_before"})
    made.build((None, None, None, layer.kernel.shape[-2] * getattr(layer, "groups", 1)))
    made.set_weights(layer.get_weights())
    return made


def encoder(loss: LossConfiguration | Encoding, names: Sequence[str] = (), model: keras.Model | None = None) -> keras.Model:
    """A frozen encoder of CT images: what E_c^phi of Eq. 3 sees, and its features.

    Parameters
    ----------
    loss : LossConfiguration or Encoding, which network, whose weights, and what becomes of an image before it
    names : sequence of str
        Keras layers, or 'name:before' for what a layer's activation takes; by default the configuration's.
    model : keras.Model, optional
        The network with its weights, instead of the one that ``loss`` names. It is frozen, too: ``trainable`` becomes False.

    Returns
    -------
    keras.Model : image (batch, rows, columns, 1) in [0, 1] -> features of each layer: a tensor for one, a list for several

    Raises
    ------
    ValueError : A layer that the network lacks, naming those it has; or weights that only the caller knows ('Medical')
    """
    encoding = loss.encoding if isinstance(loss, LossConfiguration) else loss
    names = tuple(names) or (loss.layer_names if isinstance(loss, LossConfiguration) else ())
    model = network(encoding.encoder, encoding.weights) if model is None else model
    check_layers(model, names)
    model.trainable = False
    low, high = encoding.input_range
    scale, offset, own = high - low, low, encoding.preprocessing
    if isinstance(own, Standardised):
        scale, offset = scale / own.sd, (offset - own.mean) / own.sd
    image = keras.Input((*model.inputs[0].shape[1:3], 1), name="ct")
    x = layers.Rescaling(scale, offset)(image)
    if encoding.preprocessing not in ("caffe", "torch") and _is_chain(model):
        outputs = _along_the_chain(model, x, names)
    else:
        inner = keras.Model(model.inputs[0], outputs_of(model, names))
        channels = image_channels(model)
        seen = x if channels == 1 else _preprocessed(layers.Concatenate()([x] * channels), encoding)
        outputs = inner(seen)
        outputs = outputs if isinstance(outputs, list) else [outputs]
    result = keras.Model(image, outputs[0] if len(names) == 1 else outputs, name=f"{model.name}_encoder")
    result.trainable = False
    return result


def _preprocessed(image, encoding: Encoding):
    """Three equal channels as the network was trained on them."""
    if encoding.preprocessing == "caffe":  # the channels are equal: to swap them only swaps the means
        return layers.Normalization(mean=MEANS_BGR, variance=VARIANCES_BGR)(image)
    if encoding.preprocessing == "torch":
        return layers.Normalization(mean=MEANS_RGB, variance=np.square(SDS_RGB))(image)
    return image


def _is_chain(model: keras.Model) -> bool:
    """Whether each layer takes the output of the one before, the first one a 3-channel convolution: VGGs do."""
    first, *rest = _without_input(model)
    return (
        isinstance(first, layers.Conv2D)
        and first.groups == 1
        and image_channels(model) == 3
        and all(layer.input is before.output for before, layer in zip([first, *rest], rest, strict=False))
    )


def _without_input(model: keras.Model) -> list:
    """A model's layers; its input is one of them only where the model is no Sequential."""
    return [each for each in model.layers if not isinstance(each, layers.InputLayer)]


def _along_the_chain(model: keras.Model, x, names: Sequence[str]) -> list:
    """Features of an image whose three channels are the same: the first kernel is summed over them."""
    found: dict = {}
    first, *rest = _without_input(model)
    for layer in [_on_one_channel(first), *rest]:
        if set(names) <= set(found):
            break
        if (before := layer.name + BEFORE) in names:
            own = _activates(layer)
            x = found[before] = _linear(layer)(x) if own else x
            x = found[layer.name] = (layers.Activation(layer.activation, name=layer.name) if own else layer)(x)
        else:
            x = found[layer.name] = layer(x)
    return [found[name] for name in names]


def _on_one_channel(first: layers.Conv2D) -> layers.Conv2D:
    """The same convolution of three equal channels: of one, with the sum of its kernels."""
    kernel, *rest = first.get_weights()
    summed = type(first).from_config(first.get_config())
    summed.build((None, None, None, 1))
    summed.set_weights([kernel.sum(axis=2, keepdims=True, dtype=np.float64).astype(np.float32), *rest])
    return summed
