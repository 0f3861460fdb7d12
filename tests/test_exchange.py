"""Gradients and the exchange rate: what algebra says, other trades' own formulas, and what each backend says."""

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from lib import REPOSITORY
from lib.denoiser.model import Denoiser
from lib.perceptual import (
    Exchange,
    GradientShare,
    LossConfiguration,
    PerceptualInfluence,
    PerceptualLoss,
    TotalLoss,
    WeightedSum,
    calibrate,
    exchange,
    psi_algorithm2,
)
from lib.perceptual.losses import distance, pixel_gradient, pixel_term
from lib.perceptual.measure import gradients

RNG = np.random.default_rng(7)
TRADES = ("psi_eq5", "psi_alg2", "gamma_output", "gamma_weights", "gamma_last")


def mse(y, f):
    return distance(f, y)


def mae(y, f):
    return distance(f, y, "l1")


def pairs(*sizes: int, shape=(5, 7, 1)) -> list[tuple[np.ndarray, np.ndarray]]:
    return [tuple(RNG.uniform(0, 1, (size, *shape)).astype(np.float32) for _ in range(2)) for size in sizes]


@pytest.fixture(scope="module")
def scaled() -> keras.Model:
    """f(x) = 0.7 x + 0.1."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    model.set_weights([np.full((1, 1, 1, 1), 0.7, np.float32), np.full(1, 0.1, np.float32)])
    return model


def by_hand(batches) -> tuple[np.ndarray, ...]:
    """Losses, norms at the output, and norms at (weight and bias) and at the weight, of mse and mae with f = 0.7 x + 0.1."""
    values, output, weights, last = [], [], [], []
    for x, y in batches:
        difference = 0.7 * x.astype(float) + 0.1 - y
        slopes = [2 * difference / x[0].size, np.sign(difference) / x[0].size]
        values.append(np.stack([(difference**2).mean((1, 2, 3)), np.abs(difference).mean((1, 2, 3))], 1))
        output.append(np.stack([np.sqrt((each**2).sum((1, 2, 3))) for each in slopes], 1))
        at = np.array([[(each * x).sum() / len(x), each.sum() / len(x)] for each in slopes])
        weights.append(np.linalg.norm(at, axis=1))
        last.append(np.abs(at[:, 0]))
    return np.concatenate(values), np.concatenate(output), np.array(weights), np.array(last)


def test_losses_and_gradients_are_those_of_algebra(scaled):
    batches = pairs(3, 3, 2)  # the last batch is smaller
    found = exchange(scaled, mse, mae, batches)
    for name, expected in zip(("values", "output", "weights", "last"), by_hand(batches), strict=True):
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-4, err_msg=name)
    difference = np.concatenate([0.7 * x + 0.1 - y for x, y in batches]).reshape(8, -1)
    cosine = np.abs(difference).sum(1) / np.linalg.norm(difference, axis=1) / np.sqrt(35)
    np.testing.assert_allclose(found.cosine, cosine, rtol=1e-4)


@pytest.mark.parametrize("factor", [1e-6, 3.0])
def test_a_loss_beside_itself_has_one_share_in_every_trade(scaled, factor):
    found = exchange(scaled, mse, lambda y, f: factor * mse(y, f), pairs(4, 3))
    expected = 5.0 * factor / (1 + 5.0 * factor)
    assert found.row(5.0) == pytest.approx({"lambda": 5.0, **dict.fromkeys(TRADES, expected)} | {
        "vqgan_factor": 5.0 * (factor + 1e-4 / found.last[:, 0].mean())}, rel=1e-3)  # fmt: skip
    np.testing.assert_allclose(found.cosine, 1, rtol=1e-5)
    np.testing.assert_allclose(found.weights_cosine, 1, rtol=1e-5)


@pytest.mark.parametrize("trade", TRADES)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.95, 0.9999])
def test_a_share_and_its_lambda_are_inverse(scaled, trade, share):
    found = exchange(scaled, mse, mae, pairs(4, 4))
    assert found.share(trade, found.lambda_at(trade, share)) == pytest.approx(share, rel=1e-9)
    assert (np.diff(found.share(trade, np.logspace(-9, 9, 50))) > 0).all()


@pytest.mark.parametrize("trade", TRADES[1:])
def test_odds_of_shares_are_proportional(scaled, trade):
    found, lambdas = exchange(scaled, mse, mae, pairs(4, 4)), np.logspace(-3, 3, 7)
    odds = [share / (1 - share) for share in (found.share(trade, lambdas), found.share("psi_alg2", lambdas))]
    np.testing.assert_allclose(odds[0] / odds[1], found.rate(trade), rtol=1e-9)
    with pytest.raises(ValueError, match="it has no rate"):
        found.rate("psi_eq5")


def test_eq5_may_have_a_highest_share():
    """A pair whose b is 0 adds nothing to Eq. 5 at any lambda, one whose a is 0 always 1."""
    found = Exchange(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [2.0, 1.0]]), np.ones((2, 2)), np.ones(2))
    for share in (0.26, 0.4, 0.74):
        assert found.share("psi_eq5", found.lambda_at("psi_eq5", share)) == pytest.approx(share)
    for share in (0.2, 0.8):
        with pytest.raises(ValueError, match=rf"share: {share} cannot be had by Eq. 5, only 0.25 to 0.75"):
            found.lambda_at("psi_eq5", share)
    with_air = Exchange(np.concatenate([found.values, np.zeros((2, 2))]), np.ones((2, 2)), np.ones(2))
    assert with_air.lambda_at("psi_eq5", 0.4) == pytest.approx(found.lambda_at("psi_eq5", 0.4))


def test_vqgans_adaptive_weight_by_its_own_formula(scaled):
    batches = pairs(6)
    norms = by_hand(batches)[3][0]
    assert exchange(scaled, mse, mae, batches).vqgan == pytest.approx(min(norms[0] / (norms[1] + 1e-4), 1e4), rel=1e-4)
    assert Exchange(*np.ones((2, 1, 2)), np.ones(1), np.ones((1, 2)), np.array([[9.0, 0.0]])).vqgan == 1e4


def test_encodecs_balancer_has_gamma_for_its_weight(scaled):
    """Its rule (averages of norms over a batch, then each gradient scaled to its weight's part): lambda is the ratio of the
    two scales."""
    found = exchange(scaled, mse, mae, pairs(6))
    weight, norms = 0.8, found.output.mean(axis=0)
    scales = np.array([1 - weight, weight]) / norms
    assert found.share("gamma_output", scales[1] / scales[0]) == pytest.approx(weight)


def test_a_loss_of_the_whole_batch_is_measured_an_image_at_a_time(scaled):
    batches = pairs(3, 2)
    alone = [(x[i : i + 1], y[i : i + 1]) for x, y in batches for i in range(len(x))]
    expected = exchange(scaled, mse, mae, alone)
    for loss in (keras.losses.mean_absolute_error, keras.losses.MeanAbsoluteError(), lambda y, f: ops.mean(ops.abs(f - y))):
        found = exchange(scaled, mse, loss, batches)
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
        np.testing.assert_allclose(found.output, expected.output, rtol=1e-5)


def test_several_losses_at_once_are_those_one_by_one(scaled):
    batches = pairs(3, 4)
    table = gradients(scaled, lambda y, f: [mse(y, f), mae(y, f), 2 * mse(y, f)], batches)
    one, other = exchange(scaled, mse, mae, batches), table.exchange(1)
    for name in ("values", "output", "cosine", "weights", "last", "weights_cosine"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-6)
    assert table.exchange(2).row(1.0)["gamma_output"] == pytest.approx(2 / 3)


def test_a_function_is_measured_at_its_output():
    found = exchange(lambda x: x, mse, mae, pairs(3), weights=False)
    assert list(found.trades) == ["psi_eq5", "psi_alg2", "gamma_output"] and set(found.row(1.0)) == {"lambda", *found.trades}
    for wrong, says in (("gamma_weights", "not measured, pass weights=True"), ("gamma", "choose one of psi_eq5")):
        with pytest.raises(ValueError, match=says):
            found.share(wrong, 1.0)


@pytest.mark.parametrize(("loss", "says"), [
    (lambda y, f: mae(y, f) * np.nan, "loss_b: nan for pair 0, it is no number"),
    (lambda y, f: mae(y, f) - 9, "loss_b: -8.*a share needs losses of 0 or more"),
    (lambda y, f: mae(y, y) + 3, "loss_b: its gradient is 0 for all 3 pairs, it is constant or not differentiated"),
    (lambda y, f: ops.stop_gradient(mae(y, f)), "loss_b: its gradient is 0 for all 3 pairs"),
    (lambda y, f: ops.sqrt(ops.relu(mae(y, f) - 9)), "loss_b: 0 for pair 0, its gradient is no number"),
    (lambda y, f: mae(y, f) + 0 * np.std(f), "loss_b: it cannot be computed of a network's output .*as keras.ops has"),
    (lambda y, f: mae(y, f) * float(f.numpy().max() > 0), "loss_b: it cannot be computed of a network's output"),
    (lambda y, f: mae(y, f) if mae(y, f)[0] >= 0 else y, "loss_b: it cannot be computed of a network's output"),
    (lambda y, f: ops.ones(2), r"loss_b: its value has the shape \(2,\), expected a number, or one per image"),
])  # fmt: skip
def test_a_loss_that_cannot_be_weighed_is_named(scaled, loss, says):
    with pytest.raises(ValueError, match=says) as error:
        exchange(scaled, mse, loss, pairs(3))
    assert len(str(error.value).splitlines()) == 1


def test_pairs_and_models_that_cannot_be_measured_are_named(scaled):
    x, y = pairs(2)[0]
    frozen = keras.models.clone_model(scaled)
    frozen.trainable = False
    two = keras.Model(scaled.inputs, [scaled.outputs[0], scaled.outputs[0]])
    for model, batches, says in (
        (two, [(x, y)], "model: its output is a list, expected one tensor"),
        (scaled, [], "pairs: there are none"), (frozen, [(x, y)], "model: it has no trainable weights; weights=False"),
        (lambda x: x, [(x, y)], "model: it has no trainable weights"),
        (scaled, [(x, y[:, :4])], r"pairs: the network's output is \(5, 7, 1\), the target \(4, 7, 1\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            exchange(model, mse, mae, batches)


@pytest.mark.parametrize(("pairs_", "says"), [
    ((np.zeros((2, 5, 7, 1)), np.zeros((2, 5, 7, 1))), r"pairs: two arrays, expected batches: pass \[\(images, targets\)\]"),
    (5, "pairs: a int, expected batches"), ([np.zeros((2, 5, 7, 1))], "pairs: batch 0 is a ndarray, expected"),
    ([(1.0, 2.0)], "pairs: batch 0 is of numbers, expected arrays"),
    ([(np.zeros((1, 5, 7, 1)),)], "pairs: batch 0 is 1 parts, expected"),
    ([(np.ones((n, 5, 7, 1)), np.zeros((n, 5, 7, 1))) for n in (1, 0)], "pairs: batch 1 is empty, leave it out"),
    ([(np.zeros((3, 5, 7, 1)), np.zeros((2, 5, 7, 1)))], "pairs: batch 0 has 3 images and 2 targets"),
    ([(np.zeros((1, 5, 7, 1)), np.zeros((1, 5, 7, 1)), np.ones(1))], "pairs: batch 0 has sample weights"),
    ([(np.zeros((1, 5, 7, 1)), np.full((1, 5, 7, 1), np.nan))], "pairs: the targets of batch 0 hold values"),
    ([(np.zeros((1, 5, 7, 1)),) * 2, (np.zeros((1, 5, 7, 1)), np.zeros((1, 5, 7, 3)))],
     r"pairs: the network's output is \(5, 7, 1\), the target \(5, 7, 3\)"),  # of a later batch; it could be broadcast
    ([(np.zeros((1, 5, 7, 3)), np.zeros((1, 5, 7, 3)))], r"pairs: the network takes no images of \(5, 7, 3\)"),
    ([(["a"], np.zeros((1, 5, 7, 1)))], "pairs: a list is no array of numbers of one shape"),
])  # fmt: skip
def test_pairs_that_are_none_are_one_line_everywhere(scaled, pairs_, says):
    for measured in (lambda: exchange(scaled, mse, mae, pairs_), lambda: calibrate(scaled, mae, pairs_, beside=mse)):
        with pytest.raises(ValueError, match=says) as error:
            measured()
        assert len(str(error.value).splitlines()) == 1


class Dataset(keras.utils.PyDataset):
    """Batches by number, without an end to iteration."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, place):
        return self.batches[place % len(self.batches)]


class Loader:
    """As PyTorch's: lists of tensors that have to be detached."""

    class Tensor:
        def __init__(self, values):
            self.values = values

        def detach(self):
            return self

        def cpu(self):
            return self

        def float(self):
            return self.values

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return ([self.Tensor(each) for each in batch] for batch in self.batches)


def test_batches_of_any_kind_are_measured_alike(scaled):
    batches = pairs(4, 4)
    x, y = (np.concatenate(each) for each in zip(*batches, strict=True))
    expected = exchange(scaled, mse, mae, batches)
    for kind in (iter(batches), tf.data.Dataset.from_tensor_slices((x, y)).batch(4), Dataset(batches), Loader(batches),
                 [(a.tolist(), b.astype(float), None) for a, b in batches]):  # fmt: skip
        np.testing.assert_allclose(exchange(scaled, mse, mae, kind).values, expected.values, rtol=1e-6)


@pytest.mark.parametrize("batched", [mae, lambda y, f: ops.mean(ops.abs(f - y)), keras.losses.MeanAbsoluteError()])
def test_any_two_losses_are_calibrated_as_by_hand(scaled, batched):
    batches = pairs(3, 2)
    difference = np.concatenate([0.7 * x.astype(float) + 0.1 - y for x, y in batches])
    found = calibrate(scaled, batched, batches, 0.8, beside=mse)
    assert found.lambda_star == pytest.approx(4 * np.mean(difference**2) / np.mean(np.abs(difference)), rel=1e-5)
    assert found.perceptual.shape == (5,) and found.psi_algorithm2(found.lambda_star) == pytest.approx(0.8)
    assert exchange(scaled, mse, batched, batches).lambda_at("psi_alg2", 0.8) == pytest.approx(found.lambda_star, rel=1e-5)


@pytest.mark.parametrize(("loss", "says"), [
    (lambda y, f: mae(y, f) * np.nan, "loss: nan for pair 0, it is no number"), (lambda y, f: mae(y, f) - 9, "loss: -8"),
    (lambda y, f: 0 * mae(y, f) + 3, "loss: 3 for all 3 pairs, it is constant"),
    (lambda y, f: 0 * mae(y, f), "loss: it is 0 for all 3 pairs"),
    (lambda y, f: ops.matmul(f, ops.ones((2, 2))), "loss: it cannot be computed for images of 5 x 7 x 1"),
])  # fmt: skip
def test_a_loss_that_cannot_be_calibrated_is_named(scaled, loss, says):
    with pytest.raises(ValueError, match=says) as error:
        calibrate(scaled, loss, pairs(3), beside=mse)
    assert len(str(error.value).splitlines()) == 1


def test_what_has_no_pixel_term_needs_a_loss_beside_it(scaled):
    with pytest.raises(ValueError, match="this one has no pixel term; pass the loss that it stands beside"):
        calibrate(scaled, mae, pairs(3))
    with pytest.raises(ValueError, match="target: 1, expected a share between 0 and 1"):
        calibrate(scaled, mae, pairs(3), 1, beside=mse)
    unbuilt = keras.Sequential([keras.layers.Conv2D(1, 1)])
    with pytest.raises(ValueError, match="model: its weights are not there yet"):
        exchange(unbuilt, mse, mae, pairs(3))


def test_an_encoder_too_small_for_the_patch_is_named_with_the_least_side(scaled):
    deep = keras.Sequential([keras.Input((None, None, 1)), *(keras.layers.MaxPooling2D(2) for _ in range(3))])  # 8 x 8
    loss = PerceptualLoss(LossConfiguration("vgg19", None, ("features",)), deep)
    for measured in (lambda small: exchange(scaled, mse, loss, small), lambda small: calibrate(scaled, loss, small)):
        with pytest.raises(ValueError, match="its encoder leaves nothing of images of 7 x 9, pass 8 x 8 or more"):
            measured(pairs(2, shape=(7, 9, 1)))
        measured(pairs(2, shape=(8, 9, 1)))
    with pytest.raises(ValueError, match="loss_b: its encoder takes images of 1 channels, these have 3"):
        exchange(lambda x: x, mse, loss, pairs(2, shape=(8, 8, 3)), weights=False)


def test_an_encoder_of_one_size_is_named_with_it(scaled):
    fixed = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.AveragePooling2D(2)])
    image = keras.Input((None, None, 1))
    for encoder, says in ((fixed, "images of 8 x 8 only, these are 7 x 9"),
                          (keras.Model(image, fixed(image)), "no images of 7 x 9, pass those of its own size")):
        loss = PerceptualLoss(LossConfiguration("vgg19", None, ("features",)), encoder)
        with pytest.raises(ValueError, match=f"loss: its encoder takes {says}"):
            calibrate(scaled, loss, pairs(2, shape=(7, 9, 1)))


