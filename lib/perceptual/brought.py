"""A network that a user brings as an encoder: a whole Keras model in a file, of which no code runs."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

MODULES = {
    "keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.activations",
    "keras.dtype_policies", "keras.optimizers", "keras.optimizers.schedules", "keras.losses", "keras.metrics",
    "keras.src.models.functional", "keras.src.models.sequential",
}  # fmt: skip
OPERATIONS = "keras.src.ops."
PLAIN = {"__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__", "__tuple__"}  # without a module
RUN_CODE = {"Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "function"}  # that load or hold some


def whole_model(path: Path) -> keras.Model:
    """A network from a .keras file. Its configuration may name layers of Keras only: code that a file brings, a Lambda for
    example, is refused.

    Raises
    ------
    ValueError : no .keras file, a damaged one, one with code or layers of its own, or no network of one image
    """
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"weights: {path} is no .keras file: save the network with model.save('name.keras')")
    if found := foreign(path):
        raise ValueError(f"weights: {path} names {', '.join(found)}, expected layers of Keras only, which run no code")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a file may hold
        reason = " ".join(str(error).split())
        raise ValueError(f"weights: {path} cannot be read without running code, or is damaged ({reason:.120})") from error
    image_channels(model)
    return model


def image_channels(model: keras.Model) -> int:
    """1 or 3, the channels of a network's one input, (batch, rows, columns, channels). Raises ValueError: it is none."""
    shapes = [tuple(each.shape) for each in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] not in (1, 3):
        raise ValueError(f"encoder: {model.name} takes {shapes}, expected one image (batch, rows, columns, 1 or 3)")
    return shapes[0][-1]


def foreign(path: Path) -> list[str]:
    """Classes and functions of a .keras file's configuration that are none of Keras's, or that run what a file brings; none
    of what is no such file."""
    return sorted(set(_foreign(path)))


def _foreign(path: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(path) as file:
            left: list[Any] = [json.loads(file.read("config.json"))]
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return
    if isinstance(left[0], dict):
        left[0].pop("compile_config", None)  # which is not read, but that of a network inside is
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if "class_name" in each and not _of_keras(each):
                yield str(each["class_name"])
            left += each.values()
        elif isinstance(each, list):
            left += each


def _of_keras(each: dict[str, Any]) -> bool:
    module, name = each.get("module"), str(each["class_name"])
    if module is None or not name.isidentifier() or name.startswith("__"):
        return name in PLAIN
    return (str(module) in MODULES or str(module).startswith(OPERATIONS)) and name not in RUN_CODE
