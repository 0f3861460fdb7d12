"""The same network with a quarter of the multiplications: 3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3).

A tile of 4 x 4 outputs needs 36 multiplications instead of 144 (Winograd 1980; Lavin & Gray 2016): 6 x 6 pixels become 36
sums of pixels, each passes a 1 x 1 convolution of its own, and 36 products become 4 x 4 outputs. The two transforms are
multiplications by constant matrices, which is fast on every processor and needs no compiler. Forward, and the gradient
of the input, which is a convolution, too; kernels are constants. cuDNN has its own on GPUs.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

TILE, WINDOW = 4, 6  # output pixels along a side of a tile, and input pixels that they need
CHANNELS = 128
"""From here on, in and out, the transforms cost less than they save: both passes were 1.0 to 1.9 times as fast with AVX-512,
1.2 to 2.1 with AVX2 (patches of 64 and 96, batches of 8 and 16, two cores); with 64 channels .6 to .8 and 1.0."""
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24  # G of Lavin & Gray
IMAGE = np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
                  [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]])  # B transposed
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])  # A transposed


def accelerated(network: keras.Model, gradient: bool = False) -> keras.Model:
    """A copy of ``network`` with its present weights, as constants: the same outputs, float32 rounding apart. Where
    TensorFlow sees a GPU, ``network`` itself. ``gradient``: that of its input will be wanted, so it is fast, too."""
    if tf.config.list_physical_devices("GPU"):
        return network
    return keras.models.clone_model(network, recursive=True,
                                    clone_function=lambda layer: Winograd(layer, gradient) if suits(layer) else layer)


def suits(layer: keras.Layer) -> bool:
    """Whether ``layer`` is a 3 x 3 'same' ReLU convolution of stride 1 in float32 with enough channels."""
    return (isinstance(layer, layers.Conv2D) and layer.compute_dtype == "float32" and layer.kernel_size == (3, 3)
            and layer.padding == "same" and layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1
            and layer.activation is keras.activations.relu and min(layer.kernel.shape[2:]) >= CHANNELS)


class Winograd(layers.Layer):
    """A 3 x 3 'same' convolution with ReLU and the weights of ``convolution``, as constants: (batch, rows, columns,
    channels) -> (batch, rows, columns, filters).

    ``gradient``: that of the input by Winograd, too; TensorFlow's own way back through the transforms takes twice as long as
    a direct convolution. It costs as much memory again, and TensorFlow keeps for ever every graph that was made with it.
    """

    def __init__(self, convolution: layers.Conv2D, gradient: bool = False):
        super().__init__(name=convolution.name, trainable=False)
        kernel, bias = convolution.get_weights()
        self.filters, self.kernels, self.bias = convolution.filters, _transformed(kernel), tf.constant(bias)
        self.backwards = _transformed(kernel[::-1, ::-1].transpose(0, 1, 3, 2)) if gradient else None

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def call(self, images):
        return self._forward(images) if self.backwards is None else tf.custom_gradient(self._both)(images)

    def _forward(self, images):
        found = _correlation(images, self.kernels)
        found.set_shape((*images.shape[:3], self.filters))
        return tf.nn.relu(found + self.bias)

    def _both(self, images):
        outputs = self._forward(images)

        def gradient(upstream):
            found = _correlation(tf.where(outputs > 0, upstream, 0.0), self.backwards)
            found.set_shape(images.shape)
            return found

        return outputs, gradient


def _transformed(kernel: np.ndarray) -> tf.Tensor:
    """(3, 3, channels, filters) -> (36, channels, filters), a tensor: graphs would copy an array."""
    both = tf.matmul(_constant(KERNEL), kernel.reshape(kernel.shape[0] * kernel.shape[1], -1))
    return tf.reshape(both, (WINDOW**2, *kernel.shape[2:]))


@tf.function(input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec((WINDOW**2, None, None))], autograph=False)
def _correlation(images, kernels):
    """(batch, rows, columns, channels) by (36, channels, filters) -> (batch, rows, columns, filters). A graph of any shapes,
    made once: each layer of each network calls it, and TensorFlow puts it in their graphs where it runs them."""
    batch, rows, columns, _ = tf.unstack(tf.shape(images))
    _, channels, filters = tf.unstack(tf.shape(kernels))
    down, across = -(-rows // TILE), -(-columns // TILE)
    tiles = _windows(images, down, across)  # (6, 6, batch, down, across, channels)
    sums = tf.matmul(_constant(IMAGE), tf.reshape(tiles, (WINDOW**2, -1)))
    products = tf.matmul(tf.reshape(sums, (WINDOW**2, -1, channels)), kernels)
    outputs = tf.matmul(_constant(OUTPUT), tf.reshape(products, (WINDOW**2, -1)))
    outputs = tf.transpose(tf.reshape(outputs, (TILE, TILE, batch, down, across, filters)), (2, 3, 0, 4, 1, 5))
    return tf.reshape(outputs, (batch, TILE * down, TILE * across, filters))[:, :rows, :columns]


def _windows(images, down, across):
    """The 6 x 6 pixels that each tile of 4 x 4 needs; zeros stand around the image."""
    batch, rows, columns, channels = tf.unstack(tf.shape(images))
    below, right = TILE * (down + 1) - rows - 1, TILE * (across + 1) - columns - 1
    padded = tf.pad(images, [(0, 0), (1, below), (1, right), (0, 0)])
    parts = tf.reshape(padded, (batch, down + 1, TILE, across + 1, TILE, channels))
    more = WINDOW - TILE
    parts = tf.concat([parts[:, :-1], parts[:, 1:, :more]], axis=2)
    parts = tf.concat([parts[:, :, :, :-1], parts[:, :, :, 1:, :more]], axis=4)
    return tf.transpose(parts, (2, 4, 0, 1, 3, 5))


def _constant(transform: np.ndarray) -> tf.Tensor:
    """A transform of rows and columns as one matrix."""
    return tf.constant(np.kron(transform, transform), tf.float32)
