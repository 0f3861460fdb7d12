"""Networks that keras.applications lacks: torchvision's ResNet-50, and the encoder of SACNN's autoencoder.

torchvision's ResNet-50 (He et al. 2016, with the stride at the 3 x 3 convolution) is another network than Keras's of that
name, whose stride stands at the first 1 x 1 convolution, with biases and weights of its own.
"""

from collections.abc import Sequence

import keras
from keras import layers

BATCH_NORM_EPSILON = 1e-5  # torch's
SACNN = ((64, 2), (128, 2), (256, 4))
"""Channels and convolutions of each block: the first three of VGG-19."""


def torchvision_resnet(
    blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64, name: str = "torchvision_resnet50"
) -> keras.Model:
    """A ResNet of bottlenecks as torchvision makes it, in evaluation: (batch, rows, columns, 3) -> its last features.

    Its layers have torch's names with _ for the dots; ``layer1`` ... ``layer4`` are the outputs of the stages, at strides 4,
    8, 16 and 32, with 4, 8, 16 and 32 times ``width`` channels.

    Parameters
    ----------
    blocks : sequence of int, bottlenecks in each stage
    width : int, channels of the first convolution
    """
    image = keras.Input((None, None, 3), name="rgb")
    x = layers.ReLU(name="relu")(_normal(_convolution(image, width, 7, 2, "conv1"), "bn1"))
    x = layers.MaxPooling2D(3, strides=2, name="maxpool")(layers.ZeroPadding2D(1)(x))  # after a ReLU 0 is no maximum
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            inner, last = width * 2 ** (stage - 1), block == count - 1
            stride = 2 if stage > 1 and block == 0 else 1
            x = _bottleneck(x, inner, stride, block == 0, f"layer{stage}_{block}", f"layer{stage}" if last else None)
    return keras.Model(image, x, name=name)


def _bottleneck(x, inner: int, stride: int, widens: bool, name: str, last: str | None):
    y = x
    for number, (channels, size, step) in enumerate(((inner, 1, 1), (inner, 3, stride), (4 * inner, 1, 1)), start=1):
        y = _normal(_convolution(y, channels, size, step, f"{name}_conv{number}"), f"{name}_bn{number}")
        if number < 3:
            y = layers.ReLU(name=f"{name}_relu{number}")(y)
    if widens:
        x = _normal(_convolution(x, 4 * inner, 1, stride, f"{name}_downsample_0"), f"{name}_downsample_1")
    return layers.ReLU(name=last or f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _convolution(x, channels: int, size: int, stride: int, name: str):
    """Without bias, with torch's padding: as many zeros on each side."""
    if size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_padding")(x)
    return layers.Conv2D(channels, size, strides=stride, use_bias=False, name=name)(x)


def _normal(x, name: str):
    return layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=name)(x)


def sacnn(blocks: Sequence[tuple[int, int]] = SACNN, name: str = "sacnn") -> keras.Model:
    """The encoder of an autoencoder as SACNN's loss has it (Li et al. 2020), in 2-D, of three channels, without batch
    normalisation: (batch, rows, columns, 3) -> (batch, rows / 4, columns / 4, 256). Its layers have VGG's names, the last is
    ``block3_conv4``."""
    x = image = keras.Input((None, None, 3), name="three_channels")
    for block, (channels, convolutions) in enumerate(blocks, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(x)
        for number in range(1, convolutions + 1):
            x = layers.Conv2D(
                channels, 3, padding="same", activation="relu", kernel_initializer="he_normal",
                name=f"block{block}_conv{number}",
            )(x)  # fmt: skip
    return keras.Model(image, x, name=name)
