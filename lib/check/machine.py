"""Encoders, devices, disk, memory and time that a study needs, against what is there."""

import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import psutil
import tensorflow as tf

from lib.artifacts.cache import peak_memory_mib
from lib.artifacts.files import file_sha256
from lib.check.report import Report
from lib.data.patches import SHARD, grid
from lib.denoiser.devices import device_names, require_even, strategy
from lib.denoiser.model import Denoiser
from lib.networks.unet import unet
from lib.networks.vgg import encoder, load_weights, vgg, weights_file
from lib.paper import published
from lib.perceptual.influence import TotalLoss
from lib.stages import feature_cache, train
from lib.study.config import ARCHITECTURE_NAMES, Study

GIB = 1024**3
FEATURES = "features of the targets, if there is room"
STORE_SLICES_PER_S, METRICS_S = 300.0, 0.04  # rough, of one core: reading a slice, scoring one
STEPS, SECONDS = 3, 1.0  # a burst: so many steps after the first, or as many as begin within so long


def check_encoders(study: Study, report: Report) -> None:
    """Whether the weights of both contexts are there (or can be made), whole, and fit their network."""
    report.title("Encoders")
    with report.failing():
        path = weights_file(study, "ImageNet")
        if study.encoder.weights != "package":  # that one's checksum is known and checked
            load_weights(vgg(study.encoder.architecture), path)
        report.line(f"{ARCHITECTURE_NAMES[study.encoder.architecture]}, ImageNet context: {path.name}, SHA-256 "
                    f"{file_sha256(path)[:16]}")
    if study.medical.weights is None:
        report.line(f"Medical context: fine-tuned here, {study.medical.steps:,} steps")
        return
    with report.failing():
        load_weights(vgg(study.encoder.architecture), study.medical.weights)
        report.line(f"Medical context: {study.medical.weights.name}, SHA-256 {file_sha256(study.medical.weights)[:16]}")


def check_devices(study: Study, report: Report) -> None:
    """GPUs, and whether the strategy fits them."""
    report.title("Devices")
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        report.line(f"{gpu.name}: {tf.config.experimental.get_device_details(gpu).get('device_name', 'GPU')}")
    cores = psutil.cpu_count(logical=True)
    report.line(f"{len(gpus)} GPUs, {cores} processor cores, TensorFlow {tf.__version__}")
    if not gpus and study.profile == "paper":
        report.warn("no GPU is visible: at full size this takes weeks on a processor (README, The real data)")
    if len(gpus) > 1 and study.compute.strategy == "single":
        report.warn(f"{len(gpus)} GPUs, and training uses one: pass SET=compute.strategy=mirrored")
    if study.compute.strategy == "multiworker":
        report.line("several machines: run `python -m lib train EXPERIMENT` on each (README)")
        return
    with report.failing():
        chosen = strategy(study.compute.strategy)
        require_even(study.training.batch, chosen)
        report.line(f"training on {', '.join(device_names(chosen))}, {study.compute.precision}"
                    + (", XLA" if study.compute.xla else ""))


def patches_of(study: Study, parts: dict[str, pd.DataFrame]) -> dict[str, int]:
    """Patches of the training and the validation subset."""
    settings, found = study.training, {}
    for subset in ("train", "validation"):
        shapes = parts[subset].groupby(["rows", "columns"]).size()
        count = sum(len(grid(*shape, settings.patch_size, settings.patch_skip)) * int(slices)
                    for shape, slices in shapes.items())
        found[subset] = min(count, (settings.max_patches or {}).get(subset, count))
    return found


