"""Winograd's form of the convolutions against TensorFlow's own, forward and backward, and inside both networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from lib.networks import winograd
from lib.networks.unet import unet
from lib.networks.winograd import CHANNELS, Winograd, accelerated, suits
from lib.perceptual import presets
from lib.perceptual.configuration import LossConfiguration
from lib.perceptual.encoders import encoder, network


def convolution(channels, filters, **options):
    layer = layers.Conv2D(filters, 3, **({"padding": "same", "activation": "relu", "bias_initializer": "normal"} | options))
    layer.build((None, None, None, channels))
    return layer


def both(layer, images, upstream):
    """Output, and the gradient of the input where ``upstream`` arrives."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = layer(images)
    return output, tape.gradient(output, images, output_gradients=upstream)


@pytest.mark.parametrize("shape", [(2, 16, 20), (1, 1, 7), (3, 2, 1), (1, 5, 9), (2, 7, 4)])
@pytest.mark.parametrize(("channels", "filters"), [(32, 48), (3, 2)])
@pytest.mark.parametrize("fast", [True, False])
def test_equals_the_direct_convolution_and_its_gradient(shape, channels, filters, fast):
    direct, random = convolution(channels, filters), np.random.default_rng(0)
    images, upstream = (tf.constant(random.normal(size=(*shape, each)), tf.float32) for each in (channels, filters))
    before = tf.nn.conv2d(images, direct.kernel, 1, "SAME") + direct.bias
    upstream = tf.where(tf.abs(before) > 1e-3, upstream, 0.0)  # elsewhere rounding may turn the ReLU
    pair = Winograd(direct, fast), direct
    (output, gradient), (plain, plain_gradient) = (both(layer, images, upstream) for layer in pair)
    assert output.shape == plain.shape and np.any(plain == 0) and np.any(plain_gradient != 0)
    np.testing.assert_allclose(output, plain, atol=2e-5 * max(1.0, np.max(plain)))
    np.testing.assert_allclose(gradient, plain_gradient, atol=2e-5 * np.abs(plain_gradient).max())


def test_the_gradient_in_a_compiled_step():
    direct, random = convolution(5, 7, bias_initializer=keras.initializers.Constant(3.0)), np.random.default_rng(1)
    fast, step = Winograd(direct, gradient=True), tf.function(both)
    for rows, columns in ((9, 6), (4, 11)):
        pair = [tf.constant(random.normal(0, 0.2, (2, rows, columns, each)), tf.float32) for each in (5, 7)]
        for ours, plain in zip(step(fast, *pair), step(direct, *pair), strict=True):
            np.testing.assert_allclose(ours, plain, atol=2e-5 * np.abs(plain).max())


@pytest.mark.parametrize("layer", [
    convolution(CHANNELS, CHANNELS - 1), convolution(CHANNELS - 1, CHANNELS), *(convolution(CHANNELS, CHANNELS, **options)
    for options in ({"padding": "valid"}, {"strides": 2}, {"dilation_rate": 2}, {"activation": "tanh"}, {"groups": 2},
                    {"dtype": "mixed_float16"})), layers.MaxPooling2D(2),
])
def test_other_layers_stay(layer):
    assert not suits(layer) and suits(convolution(CHANNELS, CHANNELS))


def winograds(model):
    return sum(isinstance(layer, Winograd) for layer in model._flatten_layers())


def test_the_whole_network_within_float32_rounding():
    """Farther from float64 than TensorFlow's direct convolutions are: by less than a factor of four."""
    model = unet(32, seed=3)
    for layer in model.layers:
        if layer.get_weights():
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * np.float32(1.5), bias + np.float32(0.01)])
    precise = keras.models.clone_model(model, clone_function=lambda layer: type(layer).from_config(
        layer.get_config() | {"dtype": "float64"}))
    precise.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(0.3, 0.1, (2, 48, 80, 1))
    truth = np.asarray(precise.predict_on_batch(images))
    fast = accelerated(model)
    assert winograds(fast) == 9
    errors = {name: np.sqrt(np.mean((np.asarray(each.predict_on_batch(images.astype(np.float32))) - truth) ** 2))
              for name, each in (("direct", model), ("fast", fast))}
    assert truth.std() > 0.02 and errors["fast"] < 4 * errors["direct"] < 4e-5
    again = fast.predict_on_batch(images.astype(np.float32))
    np.testing.assert_array_equal(again, fast.predict_on_batch(images.astype(np.float32)))


@pytest.mark.parametrize("loss", [presets.paper()["E2"], LossConfiguration(
    "vgg19", "ImageNet", ["block3_conv2", "block5_conv4"], preprocessing="caffe", input_range=(0, 255))])
def test_an_encoder_in_the_loss_with_the_same_gradient(loss):
    keras.utils.set_random_seed(2)
    plain = encoder(loss, model=network("vgg19"))
    fast = accelerated(plain, gradient=True)
    assert winograds(fast) == 13 and not fast.trainable_variables and winograds(plain) == 0
    images = tf.constant(np.random.default_rng(0).uniform(0.2, 0.4, (1, 32, 48, 1)), tf.float32)
    found = []
    for model in (plain, fast):
        with tf.GradientTape() as tape:
            tape.watch(images)
            features = model(images)
            value = tf.add_n([tf.reduce_mean(each) for each in (features if isinstance(features, list) else [features])])
        found.append((float(value), np.asarray(tape.gradient(value, images))))
    (value, gradient), (quick, quick_gradient) = found
    assert value > 0 and quick == pytest.approx(value, rel=1e-4)
    assert np.linalg.norm(quick_gradient - gradient) < 1e-2 * np.linalg.norm(gradient)  # a ReLU may turn at zero


def test_a_gpu_keeps_its_own_kernels(monkeypatch):
    model = keras.Sequential([keras.Input((8, 8, CHANNELS)), convolution(CHANNELS, CHANNELS)])
    monkeypatch.setattr(winograd.tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert accelerated(model) is model
