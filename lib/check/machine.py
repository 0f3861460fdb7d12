"""Encoders, devices and disk that a study needs, against what is there."""

import os
import shutil
from pathlib import Path

import pandas as pd
import psutil
import tensorflow as tf

from lib.artifacts.files import file_sha256
from lib.check.report import Report
from lib.data.patch_index import grid
from lib.denoiser.devices import device_names, require_even, strategy
from lib.networks import vgg
from lib.networks.any_network import weights_key
from lib.networks.unet import unet
from lib.perceptual import balance
from lib.stages import feature_cache, inputs
from lib.study.config import ARCHITECTURE_NAMES, Study
from lib.study.given import NAMES
from lib.study.sections import Training

GIB = 1024**3
FEATURES = "features of the targets, if there is room"


def check_encoders(study: Study, report: Report) -> None:
    """Whether the weights of each encoder are there (or can be made), whole, fit their network, and its layers exist."""
    report.title("Encoders")
    for encoding, layers in balance.encodings(study.chosen.values()).items():
        if encoding.weights == "Medical" and study.medical.weights is None:
            report.line(f"Medical context: fine-tuned here, {study.medical.steps:,} steps")
            continue
        with report.failing():
            inputs.encoder(study.weights, encoding, *layers)
            name, weights = ARCHITECTURE_NAMES.get(encoding.encoder), study.weights(encoding.weights)
            what = vgg.weights_file(encoding.encoder, weights) if name else weights_key(encoding.encoder, weights)
            context = encoding.weights if encoding.weights in NAMES else "own"
            report.line(f"{name or encoding.encoder}, {context} context: {_said(what)}")


def _said(weights: Path | str) -> str:
    """A file with its checksum, a folder by its name, or whose they are."""
    if isinstance(weights, str):
        return weights
    return weights.name + (f", SHA-256 {file_sha256(weights)[:16]}" if weights.is_file() else ", a folder")


def check_devices(study: Study, report: Report) -> None:
    """GPUs, and whether the strategy fits them."""
    report.title("Devices")
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        report.line(f"{gpu.name}: {tf.config.experimental.get_device_details(gpu).get('device_name', 'GPU')}")
    report.line(f"{len(gpus)} GPUs, {psutil.cpu_count(logical=True)} processor cores, TensorFlow {tf.__version__}")
    if not gpus and study.profile == "paper":
        report.warn("no GPU is visible: at full size this takes weeks on a processor (docs/real_data.md)")
    if len(gpus) > 1 and study.compute.strategy == "single":
        report.warn(f"{len(gpus)} GPUs, and training uses one: pass SET=compute.strategy=mirrored")
    if study.compute.strategy == "multiworker":
        report.line("several machines: run `python -m lib train EXPERIMENT` on each (docs/running.md)")
        return
    with report.failing():
        chosen = strategy(study.compute.strategy)
        require_even(study.training.batch, chosen)
        report.line(f"training on {', '.join(device_names(chosen))}, {study.compute.precision}{', XLA' * study.compute.xla}")


def patches_of(settings: Training, parts: dict[str, pd.DataFrame]) -> dict[str, int]:
    """Patches of the training and the validation subset."""
    found = {}
    for subset in ("train", "validation"):
        shapes = parts[subset].groupby(["rows", "columns"]).size().items()
        count = sum(len(grid(*shape, settings.patch_size, settings.patch_skip)) * int(slices) for shape, slices in shapes)
        found[subset] = min(count, (settings.max_patches or {}).get(subset, count))
    return found


def check_room(study: Study, pairs: pd.DataFrame, patches: dict[str, int], report: Report) -> None:
    """Disk space needed against what is free."""
    report.title("Disk")
    voxels = int((pairs["rows"] * pairs["columns"]).sum())
    features = feature_cache.kept_in(study.chosen.values(), study.training, patches["train"])
    needs = {
        "scans written as DICOM": 4 * voxels if study.data == study.paths.cohort else 0,
        "volumes": 4 * voxels,
        FEATURES: len(study.seeds) * sum(features.values()),
        "weights and checkpoints": (3 * 2 + len(study.runs())) * 4 * unet(**study.unet.architecture, seed=0).count_params(),
    }
    for what, size in needs.items():
        report.line(f"{size / GIB:8.1f} GiB  {what}")
    root = next(folder for folder in (study.paths.artifacts, *study.paths.artifacts.parents) if folder.exists())
    if not (root.is_dir() and os.access(root, os.W_OK | os.X_OK)):
        report.fail(f"{root}: is no folder that can be written: make it one, or pass OUTPUT=another folder")
    there = sum(path.stat().st_size for path in study.paths.artifacts.rglob("*") if path.is_file())
    needed, free = sum(needs.values()), shutil.disk_usage(root).free
    report.line(f"{needed / GIB:8.1f} GiB  in all; {there / GIB:.1f} GiB of it are there, {free / GIB:.1f} GiB are free")
    least = needed - there - needs[FEATURES]
    if least > free:
        report.fail(f"{root}: {least / GIB:.1f} GiB are needed and {free / GIB:.1f} GiB are free: free some space, or pass "
                    "OUTPUT=folder on another disk")
    elif needed - there > free:
        report.warn(f"{root}: {free / GIB:.1f} GiB are free: the features of the targets may be computed at every step, "
                    "slower, for want of disk")