def test_plain_keras_logs_both_shares_of_any_two_losses(scaled):
    """Two steps of no length, with an odd shape and three channels in training and validation."""
    batches = pairs(4, 4, shape=(5, 7, 3))
    network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3, padding="same")])
    loss = WeightedSum(mse, keras.losses.MeanAbsoluteError(), 0.3)
    network.compile(keras.optimizers.SGD(0.0), loss, metrics=[PerceptualInfluence(loss=loss), GradientShare(loss=loss)])
    x, y = (np.concatenate(each) for each in zip(*batches, strict=True))
    logs = network.fit(x, y, batch_size=4, shuffle=False, verbose=0, validation_data=(x, y)).history
    found = exchange(network, mse, mae, batches)
    for name in ("", "val_"):
        assert logs[f"{name}gamma"][0] == pytest.approx(float(found.share("gamma_output", 0.3)), rel=1e-4)
        assert logs[f"{name}psi"][0] == pytest.approx(float(found.share("psi_alg2", 0.3)), rel=1e-4)
    loss.lambda_.assign(0.0)
    assert network.evaluate(x, y, verbose=0, return_dict=True)["psi"] == 0
    with pytest.raises(ValueError, match="sample_weight: a share counts each pair once"):
        GradientShare(loss=loss).update_state(y, x, sample_weight=np.ones(8))
    with pytest.raises(ValueError, match="lambda_: -1 is no weight"):
        WeightedSum(mse, mae, -1)


