"""Several devices, several workers, other precisions: the same training within the rounding of float32."""

import json
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from lib import REPOSITORY
from lib.denoiser.devices import precision, require_even, strategy
from lib.denoiser.model import Denoiser
from lib.errors import TrainingError
from lib.networks.unet import unet
from lib.perceptual import LossConfiguration, TotalLoss
from lib.stages import calibrate, train
from lib.study.config import load_study
from lib.study.paths import Paths
from lib.study.runs import Run

RUN = Run("E1", 5)
TRAIN = f"""
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
from lib.stages import calibrate, train
from lib.study.config import load_study
from lib.study.runs import Run
study = load_study("smoke")
print(train.train(study, {RUN!r}, calibrate.lambda_used(study, {RUN.experiment!r})).to_csv(index=False))
"""

# How far apart may two trainings be that add the same float32 numbers in another order?
#
# Before the first update they have the same weights. Each layer of U-Net and VGG adds K products; the roundings of its sums,
# in random order, are sqrt(K) units of 2^-24, and add up over the layers as squares: 2^-24 sqrt(sum of K), where the K, 9
# times the channels, sum to 6,000 from the VGG's first layer to its sixth, and to 2,000 in the small U-Net.
FORWARD = 2.0**-24 * 100
# Then Adam divides each gradient by its own size, so that a weight whose gradient is little more than rounding may go the
# other way: what that does to the losses of later steps is no matter of theory. It is measured, on the machine that runs the
# test: the same training from initial weights of which each was moved to the next float32 number. Sums in another order
# round in every layer and step and not only once, hence the factor. (Measured: 1e-6 in step 2, 4e-4 after twelve steps,
# and two devices within that. A fault shows at once: of half the batch the loss of step 1 differs by 30 %.)
FACTOR = 10.0
NUDGES = 2
BFLOAT16 = 2.0**-8 * 13  # its eight bits, through thirteen layers that round alike at worst


def copy(smoke: Path, root: Path) -> None:
    """What a training of the smoke study reads."""
    for name in ("volumes", "medical", "calibration", "training/mse", "training/pilot"):
        shutil.copytree(smoke / "artifacts" / "smoke" / name, root / "artifacts" / "smoke" / name)


def steps(root: Path) -> pd.DataFrame:
    return pd.read_csv(Paths(root, "smoke").training(RUN) / "log.csv")[["loss", "mse", "pl"]]


def epochs(history: pd.DataFrame) -> pd.DataFrame:
    """The losses: the bounds are about them, not about weights."""
    return history.drop(columns=["epoch", "seconds", "moved"]).astype(float)


def difference(found: pd.DataFrame, exact: pd.DataFrame) -> np.ndarray:
    """The largest relative difference so far, a number a row."""
    assert found.shape == exact.shape and list(found) == list(exact)
    return np.maximum.accumulate((found / exact - 1).abs().max(axis=1).to_numpy())


@pytest.fixture(scope="module")
def single(smoke) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Steps and epochs of the smoke study's own training, on one device."""
    return steps(smoke), epochs(pd.read_csv(Paths(smoke, "smoke").history(RUN)))


@pytest.fixture(scope="module")
def allowed(smoke, single, tmp_path_factory) -> list[np.ndarray]:
    """Relative differences that rounding explains, by step and by epoch."""
    original, found = train.new_denoiser, []

    def nudged(random: np.random.Generator, *arguments) -> Denoiser:
        denoiser = original(*arguments)
        denoiser.unet.set_weights([np.nextafter(each, random.choice(np.float32([-np.inf, np.inf]), each.shape))
                                   for each in denoiser.unet.get_weights()])
        return denoiser

    for seed in range(NUDGES):
        root = tmp_path_factory.mktemp("nudged")
        copy(smoke, root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OUTPUT", str(root))
            patch.setattr(train, "new_denoiser", partial(nudged, np.random.default_rng(seed)))
            study = load_study("smoke")
            history = train.train(study, RUN, calibrate.lambda_used(study, RUN.experiment))
        found.append([difference(one, other) for one, other in zip((steps(root), epochs(history)), single, strict=True)])
    return [FORWARD + FACTOR * np.max(each, axis=0) for each in zip(*found, strict=True)]


@pytest.fixture
def begin(smoke, tmp_path):
    """Starts a training of the smoke study in a folder of its own, with settings of its own; it ends with the test."""
    copy(smoke, tmp_path)
    begun = []

    def begin(settings: str, devices: int = 1, **environment) -> subprocess.Popen:
        begun.append(subprocess.Popen([sys.executable, "-c", TRAIN, str(devices)], cwd=REPOSITORY, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env={**os.environ, "OUTPUT": str(tmp_path), "SET": settings, **environment}))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def history(process: subprocess.Popen) -> pd.DataFrame:
    """What a finished training printed."""
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    rows = [line.split(",") for line in out.strip().splitlines()[-3:]]
    return epochs(pd.DataFrame(rows[1:], columns=rows[0]))


def test_two_devices_train_as_one(begin, single, allowed, tmp_path):
    found = history(begin("compute.strategy=mirrored", devices=2))
    assert (difference(steps(tmp_path), single[0]) <= allowed[0]).all()
    assert (difference(found, single[1]) <= allowed[1]).all()
    stamp = json.loads((Paths(tmp_path, "smoke").training(RUN) / "stamp.json").read_text(encoding="utf-8"))
    assert len(stamp["devices"]) == 2 and stamp["config"]["compute"]["strategy"] == "mirrored"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def test_two_worker_processes_train_as_one(begin, single, allowed, tmp_path):
    workers = [f"localhost:{free_port()}" for _ in range(2)]
    processes = [begin("compute.strategy=multiworker", TF_CONFIG=json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})) for index in range(2)]
    for process in processes:
        assert (difference(history(process), single[1]) <= allowed[1]).all()
    assert (difference(steps(tmp_path), single[0]) <= allowed[0]).all()
    folder = Paths(tmp_path, "smoke").training(RUN)
    assert (folder / "unet.weights.h5").is_file() and not list(folder.glob("step-*")), "the chief writes"