def check_room(study: Study, pairs: pd.DataFrame, patches: dict[str, int], report: Report) -> None:
    """Disk space needed against what is free."""
    report.title("Disk")
    voxels = int((pairs["rows"] * pairs["columns"]).sum())
    sizes = feature_cache.sizes(study, patches["train"])
    needs = {
        "scans written as DICOM": 4 * voxels if study.data == study.paths.cohort else 0,
        "volumes": 4 * voxels,
        FEATURES: 2 * sum(sizes[phi] for phi in feature_cache.kept(study, patches["train"])),
        "weights and checkpoints": (3 * 2 + len(study.experiments)) * 4 * unet(study.unet.channels, seed=0).count_params(),
    }
    for what, size in needs.items():
        report.line(f"{size / GIB:8.1f} GiB  {what}")
    root = _existing(study.paths.root)
    needed, there = sum(needs.values()), _used(study.paths.artifacts)
    free = shutil.disk_usage(root).free
    report.line(f"{needed / GIB:8.1f} GiB  in all; {there / GIB:.1f} GiB of it are there, {free / GIB:.1f} GiB are free")
    if needed - there - needs[FEATURES] > free:
        report.fail(f"{root}: {(needed - there - needs[FEATURES]) / GIB:.1f} GiB are needed and {free / GIB:.1f} GiB are "
                    "free: free some space, or pass OUTPUT=folder on another disk")
    elif needed - there > free:
        report.warn(f"{root}: {free / GIB:.1f} GiB are free: the features of the targets may be computed at every step, "
                    "slower, for want of disk")


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def check_time(study: Study, parts: dict[str, pd.DataFrame], patches: dict[str, int], report: Report) -> None:
    """An estimate of the run's time, and its memory, from a few measured steps of each kind."""
    report.title("Time and memory, from a short measured burst")
    depths = {None: None} | {depth: study.encoder.phi(depth) for depth in ("shallow", "deep")}
    kept, available = feature_cache.kept(study, patches["train"]), psutil.virtual_memory().available
    try:
        seconds = {depth: _step_seconds(study, phi, phi in kept) for depth, phi in depths.items()}
    except (tf.errors.ResourceExhaustedError, MemoryError):
        report.fail(f"out of memory at train.batch {study.training.batch}: try "
                    f"SET=train.batch={max(1, study.training.batch // 2)}")
        return
    for depth, phi in depths.items():
        report.line(f"{seconds[depth] * 1e3:8.0f} ms  a step of {study.training.batch} patches, {phi or 'MSE alone'}")
    shards = 6 * 4 * SHARD[study.training.order] * study.training.patch_size**2 / GIB
    report.line(f"{peak_memory_mib() / 1024 + shards:8.1f} GiB of memory at most; {available / GIB:.1f} GiB are available")
    if peak_memory_mib() / 1024 + shards > available / GIB:
        report.warn("memory may not suffice: close other programs, or try "
                    f"SET=train.batch={max(1, study.training.batch // 2)}")
    settings, batch = study.training, study.training.batch
    steps, batches = settings.epochs * (patches["train"] // batch), patches["train"] / batch
    encoder_pass = max(seconds["deep"] - seconds[None], 0.0) / (2 if study.encoder.phi("deep") in kept else 3)
    slice_shape = parts["test"][["rows", "columns"]].max()
    forward = _forward_seconds(study, *map(int, slice_shape))
    slices, tests = 2 * sum(map(len, parts.values())), len(parts["test"])
    scale = (study.medical.patch_size / settings.patch_size) ** 2 * study.medical.batch / batch
    times = {
        "01 preprocess": slices / STORE_SLICES_PER_S,
        "02 Medical encoder": 0.0 if study.medical.weights else 3 * study.medical.steps * encoder_pass * scale,
        "02 MSE pilot": steps * seconds[None],
        "02 features, calibration": batches * (6 * encoder_pass + seconds[None]),
    }
    for name in study.experiments:
        depth = published.EXPERIMENTS[name].depth
        if depth:
            times[f"03 {name}"] = steps * seconds[depth]
    times["04 evaluate"] = tests * (len(study.experiments) * forward + (len(study.experiments) + 1) * METRICS_S)
    for name, value in times.items():
        report.line(f"{_hours(value):>10}  {name}")
    report.line(f"{_hours(sum(times.values())):>10}  in all, roughly, on this machine with nothing else running")


def _hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _step_seconds(study: Study, phi: str | None, features: bool) -> float:
    """Seconds of a training step on random patches; shorter ones count, since the machine may be busy."""
    chosen = strategy(study.compute.strategy if study.compute.strategy == "mirrored" else "single")
    size, batch = study.training.patch_size, study.training.batch
    random = np.random.default_rng(0)
    ldct, ndct = random.random((2, batch, size, size, 1), np.float32)
    with chosen.scope(), train.precision(study.compute):
        network = encoder(study, "ImageNet", phi) if phi else None
        denoiser = Denoiser(unet(study.unet.channels, seed=0), TotalLoss(1e-5 if phi else 0.0, network))
        denoiser.compile(keras.optimizers.Adam(1e-5), jit_compile=study.compute.xla)
    target = (ndct, np.asarray(network(ndct, training=False))) if features else ndct
    return _shortest(lambda: denoiser.train_on_batch(ldct, target))


def _forward_seconds(study: Study, rows: int, columns: int) -> float:
    network = unet(study.unet.channels, seed=0)
    image = np.zeros((1, -(-rows // 16) * 16, -(-columns // 16) * 16, 1), np.float32)
    return _shortest(lambda: network.predict_on_batch(image))


def _shortest(work) -> float:
    work()
    times, begin = [], time.monotonic()
    while len(times) < STEPS and time.monotonic() - begin < SECONDS:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
