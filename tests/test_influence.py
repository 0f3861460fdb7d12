"""The heart: known answers from algebra and from the paper's own numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.denoiser.model import Denoiser
from lib.networks.unet import unet
from lib.paper import published
from lib.perceptual.influence import (
    PerceptualInfluence,
    TotalLoss,
    decade,
    lambda_star,
    mse_loss,
    perceptual_loss,
    psi_algorithm2,
    psi_eq5,
)

RANDOM = np.random.default_rng(3)
MSE, PL = RANDOM.uniform(1e-4, 1e-2, 37), RANDOM.uniform(1, 500, 37)


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    """A small frozen encoder with odd geometry: features (batch, rows / 2, columns / 2, 5)."""
    image = keras.Input((None, None, 1))
    features = keras.layers.Conv2D(5, 3, strides=2, activation="relu",
                                   kernel_initializer=keras.initializers.GlorotUniform(seed=1))(image)
    network = keras.Model(image, features)
    network.trainable = False
    return network


@pytest.mark.parametrize("psi", [0.01, 0.5, 0.95, 0.999])
def test_lambda_star_gives_the_wanted_psi(psi):
    assert psi_algorithm2(MSE, PL, lambda_star(MSE, PL, psi)) == pytest.approx(psi, abs=1e-12)


def test_psi_rises_with_lambda_from_0_to_1():
    lambdas = np.concatenate([[0.0], np.logspace(-12, 6, 200)])
    for psi in (psi_eq5, psi_algorithm2):
        values = psi(MSE, PL, lambdas)
        assert values[0] == 0 and values[-1] > 0.999999 and (np.diff(values) > 0).all()


def test_eq5_and_algorithm2_agree_when_all_pairs_are_alike_and_not_otherwise():
    alike = np.full(7, 3e-3), np.full(7, 11.0)
    proportional = MSE, 42.0 * MSE
    for pair in (alike, proportional):
        assert psi_eq5(*pair, 1e-2) == pytest.approx(psi_algorithm2(*pair, 1e-2), abs=1e-14)
    assert abs(psi_eq5(MSE, PL, 1e-4) - psi_algorithm2(MSE, PL, 1e-4)) > 0.01


def test_eq5_by_hand():
    # shares 1/2 and 9/10; ratio of sums (1 + 9) / (2 + 10)
    assert psi_eq5([1.0, 1.0], [1.0, 9.0], 1.0) == pytest.approx(0.7)
    assert psi_algorithm2([1.0, 1.0], [1.0, 9.0], 1.0) == pytest.approx(10 / 12)


@pytest.mark.parametrize(("name", "exact"), [("E1", 4.36e-6), ("E2", 4.60e-3), ("E3", 1.87e-5), ("E4", 2.54e-4)])
def test_published_losses_give_the_papers_lambdas(name, exact):
    found = lambda_star(*published.PUBLISHED_LOSSES[name][10])
    assert found == pytest.approx(exact, rel=2e-3)
    assert decade(found) == published.EXPERIMENTS[name].lambda_


def test_published_lambdas_give_the_psi_that_the_facts_state():
    psi = [psi_algorithm2(*published.PUBLISHED_LOSSES[name][10], published.EXPERIMENTS[name].lambda_)
           for name in published.CALIBRATED]
    np.testing.assert_allclose(psi, [0.978, 0.976, 0.910, 0.882], atol=5e-4)


@pytest.mark.parametrize(("value", "power"), [(3.1e-4, 1e-4), (3.2e-4, 1e-3), (1.0, 1.0), (9e-8, 1e-7), (40.0, 100.0)])
def test_decades_round_in_log10(value, power):
    assert decade(value) == power


def test_losses_are_means_a_image(encoder):
    a, b = (RANDOM.random((3, 21, 13, 1)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(mse_loss(a, b), ((a - b) ** 2).mean(axis=(1, 2, 3)), rtol=1e-6)
    fa, fb = np.asarray(encoder(a)), np.asarray(encoder(b))
    np.testing.assert_allclose(perceptual_loss(fa, fb), ((fa - fb) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_perceptual_loss_is_zero_for_equal_images_and_knows_no_batch_order(encoder):
    loss = TotalLoss(0.5, encoder)
    a, b = (RANDOM.random((5, 18, 34, 1)).astype(np.float32) for _ in range(2))
    assert float(np.max(loss.terms(a, a)[1])) == 0.0
    order = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(np.asarray(loss.terms(a, b)[1])[order], np.asarray(loss.terms(a[order], b[order])[1]))


def test_total_loss_is_eq4_and_needs_an_encoder_only_for_a_perceptual_term(encoder):
    a, b = (RANDOM.random((4, 16, 16, 1)).astype(np.float32) for _ in range(2))
    mse, pl = TotalLoss(0.3, encoder).terms(a, b)
    assert float(TotalLoss(0.3, encoder)(a, b)) == pytest.approx(float(np.mean(mse) + 0.3 * np.mean(pl)), rel=1e-5)
    assert float(TotalLoss(0.0)(a, b)) == pytest.approx(float(np.mean(mse)), rel=1e-6)
    with pytest.raises(ValueError, match="needs an encoder"):
        TotalLoss(0.3)


def test_no_gradient_reaches_the_target_or_the_encoder(encoder):
    target, output = (tf.Variable(RANDOM.random((1, 16, 16, 1)).astype(np.float32)) for _ in range(2))
    with tf.GradientTape() as tape:
        pl = TotalLoss(1.0, encoder).terms(target, output)[1]
    to_target, to_output = tape.gradient(pl, [target, output])
    assert to_target is None and float(tf.norm(to_output)) > 0
    assert encoder.trainable_weights == []


def test_features_computed_once_give_the_same_terms(encoder):
    target, output = (RANDOM.random((3, 21, 13, 1)).astype(np.float32) for _ in range(2))
    loss = TotalLoss(1.0, encoder)
    once, each = loss.terms((target, encoder(target)), output), loss.terms(target, output)
    np.testing.assert_array_equal(np.asarray(once), np.asarray(each))


def test_psi_metric_accumulates_as_algorithm2():
    metric = PerceptualInfluence(1e-4)
    for part in np.array_split(np.arange(37), 5):
        metric.update_state(MSE[part].astype(np.float32), PL[part].astype(np.float32))
    assert float(metric.result()) == pytest.approx(float(psi_algorithm2(MSE, PL, 1e-4)), rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_fit_reports_the_terms_and_saves_only_the_unet(encoder, tmp_path):
    denoiser = Denoiser(unet(2, seed=1), TotalLoss(0.1, encoder))
    denoiser.compile(keras.optimizers.SGD(0.0), jit_compile=False)  # nothing changes: terms can be checked
    ldct, ndct = (RANDOM.random((6, 32, 16, 1)).astype(np.float32) for _ in range(2))
    data = tf.data.Dataset.from_tensor_slices((ldct, ndct)).batch(2)
    logs = {name: values[0] for name, values in denoiser.fit(data, verbose=0, shuffle=False).history.items()}
    mse, pl = (np.asarray(term) for term in denoiser.total.terms(ndct, denoiser(ldct)))
    assert logs["mse"] == pytest.approx(mse.mean(), rel=1e-5)
    assert logs["pl"] == pytest.approx(pl.mean(), rel=1e-5)
    assert logs["loss"] == pytest.approx((mse + 0.1 * pl).mean(), rel=1e-5)
    assert logs["psi"] == pytest.approx(float(psi_algorithm2(mse, pl, 0.1)), rel=1e-5)
    kernels = {id(weight) for weight in encoder.weights}
    assert not kernels & {id(weight) for weight in denoiser.weights}
