"""Winograd's form of the convolutions against TensorFlow's own, and inside the U-Net."""

import keras
import numpy as np
import pytest
from keras import layers

from lib.networks import winograd
from lib.networks.unet import unet
from lib.networks.winograd import Winograd, accelerated, suits


def convolution(channels, filters, **options):
    layer = layers.Conv2D(filters, 3, **({"padding": "same", "activation": "relu", "bias_initializer": "normal"} | options))
    layer.build((None, None, None, channels))
    return layer


@pytest.mark.parametrize("shape", [(2, 16, 20), (1, 1, 7), (3, 2, 1), (1, 5, 9), (2, 7, 4)])
@pytest.mark.parametrize(("channels", "filters"), [(32, 48), (3, 2)])
def test_equals_the_direct_convolution(shape, channels, filters):
    direct = convolution(channels, filters)
    images = np.random.default_rng(0).normal(size=(*shape, channels)).astype(np.float32)
    ours, theirs = np.asarray(Winograd(direct)(images)), np.asarray(direct(images))
    assert ours.shape == theirs.shape and theirs.max() > 0
    np.testing.assert_allclose(ours, theirs, atol=4e-6 * max(1.0, theirs.max()))


@pytest.mark.parametrize("layer", [
    convolution(32, 31), convolution(31, 32), convolution(32, 32, padding="valid"), convolution(32, 32, strides=2),
    convolution(32, 32, dilation_rate=2), convolution(32, 32, activation="tanh"), convolution(64, 64, groups=2),
    convolution(32, 32, dtype="mixed_float16"), layers.MaxPooling2D(2),
])
def test_other_layers_stay(layer):
    assert not suits(layer) and suits(convolution(32, 32))


def test_the_whole_network_within_float32_rounding(monkeypatch):
    """No farther from float64 than TensorFlow's direct convolutions are, within a factor of two."""
    network = unet(32, seed=3)
    for layer in network.layers:
        if layer.get_weights():
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * np.float32(1.5), bias + np.float32(0.01)])
    precise = keras.models.clone_model(network, clone_function=lambda layer: type(layer).from_config(
        layer.get_config() | {"dtype": "float64"}))
    precise.set_weights(network.get_weights())
    images = np.random.default_rng(0).normal(0.3, 0.1, (2, 48, 80, 1))
    truth = np.asarray(precise.predict_on_batch(images))
    fast = accelerated(network)
    assert sum(isinstance(layer, Winograd) for layer in fast.layers) == 17
    errors = {name: np.sqrt(np.mean((np.asarray(each.predict_on_batch(images.astype(np.float32))) - truth) ** 2))
              for name, each in (("direct", network), ("fast", fast))}
    assert truth.std() > 0.02 and errors["fast"] < 2 * errors["direct"] < 2e-5
    again = fast.predict_on_batch(images.astype(np.float32))
    np.testing.assert_array_equal(again, fast.predict_on_batch(images.astype(np.float32)))


def test_a_gpu_keeps_its_own_kernels(monkeypatch):
    network = keras.Sequential([keras.Input((8, 8, 32)), convolution(32, 32)])
    monkeypatch.setattr(winograd.tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert accelerated(network) is network
