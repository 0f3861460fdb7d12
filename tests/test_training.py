"""Training: killed and resumed to the same bits, the same start for all, and failures that say so."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from lib import REPOSITORY
from lib.artifacts import cache, provenance
from lib.artifacts.cache import Step
from lib.denoiser import checkpoints as denoiser_checkpoints
from lib.denoiser.callbacks import Moved, Watch
from lib.denoiser.checkpoints import Checkpoints, Position
from lib.denoiser.devices import repeatable
from lib.denoiser.model import Denoiser
from lib.errors import StageError, TrainingError, WeightsError
from lib.networks.unet import unet
from lib.perceptual import LossConfiguration, TotalLoss, balance
from lib.stages import calibrate, feature_cache, inputs, train
from lib.study import load_study
from lib.study.paths import Paths
from lib.study.runs import Run

E1 = Run("E1", 5)
KILLED = """
import os, signal, keras
from lib.stages import calibrate, train
from lib.study import load_study
from lib.study.runs import Run

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 11:  # six steps an epoch, a checkpoint after 4, 6 and 10
            os.kill(os.getpid(), signal.SIGKILL)

study = load_study("smoke")
train.train(study, Run("E1", 5), calibrate.lambda_used(study, "E1"), callbacks=[Kill()] if KILL else [])
"""


def copy(source, root) -> None:
    """The smoke study with everything made, as far as training reads it."""
    for name in ("volumes", "medical", "calibration", "training"):
        shutil.copytree(source / "artifacts" / "smoke" / name, root / "artifacts" / "smoke" / name)


@pytest.fixture
def copied(smoke, tmp_path):
    """The smoke study in a folder of its own, with everything made but the training of E1."""
    copy(smoke, tmp_path)
    shutil.rmtree(tmp_path / "artifacts" / "smoke" / "training" / "E1")
    return load_study("smoke")


@pytest.fixture(scope="module")
def begun(smoke, tmp_path_factory):
    """The same with a training of E1 that was killed at step 11 of 12."""
    root = tmp_path_factory.mktemp("begun")
    copy(smoke, root)
    shutil.rmtree(root / "artifacts" / "smoke" / "training" / "E1")
    assert run(True, root) == -9
    return root


@pytest.fixture
def killed(begun, tmp_path):
    """The same in a folder of the test's own."""
    copy(begun, tmp_path)
    return load_study("smoke")


def test_all_experiments_of_a_seed_start_from_its_pilot(killed):
    patches, pilot = inputs.patches(killed, "train", 5), killed.pilot_run
    assert pilot == Run("pilot", 5) == killed.pilots()[0] and pilot not in killed.runs()
    begins = train.load_unet(killed.unet, killed.paths.weights(pilot)).get_weights()
    for run in (E1, Run("mse", 5)):
        for ours, its in zip(train.new_denoiser(killed, run, 0.0, patches, 12).unet.get_weights(), begins, strict=True):
            np.testing.assert_array_equal(ours, its)
    assert killed.training_of(pilot).epochs == 1 and killed.training_of(E1).epochs == 2
    before = train.training_step(killed, E1, 0.1).key
    killed.paths.weights(pilot).write_bytes(b"another")
    assert train.training_step(killed, E1, 0.1).key != before
    scratch = killed.model_copy(update={"training": killed.training.model_copy(update={"start": "scratch"})})
    assert scratch.pilots() == [] and scratch.pilot_run == Run("mse", 5) and scratch.start_of(E1) is None


def test_how_far_a_network_moved_is_relative_to_its_start():
    model = SimpleNamespace(unet=SimpleNamespace(get_weights=lambda: [np.array([3.0, 4.0]), np.array([[12.0]])]))
    moved, logs = Moved([np.array([3.0, 0.0]), np.array([[9.0]])]), {}
    moved.set_model(model)
    moved.on_epoch_end(0, logs)
    assert logs["moved"] == pytest.approx(5 / 90**0.5)


