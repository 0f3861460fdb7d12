"""Counted and measured floating point operations of convolutions."""

import math
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

SHAPES = [(96, 32), (96, 64), (48, 128), (24, 256), (12, 512)]  # side, channels in and out: what U-Net and VGG consist of
BURST_S = 0.15


def flops(network: keras.Model, size: int) -> dict[str, int]:
    """Multiplications and additions of direct convolutions for one image: {layer: count}, the forward pass."""
    fixed = keras.models.clone_model(network, input_tensors=keras.Input((size, size, 1)))
    counts = {}
    for layer in fixed.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            pixels = (layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output).shape[1:3]
            counts[layer.name] = 2 * math.prod(pixels) * math.prod(layer.kernel.shape)
    return counts


def step_flops(unet: keras.Model, features: keras.Model, size: int) -> int:
    """Of a training step for one image, the target's features given: U-Net forward and both gradients (its first layer
    has one only), encoder forward and the gradient of its input."""
    counts = flops(unet, size)
    return 3 * sum(counts.values()) - next(iter(counts.values())) + 2 * sum(flops(features, size).values())


def convolutions(batch: int, side: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """3 x 3 convolutions of the sizes that occur: name, operations, work."""
    random = np.random.default_rng(0)
    for full, channels in SHAPES:
        rows = max(4, full * side // 96)
        images = tf.constant(random.random((batch, rows, rows, channels), np.float32))
        kernel = random.random((3, 3, channels, channels), np.float32)
        convolve = tf.function(lambda images, kernel=kernel: tf.nn.conv2d(images, kernel, 1, "SAME"))
        yield (f"{rows} x {rows} x {channels}", 2 * 9 * batch * rows**2 * channels**2,
               lambda convolve=convolve, images=images: convolve(images).numpy())


def burst(operations: int, work: Callable[[], object]) -> float:
    """Best GFLOP/s of the calls within a fraction of a second."""
    work()
    best, begin = 0.0, time.perf_counter()
    while time.perf_counter() - begin < BURST_S:
        start = time.perf_counter()
        work()
        best = max(best, operations / (time.perf_counter() - start) / 1e9)
    return best
