"""Several devices, several workers, other precisions: the same training within the rounding of float32."""

import json
import os
import shutil
import socket
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from lib.perceptual.influence import TotalLoss

from lib import REPOSITORY
from lib.denoiser.devices import precision, require_even, strategy
from lib.denoiser.model import Denoiser
from lib.errors import TrainingError
from lib.networks.unet import unet
from lib.study.config import Compute
from lib.study.paths import Paths

TRAIN = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
from lib.stages import calibrate
from lib.stages import train
from lib.study.config import load_study
study = load_study("smoke")
print(train.train(study, "E2", calibrate.lambda_used(study, "E2")).to_csv(index=False))
"""


@pytest.fixture
def begin(smoke, tmp_path):
    """Starts a training of E2 of the smoke study in a folder of its own, with settings of its own."""
    paths = Paths(tmp_path, "smoke")
    for name in ("volumes", "medical", "calibration"):
        shutil.copytree(smoke / "artifacts" / "smoke" / name, paths.artifacts / name)

    def begin(settings: str, devices: int = 1, **environment) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", TRAIN, str(devices)], cwd=REPOSITORY, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**os.environ, "OUTPUT": str(tmp_path), "SET": settings, **environment})

    return begin


def history(process: subprocess.Popen) -> pd.DataFrame:
    """What a finished training printed."""
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    lines = out.strip().splitlines()
    rows = [line.split(",") for line in lines[-3:]]
    return pd.DataFrame(rows[1:], columns=rows[0]).astype(float).drop(columns="seconds")


ROUNDING = 3e-4  # of sums in another order, after twelve steps of Adam


def single(smoke) -> pd.DataFrame:
    return pd.read_csv(Paths(smoke, "smoke").history("E2")).drop(columns="seconds").astype(float)


def test_two_devices_train_as_one(begin, smoke, tmp_path):
    pd.testing.assert_frame_equal(history(begin("compute.strategy=mirrored", devices=2)), single(smoke), rtol=ROUNDING)
    stamp = json.loads((Paths(tmp_path, "smoke").training("E2") / "stamp.json").read_text(encoding="utf-8"))
    assert len(stamp["devices"]) == 2 and stamp["config"]["compute"]["strategy"] == "mirrored"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def test_two_worker_processes_train_as_one(begin, smoke, tmp_path):
    workers = [f"localhost:{free_port()}" for _ in range(2)]
    processes = [begin("compute.strategy=multiworker", TF_CONFIG=json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})) for index in range(2)]
    for process in processes:
        pd.testing.assert_frame_equal(history(process), single(smoke), rtol=ROUNDING)
    folder = Paths(tmp_path, "smoke").training("E2")
    assert (folder / "unet.weights.h5").is_file() and not list(folder.glob("step-*")), "the chief writes"


@pytest.mark.parametrize(("settings", "rtol"), [("compute.precision=mixed_bfloat16", 0.05), ("compute.xla=true", 1e-3)])
def test_bfloat16_and_xla_stay_near_float32(begin, smoke, settings, rtol):
    found, exact = history(begin(settings)), settings.startswith("compute.xla")
    pd.testing.assert_frame_equal(found, single(smoke), rtol=rtol)
    assert exact or not np.allclose(found["pl"], single(smoke)["pl"], rtol=1e-6), "the layers compute in half precision"


def test_float16_scales_its_loss_and_keeps_weights_and_losses_in_float32():
    """Features of float16 reach 65504, and their squares would overflow: losses are float32."""
    with precision(Compute(precision="mixed_float16")):
        image = keras.Input((None, None, 1))
        features = keras.layers.Conv2D(2, 3, kernel_initializer=keras.initializers.Constant(1000.0))(image)
        denoiser = Denoiser(unet(2, seed=1), TotalLoss(1e-6, keras.Model(image, features)))
    assert keras.config.dtype_policy().name == "float32"
    denoiser.total.encoder.trainable = False
    denoiser.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    assert isinstance(denoiser.optimizer, keras.optimizers.LossScaleOptimizer)
    ldct, ndct = np.random.default_rng(0).random((2, 4, 16, 16, 1)).astype(np.float32)
    mse, pl = denoiser.total.terms(ndct, denoiser(ldct))
    assert mse.dtype == pl.dtype == "float32" and np.isfinite(pl).all() and float(np.max(pl)) > 65504
    logs = denoiser.train_on_batch(ldct, ndct, return_dict=True)
    assert np.isfinite(logs["loss"]) and {weight.dtype for weight in denoiser.unet.weights} == {"float32"}


def test_a_batch_that_cannot_be_divided_names_one_that_can():
    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(TrainingError, match="batch 16 cannot be divided among 3 devices: .*SET=train.batch=15"):
        require_even(16, Three())
    require_even(18, Three())


@pytest.mark.parametrize("config", [None, "no json", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}'])
def test_several_workers_without_a_usable_tf_config_is_one_clear_line(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(TrainingError, match="needs the environment variable TF_CONFIG on every machine"):
        strategy("multiworker")
