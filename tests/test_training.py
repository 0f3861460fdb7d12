"""Training: killed and resumed to the same bits, the same start for all, and failures that say so."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from lib import calibration, training
from lib.checkpoints import Collapse
from lib.errors import StageError, TrainingError, WeightsError
from lib.influence import Denoiser, TotalLoss
from lib.networks.unet import unet
from lib.paths import REPOSITORY, Paths
from lib.study import load_study

KILLED = """
import os, signal, keras
from lib import calibration, training
from lib.study import load_study

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 9:  # six steps an epoch: the middle of the second
            os.kill(os.getpid(), signal.SIGKILL)

study = load_study("smoke")
training.train(study, "E1", calibration.lambda_used(study, "E1"), callbacks=[Kill()] if KILL else [])
"""


@pytest.fixture
def copied(smoke, tmp_path):
    """The smoke study with everything made but the training of E1, in a folder of its own."""
    for name in ("volumes", "medical", "calibration", "training"):
        shutil.copytree(smoke / "artifacts" / "smoke" / name, tmp_path / "artifacts" / "smoke" / name)
    shutil.rmtree(tmp_path / "artifacts" / "smoke" / "training" / "E1")
    return load_study("smoke")


def run(kill: bool) -> int:
    return subprocess.run([sys.executable, "-c", f"KILL = {kill}\n{KILLED}"], cwd=REPOSITORY, check=False,
                          capture_output=True).returncode


def test_killed_in_mid_epoch_it_resumes_to_the_same_bits(copied, smoke):
    undisturbed, paths = Paths(smoke, "smoke"), copied.paths
    assert run(kill=True) == -9
    folder = paths.training("E1")
    assert [path.name for path in folder.glob("*.weights.h5")] == ["epoch-001.weights.h5"]
    assert not paths.weights("E1").exists() and not (folder / "stamp.json").exists()
    assert run(kill=False) == 0
    same(training.load_unet(copied, "E1"), load(copied, undisturbed))
    histories = [pd.read_csv(each.history("E1")).drop(columns="seconds") for each in (paths, undisturbed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert not list(folder.glob("epoch-*")) and not (folder / "checkpoint.json").exists()


def load(study, paths: Paths) -> keras.Model:
    network = unet(study.unet.channels, seed=0)
    network.load_weights(paths.weights("E1"))
    return network


def same(first: keras.Model, second: keras.Model) -> None:
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_damaged_checkpoint_warns_and_starts_again_to_the_same_end(copied, smoke):
    assert run(kill=True) == -9
    checkpoint = copied.paths.training("E1") / "epoch-001.weights.h5"
    damaged = bytearray(checkpoint.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    checkpoint.write_bytes(damaged)
    with pytest.warns(UserWarning, match="E1: the checkpoint is damaged .*checksum is wrong.*again from the beginning"):
        training.train(copied, "E1", calibration.lambda_used(copied, "E1"))
    same(training.load_unet(copied, "E1"), load(copied, Paths(smoke, "smoke")))


def test_a_checkpoint_of_another_configuration_is_dropped(copied, capsys):
    assert run(kill=True) == -9
    pointer = copied.paths.training("E1") / "checkpoint.json"
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | {"key": "other"}), encoding="utf-8")
    history = training.train(copied, "E1", calibration.lambda_used(copied, "E1"))
    assert len(history) == 2 and "of another configuration, dropped" in capsys.readouterr().err


def test_a_finished_training_is_not_done_again(smoke_study, monkeypatch):
    monkeypatch.setattr(training, "Patches", None)  # training would need it
    for name in smoke_study.experiments:
        history = training.train(smoke_study, name, calibration.lambda_used(smoke_study, name))
        assert history["epoch"].tolist() == [1, 2]
        assert history[["pl", "psi", "val_pl", "val_psi"]].isna().to_numpy().all() == (name == "mse")
        np.testing.assert_allclose(
            history["total"], history["mse"] + calibration.lambda_used(smoke_study, name) * history["pl"].fillna(0),
            rtol=1e-4)


def test_all_experiments_start_alike(smoke_study):
    same(training.new_unet(smoke_study), training.new_unet(smoke_study))
    patches = training.Patches(smoke_study, "train")
    output = training.new_unet(smoke_study, patches)(patches.images(patches.index, "ldct")).numpy()
    assert output.mean() == pytest.approx(patches.mean_ndct(), rel=0.1), "the data_mean bias"


def test_a_dead_network_is_reported_every_epoch_and_refused_at_the_end(capsys):
    denoiser = Denoiser(unet(2, seed=0, output_bias=-60.0), TotalLoss(0.0))
    images = np.random.default_rng(0).random((2, 16, 16, 1)).astype(np.float32)
    collapse = Collapse(images, images)
    collapse.set_model(denoiser)
    collapse.on_epoch_end(0, {})
    assert "epoch 1: the network's output is constant (dead start)" in capsys.readouterr().err
    with pytest.raises(TrainingError, match="output is constant.*output_bias: data_mean"):
        collapse.refuse(denoiser)
    Collapse(images, np.zeros_like(images)).refuse(denoiser)  # a constant target may be met by a constant output


def test_a_loss_that_is_not_finite_stops_with_epoch_and_remedy(copied):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.unet.layers[-1].bias.assign([np.nan])

    with pytest.raises(TrainingError, match="the loss is nan in epoch 1"):
        training.train(copied, "E1", 1e-5, callbacks=[Poison()])
    assert not copied.paths.weights("E1").exists()


@pytest.mark.parametrize(("schedule", "half", "end"), [("cosine", 5e-4, 0.0), ("constant", 1e-3, 1e-3)])
def test_learning_rate_over_the_whole_training(study, schedule, half, end):
    settings = study.training.model_copy(update={"schedule": schedule})
    optimizer = training.optimizer(study.model_copy(update={"training": settings}), 40)
    for step, rate in {0: 1e-3, 20: half, 40: end}.items():
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-9)


def test_before_calibration_or_training_the_error_names_the_notebook(study):
    with pytest.raises(StageError, match="run notebook 02"):
        calibration.lambda_used(study, "E1")
    assert calibration.lambda_used(study, "mse") == 0.0
    with pytest.raises(WeightsError, match="unet.weights.h5 does not exist"):
        training.load_unet(study, "E1")


def test_two_replicas_give_the_loss_and_gradient_of_one():
    """Keras sums the replicas' gradients: a Denoiser under MirroredStrategy must train as on one device."""
    script = """
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from lib.influence import Denoiser, TotalLoss
from lib.networks.unet import unet
data = np.random.default_rng(0).random((2, 8, 16, 16, 1)).astype("float32")
def trained(strategy):
    with strategy.scope():
        image = keras.Input((None, None, 1))
        encoder = keras.Model(image, keras.layers.Conv2D(3, 3, kernel_initializer=keras.initializers.Constant(.1))(image))
        encoder.trainable = False
        denoiser = Denoiser(unet(2, seed=1), TotalLoss(0.5, encoder))
        denoiser.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(4)
    history = denoiser.fit(batches, epochs=2, verbose=0, shuffle=False).history
    return history, [weight.numpy() for weight in denoiser.unet.weights]
one, two = trained(tf.distribute.get_strategy()), trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for name in one[0]:
    np.testing.assert_allclose(one[0][name], two[0][name], rtol=1e-5, err_msg=name)
for a, b in zip(one[1], two[1]):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_target_features_are_the_encoders_and_stop_at_the_memory_limit(smoke_study, monkeypatch):
    patches = training.Patches(smoke_study, "train")
    network = training.encoder(smoke_study, "ImageNet", "block3_conv2")
    features = training.target_features(network, patches)
    expected = network(patches.images(patches.index[-5:], "ndct"))
    np.testing.assert_allclose(features[-5:], expected, rtol=1e-3, atol=1e-2)
    ldct, (ndct, given) = next(iter(patches.dataset(True, features)))
    np.testing.assert_array_equal(given, features[:4])
    np.testing.assert_array_equal(ndct, patches.images(patches.index[:4], "ndct"))
    assert ldct.shape == ndct.shape
    monkeypatch.setattr(training, "FEATURES_BYTES", features.nbytes - 1)
    assert training.target_features(network, patches) is None and training.target_features(None, patches) is None


def test_tensorflow_is_deterministic_after_asking():
    training.deterministic(3)
    first = tf.random.uniform((3,)).numpy()
    training.deterministic(3)
    np.testing.assert_array_equal(first, tf.random.uniform((3,)).numpy())
