"""Weights of torchvision's networks from a file of arrays: a state as .npz or .safetensors, into the same network in Keras.

Both formats hold numbers and nothing else; a .pt or .pth file may hold code, and is refused. Where torch is installed,
``safetensors.torch.save_file(model.state_dict(), "model.safetensors")`` writes one.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

ENDINGS = (".npz", ".safetensors")
DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}
DAMAGED = (  # what NumPy, JSON and zipfile raise; NotImplementedError: a compression or encryption that zipfile lacks
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
LARGEST_HEADER = 1 << 26  # bytes; that of a ResNet-50 has 30,000


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz or .safetensors file by name. Raises ValueError: another or a damaged file."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        return _safetensors(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: pass a file of a torchvision network's state") from None
    except DAMAGED as error:
        reason = str(error).strip().splitlines()[:1]
        raise ValueError(f"{path} is no {path.suffix} file of arrays ({''.join(reason):.120}): write it again") from None


def _safetensors(content: bytes) -> dict[str, np.ndarray]:
    """The format's own words: eight bytes for the header's length, a JSON header, the arrays."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(LARGEST_HEADER, len(content) - 8):
        raise ValueError("its header has no sound length")
    data, found = memoryview(content)[8 + length :], {}
    for name, each in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = each["data_offsets"]
            if not 0 <= begin <= end <= len(data):
                raise ValueError(f"{name} ends outside the file")
            if each["dtype"] not in DTYPES:
                raise ValueError(f"{name} is {each['dtype']}, expected one of {', '.join(DTYPES)}")
            found[name] = np.frombuffer(data[begin:end], DTYPES[each["dtype"]]).reshape(each["shape"])
    return found


def load(model: keras.Model, path: Path) -> None:
    """Fill a VGG or :func:`~.architectures.torchvision_resnet` with the weights of the same network of torchvision.

    Raises
    ------
    ValueError : the file is none of arrays, an array is missing, too many or of another shape, or torchvision has no such
        network
    """
    if not (is_vgg := _is_vgg(model)) and not model.name.startswith("torchvision_"):
        raise ValueError(f"{path}: torchvision has no {model.name}, pass a Keras weights file of it")
    state = read(path)
    names = _vgg_names(model, state) if is_vgg else _names(model)
    if is_vgg and (count := len(_convolutions(state))) > len(names):
        raise ValueError(
            f"{path} does not hold torchvision's weights of {model.name} ({count} convolutions, not {len(names)})"
        )
    if not is_vgg and (more := sorted(_blocks(state) - set(names.values()))):
        raise ValueError(f"{path} does not hold torchvision's weights of {model.name} (it also has {more[0]})")
    for layer in model.layers:
        if layer.name in names:
            try:
                layer.set_weights(_weights(layer, names[layer.name], state))
            except (KeyError, ValueError) as error:
                reason = f"{error.args[0]!s:.120}" if isinstance(error, KeyError) else str(error).splitlines()[0][:120]
                raise ValueError(
                    f"{path} does not hold torchvision's weights of {model.name} ({layer.name}: {reason})"
                ) from None


def _is_vgg(model: keras.Model) -> bool:
    """Whether it is convolutions in a row, and poolings, named by blocks as Keras's VGGs are; sacnn is named so, too."""
    some = [each.name for each in model.layers if each.weights]
    return model.name != "sacnn" and all(re.fullmatch(r"block\d+_conv\d+", name) for name in some)


def _convolutions(state: Mapping[str, np.ndarray]) -> list[str]:
    """Torch's names of a VGG's convolutions in their order."""
    named = (name.removesuffix(".weight") for name in state if re.fullmatch(r"features\.\d+\.weight", name))
    return sorted(named, key=lambda name: int(name.split(".")[1]))


def _blocks(state: Mapping[str, np.ndarray]) -> set[str]:
    """Torch's names of the layers in a ResNet's blocks; a deeper one has those of a shallower one, and more."""
    return {name.rpartition(".")[0] for name in state if re.match(r"layer\d", name)}


def _names(model: keras.Model) -> dict[str, str]:
    """By Keras's name of a layer, torch's: layer1_0_conv1 is layer1.0.conv1."""
    named = [each.name for each in model.layers if each.weights]
    return {name: re.sub(r"_(?=\d|conv|bn|downsample)", ".", name) for name in named}


def _vgg_names(model: keras.Model, state: Mapping[str, np.ndarray]) -> dict[str, str]:
    """By Keras's name, torch's: torchvision numbers all layers of a VGG, poolings, too."""
    theirs = _convolutions(state)
    ours = [each.name for each in model.layers if isinstance(each, layers.Conv2D)]
    return dict(zip(ours, theirs + ["features.?"] * (len(ours) - len(theirs)), strict=False))


def _weights(layer: keras.Layer, name: str, state: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """In Keras's order and layout; torch's kernels are (out, in, rows, columns)."""
    if isinstance(layer, layers.BatchNormalization):
        return [state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0)
    return [kernel, state[f"{name}.bias"]] if layer.use_bias else [kernel]
