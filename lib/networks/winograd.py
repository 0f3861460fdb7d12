"""The same network with half the multiplications: 3 x 3 convolutions by Winograd's F(4, 3) along the rows.

Four output rows of a three-row filter need 12 multiplications, or 6 of sums of rows (Winograd 1980; Lavin & Gray 2016).
Only rows are transformed: each of the six sums then passes an ordinary 1 x 3 convolution, so that the transforms are
cheap and rounding stays that of the direct convolution. For inference on processors; cuDNN has its own on GPUs.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

ROWS = 4  # output rows at a time
WORTHWHILE = 4096  # patches of 96 x 96 that save what the compilation costs
CHANNELS = 32  # from here on, in and out, the transforms cost less than they save
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


def accelerated(network: keras.Model) -> keras.Model:
    """A copy of ``network`` for inference with its present weights: the same outputs, float32 rounding apart. Where
    TensorFlow sees a GPU, ``network`` itself."""
    if tf.config.list_physical_devices("GPU"):
        return network
    return keras.models.clone_model(network, clone_function=lambda layer: Winograd(layer) if suits(layer) else layer)


def worth_accelerating(network: keras.Model, images: int) -> keras.Model:
    """:func:`accelerated` where so many images pay for its compilation, else ``network`` itself."""
    return accelerated(network) if images >= WORTHWHILE else network


def suits(layer: keras.Layer) -> bool:
    """Whether ``layer`` is a 3 x 3 'same' ReLU convolution of stride 1 in float32 with enough channels."""
    return (isinstance(layer, layers.Conv2D) and layer.compute_dtype == "float32" and layer.kernel_size == (3, 3)
            and layer.padding == "same" and layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1
            and layer.activation is keras.activations.relu and min(layer.kernel.shape[2:]) >= CHANNELS)


class Winograd(layers.Layer):
    """A 3 x 3 'same' convolution with ReLU and the weights of ``convolution``, as constants: (batch, rows, columns,
    channels) -> (batch, rows, columns, filters)."""

    def __init__(self, convolution: layers.Conv2D):
        super().__init__(name=convolution.name, trainable=False)
        kernel, bias = convolution.get_weights()
        kernels = np.einsum("ij,jxcf->ixcf", KERNEL, kernel).astype(np.float32)[:, None]
        self.filters = convolution.filters
        # tensors, which a graph refers to: arrays would be copied into every graph
        self.bias, self.kernels = tf.constant(bias), [tf.constant(each) for each in kernels]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def call(self, images):
        products = [tf.nn.conv2d(rows, kernel, 1, "SAME") for rows, kernel in zip(_sums(images), self.kernels, strict=True)]
        return _outputs(products, self.bias, tf.shape(images)[1])


@tf.function(jit_compile=True)
def _sums(images):
    """The six sums of rows, each (batch, rows / 4, columns, channels)."""
    batch, rows, columns, channels = tf.unstack(tf.shape(images))
    tiles = -(-rows // ROWS)
    padded = tf.pad(images, [(0, 0), (1, (tiles + 1) * ROWS - rows - 1), (0, 0), (0, 0)])
    padded = tf.reshape(padded, (batch, tiles + 1, ROWS, columns, channels))
    (a, b, c, d), (e, f) = tf.unstack(padded[:, :-1], axis=2), tf.unstack(padded[:, 1:, :2], axis=2)
    even, odd, near_even, near_odd = e - 4 * c, d - 4 * b, e - c, 2 * (d - b)
    return [4 * a - 5 * c + e, even + odd, even - odd, near_even + near_odd, near_even - near_odd, 4 * b - 5 * d + f]


@tf.function(jit_compile=True)
def _outputs(products, bias, rows):
    """Four rows from six products, bias, ReLU: (batch, rows, columns, filters)."""
    first, a, b, c, d, last = products
    sum_1, difference_1, sum_2, difference_2 = a + b, a - b, c + d, c - d
    images = tf.stack([first + sum_1 + sum_2, difference_1 + 2 * difference_2, sum_1 + 4 * sum_2,
                       difference_1 + 8 * difference_2 + last], axis=2)
    batch, tiles, _, columns, filters = tf.unstack(tf.shape(images))
    return tf.nn.relu(tf.reshape(images, (batch, tiles * ROWS, columns, filters))[:, :rows] + bias)