@pytest.mark.parametrize("pixel", ["mse", "l1", None])
def test_the_pixel_terms_gradient_in_closed_form(pixel):
    loss = LossConfiguration(encoder=None, pixel=pixel, pixel_weight=3.0, lambda_=0)
    ((x, y),) = pairs(3)
    found = gradients(lambda f: f, lambda y, f: [pixel_term(loss, y, f) + 0 * mse(y, f)], [(x, y)], weights=False)
    closed = np.array(pixel_gradient(loss, y, x))
    np.testing.assert_allclose(np.linalg.norm(closed.reshape(3, -1), axis=1), found.output[:, 0], rtol=1e-5)


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    image = keras.Input((None, None, 1))
    features = keras.layers.Conv2D(5, 3, strides=2, activation="relu",
                                   kernel_initializer=keras.initializers.GlorotUniform(seed=1))(image)
    return keras.Model(image, features)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_training_logs_the_share_that_a_measurement_finds(encoder, policy):
    """Two steps of no length: Gamma of the epoch is that of all their pairs, whatever scales the loss on its way."""
    batches = pairs(4, 4)
    keras.config.set_dtype_policy(policy)
    try:
        image = keras.Input((None, None, 1))
        outputs = keras.layers.Conv2D(1, 3, padding="same", dtype="float32", kernel_initializer=keras.initializers.Ones())
        network = keras.Model(image, outputs(keras.layers.Rescaling(0.1)(image)))
    finally:
        keras.config.set_dtype_policy("float32")
    loss = TotalLoss(LossConfiguration("vgg19", None, ("features",), pixel="l1", pixel_weight=2.0), 0.3, encoder)
    denoiser = Denoiser(network, loss)
    optimizer = keras.optimizers.SGD(0.0)
    denoiser.compile(keras.optimizers.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer)
    x, y = (np.concatenate(each) for each in zip(*batches, strict=True))
    logs = denoiser.fit(x, y, batch_size=4, shuffle=False, verbose=0, validation_data=(x, y)).history
    found = exchange(network, lambda y, f: 2.0 * mae(y, f), loss.perceptual, batches)
    assert logs["gamma"][0] == pytest.approx(float(found.share("gamma_output", 0.3)), rel=1e-4)
    assert logs["psi"][0] == pytest.approx(float(psi_algorithm2(*found.values.T, 0.3)), rel=1e-4)
    assert logs["loss"][0] == pytest.approx(logs["mse"][0] + 0.3 * logs["pl"][0], rel=1e-5)
    assert np.isfinite(logs["val_psi"]).all() and np.isnan(logs["val_gamma"]).all()  # nothing is differentiated there


