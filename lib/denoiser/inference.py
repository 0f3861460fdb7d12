"""A trained U-Net in use: whole slices of any size, in HU."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from lib.data.hu import denormalise, normalise
from lib.errors import TrainingError

if TYPE_CHECKING:
    import keras

MULTIPLE: Final = 16  # four poolings halve a side four times


def denoise(unet: "keras.Model", ldct_hu: np.ndarray) -> np.ndarray:
    """Pass slices of any size through a U-Net: reflected to multiples of 16, cropped back.

    Parameters
    ----------
    ldct_hu : array, (rows, columns) or (slices, rows, columns), HU

    Returns
    -------
    array : the same shape, HU, float32

    Raises
    ------
    TrainingError : the network answers with values that are no numbers
    """
    stack = ldct_hu[None] if ldct_hu.ndim == 2 else ldct_hu
    rows, columns = stack.shape[1:]
    padding = ((0, 0), (0, -rows % MULTIPLE), (0, -columns % MULTIPLE))
    padded = np.pad(normalise(stack), padding, mode="reflect")
    output = np.asarray(_compiled(unet)(padded[..., None]))[:, :rows, :columns, 0]
    if not np.isfinite(output).all():
        raise TrainingError("the U-Net answers with NaN or infinity", remedy="delete its weights and train it again")
    return denormalise(output).astype(np.float32).reshape(ldct_hu.shape)


@lru_cache(maxsize=2)
def _compiled(unet: "keras.Model") -> Callable:
    """A network as a graph for each size of images. Keras's own `predict` has one for all from the second size on, and its
    bilinear layers cannot be part of that."""
    import tensorflow as tf

    return tf.function(lambda images: unet(images, training=False))
