"""Time and memory of a run, estimated from a short measured burst."""

import timeit
from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import psutil
import tensorflow as tf

from lib.artifacts.provenance import peak_memory_mib
from lib.check.machine import GIB, patches_of
from lib.check.report import Report
from lib.data.patch_index import SHARD
from lib.data.slices import SERIES
from lib.denoiser.devices import precision, strategy
from lib.denoiser.model import Denoiser
from lib.networks.unet import unet
from lib.perceptual import TotalLoss
from lib.perceptual.configuration import LossConfiguration
from lib.perceptual.losses import as_list
from lib.stages import feature_cache, inputs
from lib.study.config import Study
from lib.study.sections import Training

STORE_SLICES_PER_S, METRICS_S = 300.0, 0.08  # rough, of one core: reading a slice, scoring one
STEPS, SECONDS = 3, 1.0  # a burst: so many steps after the first, or as many as begin within so long


def check_time(study: Study, parts: dict[str, pd.DataFrame], patches: dict[str, int], report: Report) -> None:
    """An estimate of the run's time, and its memory, from a few measured steps of each kind."""
    report.title("Time and memory, from a short measured burst")
    settings, batch = study.training, study.training.batch
    losses = {"mse": study.configurations["mse"]} | study.chosen
    smaller = f"try SET=training.batch={max(1, batch // 2)}"
    kinds = {_kind(loss): loss for loss in losses.values()}
    kept = feature_cache.kept_in(study.chosen.values(), settings, patches["train"])
    available = psutil.virtual_memory().available
    once = {kind: bool(loss.layers) and all((loss.encoding, name) in kept for name in loss.layer_names)
            for kind, loss in kinds.items()}  # whether the targets' features are computed once
    try:
        seconds = {kind: _step_seconds(study, loss, once[kind]) for kind, loss in kinds.items()}
    except (tf.errors.ResourceExhaustedError, MemoryError):
        report.fail(f"out of memory at training.batch {batch}: {smaller}")
        return
    for kind, loss in kinds.items():
        what = " + ".join(loss.layer_names) or "MSE alone"
        report.line(f"{seconds[kind] * 1e3:8.0f} ms  a step of {batch} patches, {what}")
    most = peak_memory_mib() / 1024 + 6 * 4 * SHARD[settings.order] * settings.patch_size**2 / GIB  # with shards of patches
    report.line(f"{most:8.1f} GiB of memory at most; {available / GIB:.1f} GiB are available")
    if most > available / GIB:
        report.warn(f"memory may not suffice: close other programs, or {smaller}")
    longest, pixels = max(kinds, key=seconds.get), seconds[_kind(losses["mse"])]
    encoder_pass = max(seconds[longest] - pixels, 0.0) / (2 if once[longest] else 3)
    steps, runs = settings.epochs * (patches["train"] // batch), study.runs()
    network = unet(**study.unet.architecture, seed=0)
    rows, columns = (-(-int(side) // 16) * 16 for side in parts["test"][["rows", "columns"]].max())
    forward = _shortest(lambda: network.predict_on_batch(np.zeros((1, rows, columns, 1), np.float32)))
    medical = study.medical
    tuned = 3 * medical.steps * medical.batch if medical.weights is None else 0
    passes = (tuned + 6 * medical.probe_patches) * study.uses("Medical")  # of one patch; the probe: three encoders, two sets
    scale = (medical.patch_size / settings.patch_size) ** 2 / batch
    times = {
        "01 preprocess": 2 * sum(map(len, parts.values())) / STORE_SLICES_PER_S,
        "02 Medical encoder, probe": passes * encoder_pass * scale,
        **{f"03 {run}": _patches(study.training_of(run), parts) / batch * pixels
           for run in study.pilots() or [study.pilot_run]},
        "02 features, calibration": patches["train"] / batch * (8 * encoder_pass + pixels),  # of two encoders
        **{f"03 {run}": steps * seconds[_kind(losses[run.experiment])] for run in runs if run != study.pilot_run},
        "04 evaluate": _evaluated(parts["test"], study.evaluation.slices_per_series) * (
            len(runs) * forward + (len(runs) + 1) * METRICS_S),
    }
    times["in all, roughly, on this machine with nothing else running"] = sum(times.values())
    for name, value in times.items():
        report.line(f"{_hours(value):>10}  {name}")


def _patches(settings: Training, parts: dict[str, pd.DataFrame]) -> int:
    """Patches that a whole training sees."""
    return settings.epochs * (patches_of(settings, parts)["train"] // settings.batch) * settings.batch


def _evaluated(test: pd.DataFrame, most: int | None) -> int:
    """Test slices that are scored, of each series at most so many."""
    return int(test.groupby(SERIES).size().clip(upper=most).sum())


def _kind(loss: LossConfiguration) -> tuple[str, ...]:
    """What a loss's time depends on."""
    return (loss.encoder or "", loss.preprocessing, *loss.layer_names)


def _hours(seconds: float) -> str:
    minutes = f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    return f"{seconds:.0f} s" if seconds < 90 else minutes


def _step_seconds(study: Study, loss: LossConfiguration, features: bool) -> float:
    """Seconds of a training step on random patches; shorter ones count, since the machine may be busy."""
    chosen = strategy(study.compute.strategy if study.compute.strategy == "mirrored" else "single")
    size, batch = study.training.patch_size, study.training.batch
    ldct, ndct = np.random.default_rng(0).random((2, batch, size, size, 1), np.float32)
    weights = "ImageNet" if loss.weights == "Medical" else loss.weights  # the same work, and those are there
    with chosen.scope(), precision(study.compute.precision):
        encoding = loss.encoding._replace(weights=weights)
        network = inputs.encoder(study.weights, encoding, *loss.layer_names) if loss.encoder else None
        denoiser = Denoiser(unet(**study.unet.architecture, seed=0), TotalLoss(loss, 1e-5 if loss.encoder else 0.0, network))
        denoiser.compile(keras.optimizers.Adam(1e-5), jit_compile=study.compute.xla)
    target = (ndct, *map(np.asarray, as_list(network(ndct, training=False)))) if features else ndct
    return _shortest(lambda: denoiser.train_on_batch(ldct, target))


def _shortest(work: Callable) -> float:
    work()
    times = []
    while len(times) < STEPS and sum(times) < SECONDS:
        times.append(timeit.timeit(work, number=1))
    return min(times)