def straight(policy: str, last: str) -> keras.Model:
    """f(x) = x by two kernels; the last layer has a type of its own."""
    layers = [keras.layers.Conv2D(1, 1, use_bias=False, dtype=each, kernel_initializer="ones") for each in (policy, last)]
    return keras.Sequential([keras.Input((None, None, 1)), *layers])


@pytest.mark.parametrize("last", ["float32", "mixed_float16", "float64"])
def test_half_precision_loses_no_gradient(last):
    """Elements of the first gradient are below the smallest number of float16, 6e-8: unscaled, they are 0 inside."""
    x = np.round(255 * RNG.uniform(0.1, 1, (4, 16, 16, 1))).astype(np.float32) / 256
    y = x - RNG.uniform(1e-6, 3e-6, x.shape).astype(np.float32)

    def plain(y, f):
        return ops.mean(ops.abs(f - y), axis=(1, 2, 3))

    losses = keras.losses.MeanSquaredError(), plain
    found, expected = (exchange(straight(*policy), *losses, [(x, y)])
                       for policy in (("mixed_float16", last), ("float32", "float32")))
    for name in ("values", "output", "weights", "last"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0.02, err_msg=name)
    star = calibrate(straight("mixed_float16", last), plain, [(x, y)], beside=losses[0]).lambda_star
    assert star == pytest.approx(expected.lambda_at("psi_alg2", 0.95), rel=1e-4)
    shares = [PerceptualInfluence(loss=WeightedSum(*losses, 0.3)), GradientShare(loss=WeightedSum(*losses, 0.3))]
    output = straight("mixed_float16", last)(x[:2])
    for share, trade in zip(shares, ("psi_alg2", "gamma_output"), strict=True):
        share.update_state(y[:2], output)
        few = Exchange(expected.values[:2], expected.output[:2], expected.cosine[:2])
        assert float(share.result()) == pytest.approx(float(few.share(trade, 0.3)), rel=1e-4)


