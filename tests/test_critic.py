"""WGAN-GP: the penalty of a linear critic is known, without weight the critic changes nothing, and a training goes on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.denoiser.critic import AdversarialDenoiser, critic, gradient_penalty
from lib.denoiser.devices import require_one
from lib.denoiser.model import Denoiser
from lib.errors import TrainingError
from lib.perceptual import LossConfiguration, TotalLoss
from lib.perceptual.adversarial import Adversarial
from lib.stages.train import new_denoiser
from lib.study import Study, load_study
from lib.study.runs import Run

RNG = np.random.default_rng(9)
SIZE = 8
LDCT, NDCT = (RNG.uniform(0, 1, (6, SIZE, SIZE, 1)).astype(np.float32) for _ in range(2))


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    image, kernels = keras.Input((None, None, 1)), keras.initializers.GlorotUniform(seed=1)
    return keras.Model(image, keras.layers.Conv2D(3, 3, activation="relu", kernel_initializer=kernels)(image))


def denoiser(encoder: keras.Model, adversarial: Adversarial | None, eagerly: bool = False) -> Denoiser:
    image, kernels = keras.Input((None, None, 1)), keras.initializers.GlorotUniform(seed=2)
    network = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", kernel_initializer=kernels)(image))
    loss = TotalLoss(LossConfiguration("vgg16", None, ("features",), pixel="l1"), 0.3, encoder)
    made = Denoiser(network, loss) if adversarial is None else AdversarialDenoiser(network, loss, adversarial, SIZE, seed=4)
    made.compile(keras.optimizers.Adam(1e-2), jit_compile=False, run_eagerly=eagerly)
    made.build((None, SIZE, SIZE, 1))
    made.optimizer.build(made.trainable_variables)
    return made


def fit(model: Denoiser, first: int = 0, last: int = 3) -> dict[str, list[float]]:
    return model.fit(LDCT[2 * first : 2 * last], NDCT[2 * first : 2 * last], batch_size=2, shuffle=False, verbose=0).history


@pytest.mark.parametrize("norm", ["image", "rows"])
def test_the_penalty_of_a_linear_critic(norm):
    """Its gradient is its weights, wherever it is taken."""
    weights = RNG.normal(0, 1, (5, 4)).astype(np.float32)
    image = keras.Input((5, 4, 1))
    linear = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image)))
    linear.set_weights([weights.reshape(-1, 1), np.zeros(1, np.float32)])
    expected = np.mean((np.linalg.norm(weights, axis=None if norm == "image" else 0) - 1) ** 2)
    found = gradient_penalty(linear, tf.constant(RNG.uniform(0, 1, (3, 5, 4, 1)).astype(np.float32)), norm)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_critic_is_yangs():
    """Six convolutions, 64 to 256 channels, three of them with stride 2, and 1,024 units, on the article's patches of 64."""
    network = critic(64)
    kernels = [each.kernel.shape for each in network.layers if hasattr(each, "kernel")]
    assert [kernel[-1] for kernel in kernels] == [64, 64, 128, 128, 256, 256, 1024, 1] and kernels[6][0] == 8 * 8 * 256


def test_an_adversarial_term_of_no_weight_changes_nothing(encoder):
    """Neither the U-Net's way nor Psi and Gamma, which are of Eq. 4's terms."""
    plain, adversarial = denoiser(encoder, None), denoiser(encoder, Adversarial(weight=0.0, channels=2, critic_steps=1))
    before = [weight.copy() for weight in adversarial.critic.get_weights()]
    logs, others = fit(plain), fit(adversarial)
    for name, values in logs.items():
        assert others[name] == pytest.approx(values, rel=1e-4), name
    for one, other in zip(plain.unet.get_weights(), adversarial.unet.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert set(others) - set(logs) == {"wasserstein", "penalty"} and np.isfinite(others["wasserstein"]).all()
    assert any((one != other).any() for one, other in zip(before, adversarial.critic.get_weights(), strict=True))


def test_an_adversarial_term_moves_the_network_and_a_training_goes_on_as_it_was(encoder, tmp_path):
    settings = Adversarial(weight=5.0, channels=2, critic_steps=1, lr=1e-2)
    whole, part, rest = (denoiser(encoder, settings, eagerly=True) for _ in range(3))  # which is faster for few steps
    before = [weight.copy() for weight in whole.unet.get_weights()]
    fit(whole)
    fit(part, 0, 2)
    part.save_weights(tmp_path / "a.weights.h5")
    rest.load_weights(tmp_path / "a.weights.h5")
    fit(rest, 2, 3)
    for one, other in zip(whole.get_weights(), rest.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all((one != other).any() for one, other in zip(before, whole.unet.get_weights(), strict=True))
    assert len(whole.trainable_variables) == len(whole.unet.trainable_variables)


def test_it_is_data_of_a_loss_and_off_by_default():
    assert LossConfiguration("vgg16", None, "a").adversarial is None
    loss = LossConfiguration.from_dict({"encoder": "vgg16", "layers": "a", "adversarial": {"penalty": 1, "norm": "rows"}})
    assert loss.adversarial == Adversarial(penalty=1, norm="rows") and LossConfiguration.from_dict(loss.as_dict()) == loss


@pytest.mark.parametrize(("fields", "says"), [
    ({"penalty": -1}, "adversarial.penalty: -1, expected 0"), ({"norm": "columns"}, "adversarial.norm: 'columns', choose"),
    ({"critic_steps": 0}, "adversarial.critic_steps: 0"), ({"steps": 3}, "adversarial.steps: no field of an adversarial"),
])  # fmt: skip
def test_a_wrong_field_is_named(fields, says):
    with pytest.raises(ValueError, match=says):
        LossConfiguration("vgg16", None, "a", adversarial=fields)


def test_a_study_trains_with_a_critic_where_a_loss_says_so():
    given = load_study("smoke").model_dump() | {"losses": {"wgan": {"encoder": None, "lambda": 0,
                                                                    "adversarial": {"channels": 2}}}}  # fmt: skip
    given["training"]["start"], given["unet"]["output_bias"] = "scratch", "zero"
    study = Study.model_validate(given)
    made = {name: new_denoiser(study, Run(name, 5), 0.0, None, 2) for name in ("wgan", "mse")}
    assert type(made["mse"]) is Denoiser and type(made["wgan"]) is AdversarialDenoiser
    assert made["wgan"].critic.input_shape == (None, 32, 32, 1) and not hasattr(made["mse"], "critic")
    several = study.model_copy(update={"compute": study.compute.model_copy(update={"strategy": "mirrored"})})
    with pytest.raises(TrainingError, match="an adversarial term trains on one device"):
        new_denoiser(several, Run("wgan", 5), 0.0, None, 2)


def test_it_trains_on_one_device():
    require_one("single", "an adversarial term")
    with pytest.raises(TrainingError, match="an adversarial term trains on one device, compute.strategy is mirrored"):
        require_one("mirrored", "an adversarial term")