def test_xla_trains_as_no_xla(begin, single, allowed):
    """Keras ignores XLA, with a warning, where only deterministic kernels are allowed."""
    process = begin("compute.xla=true compute.deterministic=false")
    assert (difference(history(process), single[1]) <= allowed[1]).all()


def needs(kind: tf.DType) -> pytest.MarkDecorator:
    """Skips where ONEDNN_MAX_CPU_ISA takes away the instructions of a half precision: TensorFlow asks oneDNN in vain."""
    missing = False
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        try:
            tf.nn.conv2d(tf.zeros((1, 8, 8, 2), kind), tf.zeros((3, 3, 2, 2), kind), 1, "SAME")
        except tf.errors.AbortedError:
            missing = True
    return pytest.mark.skipif(missing, reason=f"no {kind.name} with this ISA")


@needs(tf.bfloat16)
def test_bfloat16_stays_near_float32(smoke, single, tmp_path, monkeypatch):
    copy(smoke, tmp_path)
    monkeypatch.setenv("SET", "compute.precision=mixed_bfloat16")
    study = load_study("smoke")
    found = epochs(train.train(study, RUN, calibrate.lambda_used(study, RUN.experiment)))
    assert (difference(found, single[1]) <= BFLOAT16).all()
    assert not np.allclose(found["pl"], single[1]["pl"], rtol=1e-6), "the layers compute in half precision"


@needs(tf.float16)
def test_float16_scales_its_loss_and_keeps_weights_and_losses_in_float32():
    """Features of float16 reach 65504, and their squares would overflow: losses are float32."""
    with precision("mixed_float16"):
        image = keras.Input((None, None, 1))
        features = keras.layers.Conv2D(2, 3, kernel_initializer=keras.initializers.Constant(1000.0))(image)
        encoder = keras.Model(image, features)
        denoiser = Denoiser(unet(2, seed=1), TotalLoss(LossConfiguration(layers="conv"), 1e-6, encoder))
    assert keras.config.dtype_policy().name == "float32"
    encoder.trainable = False
    denoiser.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    assert isinstance(denoiser.optimizer, keras.optimizers.LossScaleOptimizer)
    ldct, ndct = np.random.default_rng(0).random((2, 4, 16, 16, 1)).astype(np.float32)
    parts = denoiser.total.parts(ndct, denoiser(ldct))
    assert {part.dtype.name for part in parts} == {"float32"} and float(np.max(parts.perceptual)) > 65504
    assert np.isfinite(parts.total).all()
    logs = denoiser.train_on_batch(ldct, ndct, return_dict=True)
    assert np.isfinite(logs["loss"]) and {weight.dtype for weight in denoiser.unet.weights} == {"float32"}


def test_a_batch_that_cannot_be_divided_names_one_that_can():
    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(TrainingError, match="batch 16 cannot be divided among 3 devices; .*SET=training.batch=15"):
        require_even(16, Three())
    require_even(18, Three())


@pytest.mark.parametrize("config", [None, "no json", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}'])
def test_several_workers_without_a_usable_tf_config_is_one_clear_line(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(TrainingError, match="needs the environment variable TF_CONFIG on every machine"):
        strategy("multiworker")
