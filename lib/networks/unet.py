"""The U-Net f_theta that maps LDCT to NDCT (Ronneberger et al. 2015, as the authors' public code builds it)."""

from typing import Literal

import keras
import numpy as np
from keras import layers

LEVELS = 4
Upsampling = Literal["transposed", "bilinear"]
"""How the way up doubles a side. The four positions of a transposed convolution have weights of their own, which may become
a grid of period 2 (Odena et al. 2016); a perceptual loss hardly charges for it. Bilinear interpolation has no such
positions."""


def unet(channels: int = 32, *, seed: int, output_bias: float = 0.0, upsampling: Upsampling = "transposed") -> keras.Model:
    """U-Net with four levels below ``channels``: 32 channels give the paper's 7,759,521 parameters.

    A model (batch, rows, columns, 1) -> the same shape, both in [0, 1]; rows and columns multiples of 16. Two 3 x 3 'same'
    ReLU convolutions a block, no batch normalisation, 2 x 2 max pooling, 2 x 2 transposed convolutions with stride 2 (or
    bilinear interpolation of 2 x 2 convolutions, with as many parameters: ``Upsampling``), skips by concatenation, a 1 x 1
    convolution with a sigmoid. Glorot-uniform kernels, each layer with a seed of its own (one seeded initializer shared by
    all layers would repeat the same values), zero biases; ``output_bias``, of the last convolution, is a logit (0: the
    paper's, see :func:`logit`).
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(6 * LEVELS).tolist())

    def glorot() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=next(seeds) % 2**31)

    def block(x, width: int, name: str):
        for each in (f"{name}_conv1", f"{name}_conv2"):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer=glorot(), name=each)(x)
        return x

    def upsampled(x, width: int, name: str):
        settings = {"padding": "same", "kernel_initializer": glorot()}
        if upsampling == "transposed":
            return layers.Conv2DTranspose(width, 2, strides=2, **settings, name=f"{name}_transposed")(x)
        x = layers.Conv2D(width, 2, **settings, name=f"{name}_convolved")(x)
        return layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_bilinear")(x)

    x = image = keras.Input((None, None, 1), name="ldct")
    skips = []
    for level in range(LEVELS):
        skips.append(block(x, channels * 2**level, f"down{level + 1}"))
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(skips[-1])
    x = block(x, channels * 2**LEVELS, "bottom")
    for level in reversed(range(LEVELS)):
        x = upsampled(x, channels * 2**level, f"up{level + 1}")
        x = layers.Concatenate(name=f"up{level + 1}_skip")([skips[level], x])
        x = block(x, channels * 2**level, f"up{level + 1}")
    ndct = layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer=glorot(),
                         bias_initializer=keras.initializers.Constant(output_bias), name="ndct")(x)
    return keras.Model(image, ndct, name="unet")


def logit(mean: float) -> float:
    """Bias at which a sigmoid with zero input gives ``mean`` (in (0, 1)): the remedy for the dead start."""
    return float(np.log(mean / (1.0 - mean)))
