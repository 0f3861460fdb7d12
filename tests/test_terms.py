"""Pixel terms, distances, preprocessing and layers before the ReLU: known answers from NumPy, Keras and scikit-image."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import structural_similarity

from lib.perceptual import LossConfiguration, PerceptualLoss, encoders
from lib.perceptual.losses import distance, layered_distance, of_unit_length, pixel_gradient, pixel_term

RNG = np.random.default_rng(11)


def images(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(RNG.uniform(0, 1, shape).astype(np.float32) for _ in range(2))


def pixel_only(pixel, **fields) -> LossConfiguration:
    return LossConfiguration(encoder=None, lambda_=0, pixel=pixel, **fields)


@pytest.fixture(scope="module")
def chain() -> keras.Model:
    """Two convolutions in VGG's form."""
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="one", bias_initializer="normal")(image)
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    return keras.Model(image, keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="two")(x))


def test_huber_and_charbonnier_are_kerass_and_algebras():
    f, y = images(3, 5, 7, 1)
    huber = pixel_term(pixel_only("huber", huber_delta=0.2, pixel_weight=3.0), y, f)
    expected = [keras.losses.Huber(0.2)(y[n], f[n]) for n in range(3)]
    np.testing.assert_allclose(huber, 3 * np.array(expected), rtol=1e-5)
    found = pixel_term(pixel_only("charbonnier", charbonnier_epsilon=0.1), y, f)
    np.testing.assert_allclose(found, np.sqrt((f - y) ** 2 + 0.01).mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(pixel_term(pixel_only("charbonnier"), y, y), 1e-3, rtol=1e-5)


def test_ssim_is_scikit_images():
    f, y = images(2, 17, 23, 1)
    found = pixel_term(pixel_only("ssim"), y, f)
    expected = [1 - structural_similarity(a[..., 0], b[..., 0], gaussian_weights=True, sigma=1.5, data_range=1.0,
                                          use_sample_covariance=False) for a, b in zip(f, y, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    with pytest.raises(ValueError, match=r"pixel: ssim needs images of 11 x 11, this is \(10, 23\)"):
        pixel_term(pixel_only("ssim"), y[:, :10], f[:, :10])


def test_several_pixel_terms_add_up():
    f, y = images(2, 13, 12, 1)
    both = pixel_term(pixel_only("l1", pixel_weight=0.5, pixel_more={"ssim": 2.0, "huber": 1.0}), y, f)
    parts = [pixel_term(pixel_only(kind), y, f) for kind in ("l1", "ssim", "huber")]
    np.testing.assert_allclose(both, 0.5 * parts[0] + 2 * parts[1] + parts[2], rtol=1e-5)


@pytest.mark.parametrize(("pixel", "fields"), [
    ("huber", {"huber_delta": 0.1}), ("charbonnier", {"charbonnier_epsilon": 0.05}), ("ssim", {}),
    ("mse", {"pixel_more": {"ssim": 0.3, "charbonnier": 2.0}}),
])  # fmt: skip
def test_the_gradient_in_closed_form_is_autodiffs(pixel, fields):
    loss, (f, y) = pixel_only(pixel, pixel_weight=3.0, **fields), images(3, 14, 19, 1)
    place = tf.constant(f)
    with tf.GradientTape() as tape:
        tape.watch(place)
        value = pixel_term(loss, y, place)
    expected = tape.gradient(value, place).numpy()
    np.testing.assert_allclose(pixel_gradient(loss, y, f), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_features_of_unit_length_as_lpips_has_them():
    """Zhang et al. 2018, Eq. 1 with weights of 1: lengths over channels, squares summed over them, mean over positions."""
    a, b = (RNG.normal(0, 9, (2, 3, 4, 6)).astype(np.float32) for _ in range(2))
    a[0, 1, 2] = 0  # after a ReLU a position may be all 0
    unit = [each / np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1e-9) for each in (a, b)]
    expected = ((unit[0] - unit[1]) ** 2).sum(-1).mean((1, 2))
    loss = LossConfiguration("vgg16", None, {"x": 2.0}, features="unit", reduction="positions")
    np.testing.assert_allclose(layered_distance(loss, [a], [b]), 2 * expected, rtol=1e-5)
    np.testing.assert_allclose(distance(a, b, "l1", "positions"), np.abs(a - b).sum(-1).mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(of_unit_length(b), axis=-1), 1, rtol=1e-5)


def test_the_gradient_of_unit_length_is_finite_where_all_features_are_0():
    dark = tf.zeros((1, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(dark)
        value = of_unit_length(tf.nn.relu(dark))
    assert np.isfinite(tape.gradient(value, dark)).all()


@pytest.mark.parametrize("preprocessing", ["none", "caffe"])
def test_before_the_relu(chain, preprocessing):
    """On both ways through a network: what the ReLU makes of it is the layer's own output, and so is what follows."""
    loss = LossConfiguration("vgg16", None, ("one:before", "one", "two", "two:before"), preprocessing=preprocessing)
    image = images(2, 8, 12, 1)[0]
    before, one, two, last = map(np.array, encoders.encoder(loss, model=chain)(image))
    assert (before < 0).any() and (last < 0).any()
    np.testing.assert_allclose(np.maximum(before, 0), one, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.maximum(last, 0), two, rtol=1e-5, atol=1e-4)
    plain = LossConfiguration("vgg16", None, ("two",), preprocessing=preprocessing)
    np.testing.assert_allclose(encoders.encoder(plain, model=chain)(image), two, rtol=1e-4, atol=1e-3)
    for name, says in (("pool:before", "pool:before, but pool has no activation"), ("x:before", "no layer x:before")):
        with pytest.raises(ValueError, match=says):
            encoders.encoder(loss, [name], chain)


def test_mean_and_sd_of_ones_own(chain):
    own = LossConfiguration("vgg16", None, ("two",), input_range=(0, 4096), preprocessing={"mean": 481.5, "sd": 502.2})
    assert LossConfiguration.from_dict(own.as_dict()) == own and own.as_dict()["preprocessing"]["mean"] == 481.5
    image = images(2, 8, 10, 1)[0]
    rgb = np.repeat((4096 * image - 481.5) / 502.2, 3, axis=-1)
    expected = chain(rgb.astype(np.float32))
    found = encoders.encoder(own, model=chain)(image)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * float(np.max(expected)))


def test_plain_data_and_back():
    loss = LossConfiguration("file", "x.keras", {"a:before": 0.5}, features="unit", reduction="positions", pixel="huber",
                             huber_delta=0.01, pixel_more={"ssim": 0.5}, preprocessing=(0.5, 0.25))
    assert LossConfiguration.from_dict(loss.as_dict()) == loss
    assert loss.pixel_part.terms == (("huber", 1.0), ("ssim", 0.5))


@pytest.mark.parametrize(("fields", "message"), [
    ({"preprocessing": "imagenet"}, "preprocessing: 'imagenet', choose one of none, caffe, torch, or give"),
    ({"preprocessing": {"mean": 1.0}}, "preprocessing: "), ({"preprocessing": [0, 0]}, "preprocessing: "),
    ({"features": "long"}, "features: 'long', choose one of plain, unit"),
    ({"reduction": "max"}, "reduction: 'max'"), ({"pixel_more": {"psnr": 1}}, "pixel_more: 'psnr', choose one of mse"),
    ({"pixel": None, "pixel_more": {"l1": 1}}, "pixel_more: .*beside None"),
    ({"pixel_more": {"mse": 1}}, "pixel_more: .*each once"), ({"pixel_more": {"l1": -1}}, "pixel_more: .*positive weight"),
    ({"huber_delta": 0.1}, "huber_delta: 0.1, but no pixel term is huber"),
    ({"pixel": "huber", "huber_delta": 0}, "huber_delta: 0, expected a positive number"),
])  # fmt: skip
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        LossConfiguration.from_dict({"encoder": "vgg16", "layers": "a"} | fields)


def test_the_papers_losses_are_what_they_were(chain):
    """Mean squares of features of three equal channels in [0, 255], as before there was anything else."""
    loss = PerceptualLoss(LossConfiguration("vgg16", None, ("two",)),
                          encoders.encoder(LossConfiguration("vgg16", None, ("two",)), model=chain))
    f, y = images(2, 8, 10, 1)
    features = [np.array(chain(np.repeat(255 * each, 3, axis=-1)), float) for each in (f, y)]
    np.testing.assert_allclose(loss.call(y, f), ((features[0] - features[1]) ** 2).mean((1, 2, 3)), rtol=1e-4)
