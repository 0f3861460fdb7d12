"""The network of any encoder with its weights: VGGs, what the heart builds, and files that a user brings.

A SavedModel is a TensorFlow graph, so it needs that backend of Keras. It may hold operations that run Python or touch files:
it is loaded where all that it has is known to compute (:mod:`lib.networks.saved_graph`). An ONNX file becomes a SavedModel
by the command ``onnx2tf``, where that is installed: its pins (NumPy 1, TensorFlow 2.19) need an environment of their own.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import keras
from keras import layers

from lib.artifacts.files import file_sha256
from lib.errors import WeightsError
from lib.networks import saved_graph, vgg
from lib.perceptual import encoders
from lib.perceptual.pairs import first_line

ONNX_COMMAND: Final = "onnx2tf"
SIDE: Final = 224  # pixels of the image that a SavedModel is tried on, where it takes any


def network(architecture: str | None, weights: str | Path) -> keras.Model:
    """A network without its top, with its weights.

    Parameters
    ----------
    architecture : str
        As for :func:`lib.perceptual.encoders.network`; 'file': a .keras or .onnx file, or a SavedModel's folder.
    weights : 'package', 'keras' or path, as for :func:`lib.networks.vgg.trunk`; others than VGGs have no package

    Raises
    ------
    WeightsError : they are missing, damaged, of another network, or hold code; WheelError for the package's
    """
    if architecture in ("vgg16", "vgg19"):
        return vgg.trunk(architecture, weights)
    path = Path(weights)
    try:
        if architecture == encoders.FILE and path.is_dir():
            return saved_model(path)
        if architecture == encoders.FILE and path.suffix == ".onnx":
            return saved_model(converted(path))
        return encoders.network(architecture, "ImageNet" if weights == "keras" else path)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # Keras wraps every failure of a download in a bare Exception
        if weights != "keras":
            raise
        raise WeightsError(f"ImageNet weights of {architecture} cannot be downloaded ({error!s:.120})",
                           remedy="name a weights file") from error


def weights_key(architecture: str | None, weights: str | Path) -> Path | str:
    """What stands for the weights in cache keys: a file or folder, the package's checksum, or that they are Keras's own."""
    if architecture in ("vgg16", "vgg19"):
        return vgg.weights_key(architecture, weights)
    if weights == "keras":
        return f"{architecture}, keras.applications"
    if not Path(weights).exists():
        raise WeightsError("the file does not exist", where=weights, remedy="pass a weights file of that network")
    return Path(weights)


def saved_model(folder: Path) -> keras.Model:
    """The serving signature of a SavedModel as a frozen Keras network; its layers are the signature's outputs by name.

    Raises
    ------
    WeightsError : no SavedModel, one with operations that may run code or touch files, or none of one image
    """
    if keras.backend.backend() != "tensorflow":
        raise WeightsError("a SavedModel needs KERAS_BACKEND=tensorflow", where=folder)
    import tensorflow as tf

    try:
        if refused := saved_graph.refused(folder):
            raise WeightsError("the SavedModel has operations that are not known to compute only, and may run code or touch "
                               f"files: {', '.join(refused)}", where=folder, remedy="export the network without them")
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        ((argument, image),) = signature.structured_input_signature[1].items()
        signature(**{argument: tf.zeros([1, *(side or SIDE for side in image.shape[1:-1]), image.shape[-1]], image.dtype)})
    except (OSError, KeyError, ValueError, TypeError, IndexError, tf.errors.OpError) as error:
        raise WeightsError(f"no SavedModel with a signature 'serving_default' of one image ({first_line(error):.100})",
                           where=folder, remedy="export one with model.export(folder)") from None
    called = layers.TFSMLayer(str(folder), call_endpoint="serving_default", name="saved_model")
    x = keras.Input(tuple(image.shape[1:]), name="image")
    made, names = called(x), sorted(signature.structured_outputs)
    made = made if isinstance(made, dict) else {names[0]: made}  # Keras hands on a dictionary of one as it likes
    outputs = {name: layers.Identity(name=name)(made[name]) for name in names}
    model = keras.Model(x, list(outputs.values()), name=folder.name)
    encoders.image_channels(model)
    return model


def converted(path: Path) -> Path:
    """The SavedModel that onnx2tf makes of an ONNX file, kept in the user's cache by its checksum. Raises WeightsError: the
    command is not installed, or it failed."""
    if not path.is_file():
        raise WeightsError("the file does not exist", where=path, remedy="pass an .onnx file")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "perceptual_influence"
    folder = cache / file_sha256(path)[:16]
    if (folder / "saved_model.pb").is_file():
        return folder
    if not (command := shutil.which(ONNX_COMMAND)):
        raise WeightsError("an ONNX file needs the command onnx2tf, which is not installed", where=path, remedy="in an "
                           f"environment of its own: pip install onnx2tf, then onnx2tf -osd -i {path.name} -o folder, and "
                           "pass the folder")
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    done = subprocess.run([command, "-osd", "-i", str(path), "-o", str(making)], capture_output=True, text=True,
                          errors="replace", check=False)
    if done.returncode or not (making / "saved_model.pb").is_file():
        shutil.rmtree(making, ignore_errors=True)
        reason = " ".join((done.stderr or done.stdout).split())[-160:]
        raise WeightsError(f"onnx2tf cannot convert it ({reason})", where=path, remedy="convert it elsewhere, and pass the "
                           "folder of the SavedModel")
    try:
        making.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(making, ignore_errors=True)
        if not (folder / "saved_model.pb").is_file():
            raise
    return folder