def run(kill: bool, root) -> int:
    return subprocess.run([sys.executable, "-c", f"KILL = {kill}\n{KILLED}"], cwd=REPOSITORY, check=False,
                          capture_output=True, env={**os.environ, "OUTPUT": str(root)}).returncode


def test_killed_in_mid_epoch_it_resumes_there_to_the_same_bits(killed, smoke):
    undisturbed, paths = Paths(smoke, "smoke"), killed.paths
    folder = paths.training(E1)
    assert checkpoints(folder) == ["step-000000006.weights.h5", "step-000000010.weights.h5"], "the last two"
    assert not paths.weights(E1).exists() and not (folder / "stamp.json").exists()
    assert run(False, paths.root) == 0
    same(train.load_unet(killed.unet, killed.paths.weights(E1)), load(killed, undisturbed))
    histories = [pd.read_csv(each.history(E1)).drop(columns="seconds") for each in (paths, undisturbed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    log = pd.read_csv(folder / "log.csv")
    pd.testing.assert_frame_equal(log, pd.read_csv(undisturbed.training(E1) / "log.csv"), check_exact=True)
    assert log["step"].tolist() == list(range(1, 13)), "each step once, though step 11 was done twice"
    assert not list(folder.glob("step-*")) and list((folder / "tensorboard").glob("events.*"))


def checkpoints(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*.weights.h5"))


def test_history_is_the_mean_over_the_steps_that_were_made(smoke_study):
    """Not over one batch too many, of which Keras asks if it is not told their number."""
    history = pd.read_csv(smoke_study.paths.history(E1)).set_index("epoch")
    log = pd.read_csv(smoke_study.paths.training(E1) / "log.csv").groupby("epoch").last()
    for name in ("mse", "pl", "psi"):
        np.testing.assert_allclose(history[name], log[name], rtol=1e-6)
    np.testing.assert_allclose(history["total"], log["loss"], rtol=1e-6)


def load(study, paths: Paths, run: Run = E1) -> keras.Model:
    network = unet(**study.unet.architecture, seed=0)
    network.load_weights(paths.weights(run))
    return network


def same(first: keras.Model, second: keras.Model) -> None:
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def damage(path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


@pytest.mark.parametrize(("files", "begins"), [
    (["step-000000010.weights.h5"], Position(1, 0)), (["step-000000010.json"], Position(1, 0)),
    (["step-000000010.weights.h5", "step-000000006.json"], Position(0, 0)),
])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(killed, smoke, monkeypatch, caplog, files, begins):
    folder, found = killed.paths.training(E1), []
    for name in files:
        damage(folder / name) if name.endswith("h5") else (folder / name).write_text("{", encoding="utf-8")
    resume = Checkpoints.resume
    monkeypatch.setattr(Checkpoints, "resume", lambda self, model: found.append(resume(self, model)))
    train.train(killed, E1, calibrate.lambda_used(killed, "E1"))
    assert re.search("step-0000000(10|06).json: the checkpoint is damaged .*from the one before", caplog.text)
    assert found == [begins]
    same(train.load_unet(killed.unet, killed.paths.weights(E1)), load(killed, Paths(smoke, "smoke")))


@pytest.mark.parametrize(("section", "changed", "what"), [
    ("training", {"lr": 5e-4}, r"training.lr was 0.001, is 0.0005;"),
    ("unet", {"output_bias": "zero"}, "unet.output_bias was data_mean, is zero;"),
    ("compute", {"deterministic": False}, "compute.deterministic was True, is False;"),
])
def test_a_changed_configuration_refuses_to_resume_and_says_what_changed(killed, section, changed, what):
    other = killed.model_copy(update={section: getattr(killed, section).model_copy(update=changed)})
    with pytest.raises(TrainingError, match=f"{what} undo .* goes on from step 10, or delete .*E1/seed-5/step-"):
        train.train(other, E1, calibrate.lambda_used(killed, "E1"))
    assert checkpoints(killed.paths.training(E1)), "nothing is lost"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\x00\xff", b'{"sha256": null}'])
def test_what_is_no_checkpoint_is_passed_over(content, tmp_path, caplog):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.save_weights(tmp_path / "step-000000002.weights.h5")
    (tmp_path / "step-000000002.json").write_bytes(content)
    assert Checkpoints(tmp_path, None, length=2).resume(network) == (0, 0)
    assert "step-000000002.json: the checkpoint is damaged" in caplog.text


def test_a_training_that_goes_on_elsewhere_says_so(tmp_path, monkeypatch, caplog):
    def begin() -> tuple[Step, Position]:
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        network.compile("adam", "mse")
        network.optimizer.build(network.trainable_variables)
        step = Step("work", tmp_path / "stamp.json", {"lib.paper.published"}, {})
        checkpoints = Checkpoints(tmp_path, step, length=2)
        at = checkpoints.resume(network)
        network.fit(np.ones((2, 1)), np.ones((2, 1)), batch_size=1, epochs=at.epoch + 1, initial_epoch=at.epoch,
                    callbacks=[checkpoints], verbose=0)
        return step, at

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("lib.")]  # TensorFlow speaks, too

    here = provenance.arithmetic()
    assert begin()[1] == (0, 0) and begin()[1] == (1, 0) and not said()
    for module in (cache, denoiser_checkpoints):
        monkeypatch.setattr(module, "arithmetic", lambda: here | {"cores": 99, "ONEDNN_MAX_CPU_ISA": "SSE41"})
    step, at = begin()
    (warning,) = said()
    assert at == (2, 0) and f"begun with {provenance.worded(here)}, goes on with processor" in warning
    assert "cores 99" in warning and "ONEDNN_MAX_CPU_ISA SSE41" in warning
    with step.making():
        pass
    assert [each["cores"] for each in step.read()["arithmetic"]] == [here["cores"], 99]
    begin()
    assert said() == [warning], "what goes on where it went on has nothing to say"


def test_changed_code_and_data_refuse_too(killed, monkeypatch):
    pointer = killed.paths.training(E1) / "step-000000010.json"
    known = json.loads(pointer.read_text(encoding="utf-8"))
    known["key"], known["made_from"]["code"], known["made_from"]["inputs"]["manifest"] = "other", "other", "other"
    pointer.write_text(json.dumps(known), encoding="utf-8")
    with pytest.raises(TrainingError, match="the contents of manifest changed, the code changed; undo"):
        train.train(killed, E1, calibrate.lambda_used(killed, "E1"))


def test_a_finished_training_is_not_done_again(smoke_study, monkeypatch):
    monkeypatch.setattr(inputs, "patches", None)  # training would need it
    for run in smoke_study.runs():
        name = run.experiment
        history = train.train(smoke_study, run, calibrate.lambda_used(smoke_study, name))
        assert history["epoch"].tolist() == [1, 2]
        assert history[["pl", "psi", "val_pl", "val_psi"]].isna().to_numpy().all() == (name == "mse")
        np.testing.assert_allclose(
            history["total"], history["mse"] + calibrate.lambda_used(smoke_study, name) * history["pl"].fillna(0),
            rtol=1e-4)


def test_all_experiments_start_alike(smoke_study):
    patches = inputs.patches(smoke_study, "train", 5)
    same(*(train.new_denoiser(smoke_study, Run(name, 5), 0.0, patches, 12).unet for name in ("mse", "baseline")))
    first, second = (train.new_unet(smoke_study.unet, seed, patches) for seed in (5, 6))
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(first.weights, second.weights, strict=True))
    output = first(patches.images(patches.index, "ldct")).numpy()
    assert output.mean() == pytest.approx(patches.mean_ndct(), rel=0.1), "the data_mean bias"


def watch(output_bias: float, patience: int, tmp_path, targets=None, **further) -> Watch:
    images = np.random.default_rng(0).random((2, 16, 16, 1)).astype(np.float32)
    made = Watch(images, images if targets is None else targets, patience, Checkpoints(tmp_path, None, length=1000),
                 lambda batch: f"slices of batch {batch}", **further)
    made.set_model(Denoiser(unet(2, seed=0, output_bias=output_bias), TotalLoss(LossConfiguration(None, lambda_=0.0))))
    made.on_epoch_begin(0)
    return made


def test_a_dead_network_is_warned_of_and_stops_when_it_does_not_recover(tmp_path, caplog):
    dead = watch(-60.0, 8, tmp_path)
    for batch in range(9):
        dead.on_train_batch_end(batch, {"loss": 1.0})
    assert "step 2: the network's output is constant (dead start), it has 8 steps" in caplog.text
    with pytest.raises(TrainingError, match=r"stopped at step 10 \(epoch 1\): the network's output has been constant for "
                       r"8 steps .*slices of batch 9, last good checkpoint: none; pass SET=unet.output_bias=data_mean"):
        dead.on_train_batch_end(9, {"loss": 1.0})
    with pytest.raises(TrainingError, match="output is constant.*output_bias=data_mean"):
        dead.refuse(dead.model)
    blank = watch(-60.0, 8, tmp_path, targets=np.zeros((2, 16, 16, 1)))
    blank.refuse(blank.model)  # a constant target may be met by a constant output


def test_a_network_that_recovers_goes_on(tmp_path):
    recovering = watch(-60.0, 8, tmp_path)
    for batch in range(40):
        if batch == 7:
            recovering.model.unet.layers[-1].bias.assign([0.0])
        recovering.on_train_batch_end(batch, {"loss": 1.0})


def test_a_diverging_loss_stops_and_a_noisy_one_does_not(tmp_path):
    noise = np.random.default_rng(1).lognormal(0, 1.5, 1000)
    calm = watch(0.0, 10**6, tmp_path)
    for batch, mean in enumerate(np.cumsum(noise) / np.arange(1, 1001)):
        calm.on_train_batch_end(batch, {"loss": mean})
    rising = watch(0.0, 10**6, tmp_path)
    losses = np.concatenate([np.full(300, 0.1), np.full(700, 3.0)])
    means = np.cumsum(losses) / np.arange(1, 1001)
    moved = watch(0.0, 10**6, tmp_path, watched="mse")  # the pixel term: a lambda that rises is no divergence
    for batch in range(400):
        rising.on_train_batch_end(batch, {"loss": means[batch]})
        moved.on_train_batch_end(batch, {"loss": means[batch], "mse": 0.1})
    moved.on_train_batch_end(400, {"loss": means[400], "mse": 0.1})
    with pytest.raises(TrainingError, match="stopped at step 401 .*the loss diverges: .* the last 100 steps, it was 0.1"):
        rising.on_train_batch_end(400, {"loss": means[400]})


def test_a_loss_that_is_not_finite_stops_with_step_slices_and_checkpoint(copied):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 5:
                self.model.unet.layers[-1].bias.assign([np.nan])

    with pytest.raises(TrainingError, match=r"stopped at step 6 \(epoch 1\): the loss is nan, slices of the batch: "
                       r"SIM0\d (B30|D45) \d mm \d.*, last good checkpoint: .*E1/seed-5/step-000000004.weights.h5; lower"):
        train.train(copied, E1, 1e-5, callbacks=[Poison()])
    assert not copied.paths.weights(E1).exists()
    assert checkpoints(copied.paths.training(E1)) == ["step-000000004.weights.h5"], "weights that are no numbers"


def test_out_of_memory_says_which_batch_to_try(copied):
    class Full(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[4,32,32,2]")

    with pytest.raises(TrainingError, match=r"out of memory at training.batch 4 \(OOM when .*SET=training.batch=2"):
        train.train(copied, E1, 1e-5, callbacks=[Full()])


@pytest.mark.parametrize(("schedule", "half", "end"), [("cosine", 5e-4, 0.0), ("constant", 1e-3, 1e-3)])
def test_learning_rate_over_the_whole_training(study, schedule, half, end):
    settings = study.training.model_copy(update={"schedule": schedule})
    optimizer = train.optimizer(settings, 40)
    for step, rate in {0: 1e-3, 20: half, 40: end}.items():
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-9)


def test_before_calibration_or_training_the_error_names_the_notebook(study):
    with pytest.raises(StageError, match="run notebook 02"):
        calibrate.lambda_used(study, "E1")
    assert calibrate.lambda_used(study, "mse") == 0.0
    with pytest.raises(WeightsError, match="unet.weights.h5 does not exist"):
        train.load_unet(study.unet, study.paths.weights(E1))


def test_target_features_are_the_encoders_and_keep_to_their_limit(copied, monkeypatch):
    patches, encoding = inputs.patches(copied, "train", 5), copied.configurations["E1"].encoding
    features = feature_cache.target_features(copied, encoding, patches, 5)
    assert set(features) == {"block3_conv2", "block5_conv3"}
    expected = inputs.encoder(copied.weights, encoding, "block3_conv2")(patches.images(patches.index[-5:], "ndct"))
    np.testing.assert_allclose(features["block3_conv2"].read(19, 24), expected, rtol=1e-3, atol=1e-2)
    both = [features[name] for name in ("block3_conv2", "block5_conv3")]
    batches = list(patches.dataset(4, True, both, start=4))
    assert len(batches) == 5
    ldct, (ndct, *given) = batches[1]
    for found, stored in zip(given, both, strict=True):
        np.testing.assert_array_equal(found, stored.read(8, 12))
    np.testing.assert_array_equal(ndct, patches.images(patches.index[8:12], "ndct"))
    np.testing.assert_array_equal(ldct, patches.images(patches.index[8:12], "ldct"))
    monkeypatch.setattr(feature_cache, "_compute", None)  # computing them again would need it
    assert len(feature_cache.target_features(copied, encoding, patches, 5)["block3_conv2"]) == len(patches)
    sizes = feature_cache.sizes(balance.encodings(copied.chosen.values()), len(patches), 32)
    assert len(sizes) == 4, "two contexts, two layers"
    for limit, layers in {sum(sizes.values()): ["block5_conv3"] * 2 + ["block3_conv2"] * 2,
                          sum(sizes.values()) - 1: ["block5_conv3"] * 2 + ["block3_conv2"], 0: []}.items():
        assert [name for _, name in feature_cache.kept(sizes, limit)] == layers


def test_training_is_the_same_with_and_without_kept_features(copied, smoke):
    """Computing the targets' features once is less work, not another result."""
    without = copied.model_copy(update={"training": copied.training.model_copy(update={"features_gib": 0})})
    assert train.training_step(copied, E1, 1e-2).key == train.training_step(without, E1, 1e-2).key
    train.train(without, E1, calibrate.lambda_used(copied, "E1"))
    histories = [pd.read_csv(each.history(E1)).drop(columns="seconds") for each in (copied.paths, Paths(smoke, "smoke"))]
    pd.testing.assert_frame_equal(*histories, rtol=2e-5)
    networks = train.load_unet(copied.unet, copied.paths.weights(E1)), load(copied, Paths(smoke, "smoke"))
    for a, b in zip(*(network.weights for network in networks), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=2e-5)


def test_tensorflow_is_deterministic_after_asking():
    repeatable(3)
    first = tf.random.uniform((3,)).numpy()
    repeatable(3)
    np.testing.assert_array_equal(first, tf.random.uniform((3,)).numpy())