def test_an_image_whose_gradient_overflows_does_not_count():
    gradients_ = np.float32([[1.0, 2.0], [np.inf, 1.0], [np.nan, 1.0], [3.0, 4.0]]).reshape(4, 2, 1, 1)
    metric, pixel = GradientShare(), np.float32([[1.0, 0.0]] * 4).reshape(4, 2, 1, 1)
    metric.update_state(pixel, gradients_)
    assert float(metric.result()) == pytest.approx((2 + 20**0.5) / (2 + 2 + 20**0.5))


def test_gamma_costs_no_pass(encoder):
    """As many convolutions forward and back as Keras's own step has."""
    counts = []
    for step in (Denoiser.train_step, keras.Model.train_step):
        image = keras.Input((None, None, 1))
        inner = keras.layers.Conv2D(3, 3, padding="same")(image)
        network = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(inner))
        denoiser = Denoiser(network, TotalLoss(LossConfiguration("vgg19", None, ("features",)), 0.3, encoder))
        denoiser.compile("sgd")
        data = tuple(map(tf.constant, pairs(2)[0]))
        graph = tf.function(lambda data, step=step, model=denoiser: step(model, data)).get_concrete_function(data).graph
        counts.append(Counter(each.type for each in graph.get_operations() if each.type.startswith("Conv2D")))
    assert counts[0] == counts[1] and len(counts[0]) == 3  # forward, and back to images and to kernels


