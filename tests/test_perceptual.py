"""The heart: known answers from algebra and from the paper's own numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.denoiser.model import Denoiser
from lib.networks.unet import unet
from lib.paper import published
from lib.perceptual import (
    LambdaRule,
    LossConfiguration,
    PerceptualInfluence,
    PerceptualLoss,
    TotalLoss,
    calibrate,
    decade,
    encoders,
    lambda_star,
    presets,
    psi,
    psi_algorithm2,
)
from lib.perceptual.balance import encodings, pair_losses
from lib.perceptual.losses import distance

RANDOM = np.random.default_rng(3)
MSE, PL = RANDOM.uniform(1e-4, 1e-2, 37), RANDOM.uniform(1, 500, 37)


ONE = LossConfiguration("vgg19", None, ("features",))


def two_layers(**fields) -> LossConfiguration:
    """Of a small VGG-16 without weights of its own: one layer after a convolution, one after a pooling."""
    return LossConfiguration("vgg16", None, {"block1_pool": 2.0, "block2_conv1": 0.5}, **fields)


@pytest.fixture(scope="module")
def vgg16() -> keras.Model:
    keras.utils.set_random_seed(4)
    return encoders.network("vgg16")


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    """A small frozen encoder with odd geometry: features (batch, rows / 2, columns / 2, 5)."""
    image = keras.Input((None, None, 1))
    features = keras.layers.Conv2D(5, 3, strides=2, activation="relu",
                                   kernel_initializer=keras.initializers.GlorotUniform(seed=1))(image)
    network = keras.Model(image, features)
    network.trainable = False
    return network


@pytest.mark.parametrize("target", [0.01, 0.5, 0.95, 0.999])
def test_lambda_star_gives_the_wanted_psi(target):
    assert psi_algorithm2(MSE, PL, lambda_star(MSE, PL, target)) == pytest.approx(target, abs=1e-12)


def test_psi_rises_with_lambda_from_0_to_1():
    lambdas = np.concatenate([[0.0], np.logspace(-12, 6, 200)])
    for share in (psi, psi_algorithm2):
        values = share(MSE, PL, lambdas)
        assert values[0] == 0 and values[-1] > 0.999999 and (np.diff(values) > 0).all()


def test_eq5_and_algorithm2_agree_when_all_pairs_are_alike_and_not_otherwise():
    alike = np.full(7, 3e-3), np.full(7, 11.0)
    proportional = MSE, 42.0 * MSE
    for pair in (alike, proportional):
        assert psi(*pair, 1e-2) == pytest.approx(psi_algorithm2(*pair, 1e-2), abs=1e-14)
    assert abs(psi(MSE, PL, 1e-4) - psi_algorithm2(MSE, PL, 1e-4)) > 0.01


def test_eq5_by_hand():
    # shares 1/2 and 9/10; ratio of sums (1 + 9) / (2 + 10)
    assert psi([1.0, 1.0], [1.0, 9.0], 1.0) == pytest.approx(0.7)
    assert psi_algorithm2([1.0, 1.0], [1.0, 9.0], 1.0) == pytest.approx(10 / 12)
    # a pair without losses has no share; one without a pixel term has all of it from the first lambda on
    np.testing.assert_allclose(psi([1.0, 0.0, 1.0], [1.0, 0.0, 9.0], [0.0, 1.0]), [0, 0.7])
    np.testing.assert_allclose(psi([1.0, 0.0], [1.0, 2.0], [0.0, 1.0]), [0, 0.75])


@pytest.mark.parametrize(("name", "exact"), [("E1", 4.36e-6), ("E2", 4.60e-3), ("E3", 1.87e-5), ("E4", 2.54e-4)])
def test_published_losses_give_the_papers_lambdas(name, exact):
    found = lambda_star(*published.PUBLISHED_LOSSES[name][10])
    assert found == pytest.approx(exact, rel=2e-3)
    assert decade(found) == published.LAMBDAS[name]


def test_published_lambdas_give_the_psi_that_the_facts_state():
    found = [psi_algorithm2(*published.PUBLISHED_LOSSES[name][10], published.LAMBDAS[name])
             for name in published.PUBLISHED_LOSSES]
    np.testing.assert_allclose(found, [0.978, 0.976, 0.910, 0.882], atol=5e-4)


@pytest.mark.parametrize(("value", "power"), [(3.1e-4, 1e-4), (3.2e-4, 1e-3), (1.0, 1.0), (9e-8, 1e-7), (40.0, 100.0)])
def test_decades_round_in_log10(value, power):
    assert decade(value) == power


def test_what_has_no_decade_is_refused():
    for wrong in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"lambda_: {wrong} has no nearest power of ten"):
            decade(wrong)


def test_losses_are_means_per_image(encoder):
    a, b = (RANDOM.random((3, 21, 13, 1)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(distance(a, b), ((a - b) ** 2).mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(distance(a, b, "l1", "sum"), np.abs(a - b).sum(axis=(1, 2, 3)), rtol=1e-5)
    fa, fb = np.asarray(encoder(a)), np.asarray(encoder(b))
    np.testing.assert_allclose(distance(fa, fb), ((fa - fb) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_perceptual_loss_is_zero_for_equal_images_and_knows_no_batch_order(encoder):
    loss = TotalLoss(ONE, 0.5, encoder)
    a, b = (RANDOM.random((5, 18, 34, 1)).astype(np.float32) for _ in range(2))
    assert float(np.max(loss.parts(a, a).perceptual)) == 0.0
    order = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(np.asarray(loss.parts(a, b).perceptual)[order],
                                  np.asarray(loss.parts(a[order], b[order]).perceptual))


def test_total_loss_is_eq4_and_needs_an_encoder_only_for_a_perceptual_term(encoder):
    a, b = (RANDOM.random((4, 16, 16, 1)).astype(np.float32) for _ in range(2))
    parts = TotalLoss(ONE, 0.3, encoder).parts(a, b)
    expected = float(np.mean(parts.pixel) + 0.3 * np.mean(parts.perceptual))
    assert float(TotalLoss(ONE, 0.3, encoder)(a, b)) == pytest.approx(expected, rel=1e-5)
    assert float(PerceptualLoss(ONE, encoder)(a, b)) == pytest.approx(float(np.mean(parts.perceptual)), rel=1e-5)
    control = LossConfiguration(None, lambda_=0.0)
    assert float(TotalLoss(control)(a, b)) == pytest.approx(float(np.mean(parts.pixel)), rel=1e-6)
    with pytest.raises(ValueError, match="needs an encoder"):
        TotalLoss(control, 0.3)
    with pytest.raises(ValueError, match="lambda_: this loss calibrates its lambda"):
        TotalLoss(ONE, encoder=encoder)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"lambda_: {float(wrong)} is no weight"):
            TotalLoss(ONE, wrong, encoder)


def test_no_gradient_reaches_the_target_or_the_encoder(encoder):
    target, output = (tf.Variable(RANDOM.random((1, 16, 16, 1)).astype(np.float32)) for _ in range(2))
    with tf.GradientTape() as tape:
        pl = TotalLoss(ONE, 1.0, encoder).parts(target, output).perceptual
    to_target, to_output = tape.gradient(pl, [target, output])
    assert to_target is None and float(tf.norm(to_output)) > 0
    assert encoder.trainable_weights == []


def test_features_computed_once_give_the_same_terms(encoder):
    target, output = (RANDOM.random((3, 21, 13, 1)).astype(np.float32) for _ in range(2))
    loss = TotalLoss(ONE, 1.0, encoder)
    once, each = loss.parts((target, encoder(target)), output), loss.parts(target, output)
    np.testing.assert_array_equal(np.asarray(once), np.asarray(each))


def test_psi_metric_accumulates_as_algorithm2_and_counts_each_pair_with_its_own_lambda():
    metric = PerceptualInfluence()
    mse, pl = MSE.astype(np.float32), PL.astype(np.float32)
    for part in np.array_split(np.arange(37), 5):
        metric.update_state(mse[part], np.float32(1e-4) * pl[part])
    assert float(metric.result()) == pytest.approx(float(psi_algorithm2(MSE, PL, 1e-4)), rel=1e-5)
    metric.reset_state()
    assert np.isnan(float(metric.result()))
    for lambda_ in (0.25, 1.0):  # 1 of 1 + 1 and 4 of 1 + 4
        metric.update_state(np.float32([1.0]), np.float32([lambda_ * 4.0]))
    assert float(metric.result()) == pytest.approx(5 / 7)


def test_several_layers_are_a_weighted_sum_of_any_keras_layers(vgg16):
    a, b = (RANDOM.random((2, 16, 24, 1)).astype(np.float32) for _ in range(2))
    loss = PerceptualLoss(two_layers(distance="l1"), encoders.encoder(two_layers(), model=vgg16))
    inner = keras.Model(vgg16.inputs[0], [vgg16.get_layer(name).output for name in ("block1_pool", "block2_conv1")])
    fa, fb = (inner(np.repeat(each, 3, axis=-1) * 255) for each in (a, b))
    expected = sum(weight * np.abs(np.asarray(x) - np.asarray(y)).mean()
                   for weight, x, y in zip((2.0, 0.5), fa, fb, strict=True))
    assert float(loss(a, b)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("preprocessing", "input_range", "reference"), [
    ("caffe", (0, 255), lambda rgb: keras.applications.vgg16.preprocess_input(255 * rgb)),
    ("torch", (0, 1), lambda rgb: (rgb - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ("none", (-1, 1), lambda rgb: 2 * rgb - 1),
])
def test_preprocessing_is_keras_and_torchvisions(vgg16, preprocessing, input_range, reference):
    image = RANDOM.random((1, 16, 16, 1)).astype(np.float32)
    chosen = two_layers(preprocessing=preprocessing, input_range=input_range)
    found = encoders.encoder(chosen, ["block2_conv1"], vgg16)(image)
    inner = keras.Model(vgg16.inputs[0], vgg16.get_layer("block2_conv1").output)
    expected = inner(reference(np.repeat(image, 3, axis=-1)).astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * float(np.max(expected)))


def test_an_unknown_layer_names_those_that_are_there(vgg16):
    with pytest.raises(ValueError, match="layers: vgg16 has no layer block9_conv9, choose from block1_conv1, .*block5_pool"):
        encoders.encoder(two_layers(), ["block9_conv9"], vgg16)


def test_pixel_term_with_its_own_distance_and_multiplier(vgg16):
    a, b = (RANDOM.random((2, 16, 16, 1)).astype(np.float32) for _ in range(2))
    loss = TotalLoss(two_layers(pixel="l1", pixel_weight=100.0), 0.1, encoders.encoder(two_layers(), model=vgg16))
    np.testing.assert_allclose(loss.parts(a, b).pixel, 100 * np.abs(a - b).mean(axis=(1, 2, 3)), rtol=1e-5)
    without = TotalLoss(two_layers(pixel=None), 0.1, encoders.encoder(two_layers(), model=vgg16)).parts(a, b)
    np.testing.assert_array_equal(np.asarray(without.total), np.asarray(without.weighted))


def test_calibrate_gives_the_lambda_at_which_the_loss_has_the_wanted_psi(vgg16):
    ldct, ndct = (RANDOM.random((6, 16, 16, 1)).astype(np.float32) for _ in range(2))
    loss = TotalLoss(two_layers(), 0.0, encoders.encoder(two_layers(), model=vgg16))
    found = calibrate(lambda x, training=None: 0.5 * x, loss, [(ldct[:4], ndct[:4]), (ldct[4:], ndct[4:])], target=0.8)
    assert found.pixel.shape == found.perceptual.shape == (6,)
    assert float(found.psi_algorithm2(found.lambda_star)) == pytest.approx(0.8)
    loss.lambda_.assign(found.lambda_star)
    parts = loss.parts(ndct, 0.5 * ldct)
    assert float(np.sum(parts.weighted) / np.sum(parts.total)) == pytest.approx(0.8, rel=1e-5)
    with pytest.raises(ValueError, match="without a perceptual term"):
        calibrate(lambda x, training=None: x, TotalLoss(LossConfiguration(None, lambda_=0.0)), [(ldct, ndct)])
    with pytest.raises(ValueError, match="pairs: there are none"):
        calibrate(lambda x, training=None: x, loss, [])


def test_losses_that_share_an_encoder_are_measured_in_one_pass(vgg16):
    assert {each.weights: names for each, names in encodings(presets.paper().values()).items()} == {
        "ImageNet": ("block5_conv4", "block3_conv2"), "Medical": ("block3_conv2", "block5_conv4")}
    losses = [two_layers(), two_layers(distance="l1", pixel="l1"), LossConfiguration(None, lambda_=0.0)]
    encoder = encoders.encoder(two_layers(), model=vgg16)
    ldct, ndct = (RANDOM.random((3, 16, 16, 1)).astype(np.float32) for _ in range(2))
    measure = pair_losses([lambda x, training=None: x], losses, {two_layers().encoding: encoder})
    parts = [TotalLoss(each, float(each.encoder is not None), encoder).parts(ndct, ldct) for each in losses]
    expected = np.stack([np.stack([each.pixel, each.perceptual], axis=-1) for each in parts], axis=1)
    np.testing.assert_allclose(measure(ldct, ndct)[0], expected, rtol=1e-5)
    known = [[None, encoder(ndct)[1]]]  # one layer's target features are there already
    first = encoders.encoder(two_layers(), ["block1_pool"], vgg16)
    partly = pair_losses([lambda x, training=None: x], losses, {two_layers().encoding: encoder},
                         {two_layers().encoding: first})
    np.testing.assert_allclose(partly(ldct, ndct, known)[0], measure(ldct, ndct)[0], rtol=1e-5)


def test_fit_reports_the_terms_and_saves_the_unet_and_lambda(encoder, tmp_path):
    denoiser = Denoiser(unet(2, seed=1), TotalLoss(ONE, 0.1, encoder))
    denoiser.compile(keras.optimizers.SGD(0.0), jit_compile=False)  # nothing changes: terms can be checked
    ldct, ndct = (RANDOM.random((6, 32, 16, 1)).astype(np.float32) for _ in range(2))
    data = tf.data.Dataset.from_tensor_slices((ldct, ndct)).batch(2)
    logs = {name: values[0] for name, values in denoiser.fit(data, verbose=0, shuffle=False).history.items()}
    parts = denoiser.total.parts(ndct, denoiser(ldct))
    mse, pl = np.asarray(parts.pixel), np.asarray(parts.perceptual)
    assert logs["mse"] == pytest.approx(mse.mean(), rel=1e-5)
    assert logs["pl"] == pytest.approx(pl.mean(), rel=1e-5)
    assert logs["loss"] == pytest.approx((mse + 0.1 * pl).mean(), rel=1e-5)
    assert logs["psi"] == pytest.approx(float(psi_algorithm2(mse, pl, 0.1)), rel=1e-5)
    kernels = {id(weight) for weight in encoder.weights}
    assert not kernels & {id(weight) for weight in denoiser.weights}
    denoiser.lambda_.assign(0.25)
    denoiser.save_weights(tmp_path / "a.weights.h5")
    other = Denoiser(unet(2, seed=2), TotalLoss(ONE, 0.1, encoder))
    other.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    other.build((None, 32, 16, 1))
    other.load_weights(tmp_path / "a.weights.h5")
    assert float(other.total.lambda_) == 0.25, "lambda is checkpointed with the model"


def test_a_callback_moves_lambda_and_the_next_step_trains_with_it(encoder):
    class Move(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.lambda_.assign(2.0 * self.model.lambda_)

    def step(lambda_, callbacks=()):
        denoiser = Denoiser(unet(2, seed=1), TotalLoss(ONE, lambda_, encoder))
        denoiser.compile(keras.optimizers.SGD(1e-2), jit_compile=False)
        ldct, ndct = np.random.default_rng(5).random((2, 2, 32, 16, 1)).astype(np.float32)
        data = tf.data.Dataset.from_tensor_slices((ldct, ndct)).batch(2).repeat()
        denoiser.fit(data, steps_per_epoch=1, epochs=2, verbose=0, shuffle=False, callbacks=list(callbacks))
        return denoiser

    moved, fixed = step(0.1, [Move()]), step(0.1)
    assert float(moved.total.lambda_) == pytest.approx(0.4) and float(fixed.total.lambda_) == pytest.approx(0.1)
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(moved.unet.weights, fixed.unet.weights, strict=True))


def test_keras_restores_a_loss_from_its_configuration():
    loss = TotalLoss(LossConfiguration("vgg16", None, ("block1_conv1",)), 0.5)
    again = TotalLoss.from_config(loss.get_config())
    assert again.configuration == loss.configuration and float(again.lambda_) == 0.5


@pytest.mark.parametrize("name", list(presets.paper()))
def test_a_configuration_is_plain_data_and_back(name):
    loss = presets.paper()[name]
    assert LossConfiguration.from_dict(loss.as_dict()) == loss


def test_the_papers_losses_are_six_values():
    paper = presets.paper()
    assert {name: (loss.weights, loss.layer_names) for name, loss in paper.items()} == {
        "mse": (None, ()), "baseline": ("ImageNet", ("block5_conv4",)), "E1": ("ImageNet", ("block3_conv2",)),
        "E2": ("ImageNet", ("block5_conv4",)), "E3": ("Medical", ("block3_conv2",)), "E4": ("Medical", ("block5_conv4",))}
    assert [name for name, loss in paper.items() if loss.lambda_.calibrated] == ["E1", "E2", "E3", "E4"]
    assert paper["baseline"].lambda_ == LambdaRule(0.1) and paper["mse"].lambda_ == LambdaRule(0.0)
    assert presets.paper("vgg16")["E4"].layer_names == ("block5_conv3",)


@pytest.mark.parametrize(("fields", "message"), [
    ({"layers": []}, "layers: name at least one"), ({"layers": {"a": 0}}, "layers: .*positive weight"),
    ({"layers": "a", "distance": "l2"}, "distance: 'l2', choose one of mse, l1"),
    ({"layers": "a", "lambda": -1}, "lambda: -1.0 is no weight"),
    ({"layers": "a", "lambda": "often"}, "lambda: 'often', expected"),
    ({"layers": "a", "lambda": {"psi": 1.5}}, "lambda.psi: 1.5"), ({"layers": "a", "lambda": {"phi": 1}}, "lambda: .*psi"),
    ({"layers": "a", "input_range": [1, 0]}, "input_range: .*two rising numbers"),
    ({"layer": "a"}, "layer: no field of a loss"),
    ({"encoder": None, "layers": "a"}, "encoder: a loss without one"), ({"layers": "a", "pixel": "psnr"}, "pixel: 'psnr'"),
    ({"layers": 5}, "layers: 5, expected names"), ({"layers": {"a": float("inf")}}, "layers: .*positive weight"),
    ({"layers": "a", "pixel_weight": "2"}, "pixel_weight: '2', expected 0 or a positive number"),
    ({"layers": "a", "pixel_weight": float("inf")}, "pixel_weight: inf"),
    ({"layers": "a", "pixel": "huber", "huber_delta": "x"}, "huber_delta: 'x', expected a positive number"),
    ({"layers": "a", "pixel_more": 5}, "pixel_more: 5, expected names"), ({"encoder": ["a"]}, r"encoder: \['a'\], expected"),
    ({"layers": "a", "lambda": {"moves": {"rule": "held", "target": "x"}}}, "lambda.moves.target: 'x', expected a number"),
    ({"layers": "a", "lambda": {"moves": {"rule": ["held"]}}}, "lambda.moves.rule: .*choose one of fixed"),
    ({"layers": "a", "weights": 5}, "weights: 5, expected a name, or null"),
    ({"layers": "a", "lambda": {"moves": 5}}, "lambda.moves: 5, expected a rule"),
    ({"layers": "a", "lambda": {"value": "x"}}, "lambda: x is no weight"),
    ({"layers": "a", "lambda": {"psi": "x"}}, "lambda.psi: x, expected a share"),
    ({"layers": "a", "adversarial": True}, "adversarial: True, expected its fields"),
    ({"layers": "a", "adversarial": {"weight": "x"}}, "adversarial.weight: 'x', expected 0 or a positive number"),
    ({"layers": "a", "input_range": [0, float("inf")]}, "input_range: .*two rising numbers"),
    ({"layers": "a", "pixel_weight": -1}, "pixel_weight: -1"), ({"layers": {"a": "much"}}, "layers: .*expected names"),
])
def test_a_wrong_configuration_names_the_field(fields, message):
    with pytest.raises(ValueError, match=message):
        LossConfiguration.from_dict(fields)