IN_ANOTHER_BACKEND = """
import json, keras, numpy as np
from lib.perceptual import LossConfiguration, PerceptualLoss, WeightedSum, calibrate, encoder, exchange, lint
from lib.perceptual import GradientShare, PerceptualInfluence, pair_losses
from lib.perceptual.losses import distance

image = keras.Input((None, None, 1))
model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", name="last")(image))
network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, activation="relu", name="one"),
                            keras.layers.Conv2D(3, 3, strides=2, activation="relu", name="two")])
rng = np.random.default_rng(5)
for each in (model, network):
    each.set_weights([rng.normal(0, 0.4, weight.shape).astype(np.float32) for weight in each.get_weights()])
loss = PerceptualLoss(LossConfiguration("vgg19", None, {"one": 1.0, "two": 0.5}, input_range=(0, 3)),
                      encoder(LossConfiguration("vgg19", None, {"one": 1.0, "two": 0.5}, input_range=(0, 3)), model=network))
pairs = [tuple(rng.uniform(0, 1, (n, 9, 11, 1)).astype(np.float32) for _ in range(2)) for n in (3, 2)]
found = exchange(model, lambda y, f: distance(f, y), loss, pairs)
known = calibrate(model, loss, pairs)
mse = keras.losses.MeanSquaredError()
other = calibrate(model, loss, pairs, beside=mse)
report = lint(mse, loss, model, pairs, 1e9)
numbers = {name: value for name, value in report.measured.items() if not name.startswith("seconds")}
total = WeightedSum(mse, loss, known.lambda_star)
model.compile(keras.optimizers.SGD(0.0), total, metrics=[PerceptualInfluence(loss=total), GradientShare(loss=total)])
logs = model.fit(*pairs[0], batch_size=3, verbose=0).history
of_states = pair_losses([model], [loss.configuration], {loss.configuration.encoding: loss.encoder})
states = [float(of_states(*pairs[0])[0, 0, 0, 0])]
model.set_weights([2 * weight for weight in model.get_weights()])
states.append(float(of_states(*pairs[0])[0, 0, 0, 0]))
assert states[0] != states[1], states
print(json.dumps({"backend": keras.backend.backend(), "states": states, "star": known.lambda_star,
                  "cosine": found.cosine.tolist(), "other": other.lambda_star,
                  "findings": [each.number for each in report if each.code != "cost"],
                  "powers": [numbers.pop(name) + 1 for name in [*numbers] if "_by_" in name], **numbers, **logs,
                  **found.row(known.lambda_star)}))
"""


def in_backend(name: str) -> dict:
    done = subprocess.run([sys.executable, "-c", IN_ANOTHER_BACKEND], capture_output=True, text=True, cwd=REPOSITORY,
                          env=os.environ | {"KERAS_BACKEND": name})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_every_backend_finds_the_same(name):
    if not importlib.util.find_spec(name):
        pytest.skip(f"{name} is not installed")
    found, expected = in_backend(name), in_backend("tensorflow")
    assert found.pop("backend") == name and expected.pop("backend") == "tensorflow"
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, err_msg=key)
