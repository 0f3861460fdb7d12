"""Honest names: what a figure or table was made from, and which encoder stood in for which.

An asterisk marks a substitute (``ImageNet*``, ``Medical*``); the provenance line, which is printed on every figure and
table, says what it stands for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib.artifacts.cache import digest
from lib.artifacts.files import file_sha256
from lib.artifacts.provenance import commit
from lib.data import split
from lib.data.store.reading import load_summary
from lib.networks import carried
from lib.perceptual.configuration import LambdaRule, LossConfiguration
from lib.perceptual.rules import EpochRatio, Fixed, Held, Ramp
from lib.study.config import ARCHITECTURE_NAMES, Study
from lib.study.sections import Encoder, Medical, Training, UNet

# Okabe-Ito: told apart by colour-blind readers. An experiment of the paper has one colour and one marker everywhere.
STYLES: Final = {
    "ldct": ("#8c8c8c", "x"), "mse": ("#000000", "v"), "baseline": ("#e69f00", "P"), "E1": ("#0072b2", "o"),
    "E2": ("#56b4e9", "s"), "E3": ("#d55e00", "^"), "E4": ("#cc79a7", "D"),
    "ImageNet middle": ("#003f6b", "8"), "Medical middle": ("#7a3600", "X"),
}
PIXEL: Final = {"mse": "MSE", "l1": "L1", "huber": "Huber", "charbonnier": "Charbonnier", "ssim": "1 − SSIM",
                None: "no pixel term"}
# For a user's own experiments: what Okabe-Ito has left, then Tol's muted scheme.
FURTHER_COLOURS: Final = ("#009e73", "#332288", "#882255", "#999933", "#44aa99", "#661100", "#117733", "#aa4499")
FURTHER_MARKERS: Final = ("*", "p", "<", "h", ">", "d", "H")
PLAIN: Final = {"ldct": ("LDCT input", "LDCT"), "mse": ("MSE only (λ = 0)", "MSE"),
                "pilot": ("pilot: MSE only (λ = 0)", "pilot")}  # label, short
GIVEN: Final = "given"  # how a lambda is chosen that is not calibrated
UNLEARNT: Final = " (learnt nothing measurable)"  # the Medical encoder at an experiment's layers, by its linear probe
COLLECTIONS: Final = {
    "mayo2016": "Mayo 2016 challenge scans", "inserted": "scans of DATA, low dose INSERTED by simulation",
    "tcia": "TCIA LDCT-and-Projection-data scans (low dose: chest 10 %, abdomen and head 25 %)",
}


@dataclass(frozen=True)
class ExperimentLabel:
    """How one experiment is named and drawn."""

    label: str  # 'E1: block3_conv2, ImageNet*'; 'ldct' and 'mse' in words
    short: str  # for crowded axes
    colour: str  # matplotlib's, and its marker
    marker: str
    context: str = ""  # whose weights the encoder has, with an asterisk for a substitute; empty without an encoder
    layers: tuple[str, ...] = ()  # Keras names of the encoder's layers phi
    pixel: str = PIXEL["mse"]  # the pixel term
    lambda_rule: str = ""  # how its lambda is chosen


@dataclass(frozen=True)
class Labels:
    """All that figures, tables and claims know of a study; made once, by :meth:`of`, after the volumes are there."""

    provenance: str  # profile, cohort, encoder, Medical context, lambda, commit, configuration on one line, without folders
    figures: Path  # the folder that figures and tables are written to
    experiments: Mapping[str, ExperimentLabel]  # 'ldct', the study's in their order, then the other losses with a name
    seeds: tuple[int, ...]  # of the trainings; the first is also that of the calibration
    simulated: bool  # whether the scans are our own simulation
    target_psi: float  # what lambda is calibrated to
    settings: Mapping[str, Any]  # values beside the paper's Table 2, and those that it leaves open, by name

    def beside(self, folder: Path) -> "Labels":
        """The same for figures and tables in another folder."""
        return replace(self, figures=folder)

    def provenance_at(self, made: str) -> str:
        """The line of provenance of what was made by the code of another commit."""
        return re.sub(r"(?<=\| commit )\S+", made, self.provenance)

    @classmethod
    def of(cls, study: Study) -> "Labels":
        """The labels of a study as it is now."""
        encoder, medical, calibration = study.encoder, study.medical, study.calibration
        rules = {name: rule_label(study.lambda_rule(loss)) for name, loss in study.configurations.items()}
        rule = together({name: rules[name] for name, loss in study.chosen.items() if loss.lambda_.calibrated})
        tuned = f"the same, fine-tuned here on {'simulated' if study.simulated else 'the training'} scans"
        what = {"ImageNet": encoder_label(encoder), "Medical": _file(medical.weights) if medical.weights else tuned}
        what |= {name: _file(Path(name)) for loss in study.chosen.values()
                 if (name := loss.weights) and name not in what and Path(name).is_file()}
        contexts = {loss.weights: context_label(loss.weights, encoder, medical)
                    for loss in study.configurations.values() if loss.weights}
        phis = {layer for name, loss in study.chosen.items() if name in STYLES for layer in loss.layer_names}
        limits = [f"{count} {part}" for part, count in (study.training.max_patches or {}).items()]
        settings = study.training.model_dump() | study.unet.model_dump() | {
            "seed": ", ".join(map(str, study.seeds)), "encoder": what["ImageNet"], "phi": ", ".join(sorted(phis)),
            "lambda_rule": rule, "max_patches": ", ".join(limits) or "all", "pilot": _pilot(study)}
        cohort = cohort_label(study.paths.volumes, study.simulated, None if study.cohort.split else study.cohort.split_seed)
        provenance = " | ".join([f"{study.profile} profile", cohort, *(f"{contexts[name]} = {what[name]}" for name in what),
                                 f"λ: {rule}", *_departures(study.training, study.unet), f"commit {commit()}",
                                 f"config {digest(study)[:12]}"])
        losses = study.chosen | study.configurations | study.calibrated
        learnt = _learnt(study.paths.probe) if medical.weights is None and study.paths.probe.is_file() else {}
        return cls(provenance, study.paths.figures, _experiments(losses, contexts, rules, learnt), study.seeds,
                   study.simulated, calibration.target_psi, settings)


def _learnt(probe: Path) -> dict[str, bool]:
    """By layer, what the probe's table says of the Medical encoder; nothing where an earlier version wrote it."""
    table = pd.read_csv(probe)
    return dict(zip(table["phi"], table["medical_learnt"], strict=True)) if "medical_learnt" in table else {}


def _departures(training: Training, network: UNet) -> list[str]:
    """What differs from the paper's training in kind, where something does: where it starts, the U-Net's way up."""
    found = ["trained from the MSE pilot of each seed"] * (training.start == "pilot")
    return found + ["bilinear U-Net"] * (network.upsampling == "bilinear")


def _experiments(losses: Mapping[str, LossConfiguration], contexts: Mapping[str, str],
                 rules: Mapping[str, str], learnt: Mapping[str, bool]) -> dict[str, ExperimentLabel]:
    """'ldct', then the losses; ``learnt`` says by layer whether the Medical encoder made here did."""
    found = {"ldct": ExperimentLabel(*PLAIN["ldct"], *STYLES["ldct"])}
    own = [name for name in losses if name not in STYLES]
    for name, loss in losses.items():
        context = contexts[loss.weights] if loss.weights else ""
        if loss.weights == "Medical" and not any(learnt.get(layer, True) for layer in loss.layer_names):
            context += UNLEARNT
        style = STYLES.get(name) or tuple(each[own.index(name) % len(each)] for each in (FURTHER_COLOURS, FURTHER_MARKERS))
        names = PLAIN.get(name) or (experiment_label(name, loss, context), name)
        found[name] = ExperimentLabel(*names, *style, context, loss.layer_names, pixel_label(loss),
                                      rules.get(name, ""))
    return found


def experiment_label(name: str, loss: LossConfiguration, context: str) -> str:
    """'E1: block3_conv2, ImageNet*', and what differs from the paper: 'mine: block2_conv2 + block4_conv3, ImageNet*, L1'."""
    parts = [" + ".join(loss.layer_names), context] if loss.encoder else []
    parts += ["L1"] * (loss.distance == "l1") + ["sum"] * (loss.reduction == "sum")
    parts += ["unit features"] * (loss.features == "unit")
    if not loss.encoder or loss.pixel != "mse" or loss.pixel_more:
        parts.append("pixel " * bool(loss.pixel) + pixel_label(loss))
    if loss.lambda_.psi:
        parts.append(f"Ψ = {loss.lambda_.psi:g}")
    return f"{name}: {', '.join(parts)}"


def pixel_label(loss: LossConfiguration) -> str:
    """'MSE'; of several terms 'Huber + Charbonnier'; weights that are not 1 stand in the loss alone."""
    return " + ".join(PIXEL[kind] for kind, _ in loss.pixel_part.terms) or PIXEL[None]


def rule_label(rule: LambdaRule) -> str:
    """How a lambda is chosen: 'given', 'published', 'pilot U-Net, decade'."""
    moving = "" if rule.moves == Fixed() else f", then {moving_label(rule.moves)}"
    if not rule.calibrated:
        return GIVEN + moving
    if rule.state == "published":
        return ("published" if rule.rounding == "decade" else "published losses, exact") + moving
    return f"{rule.state} U-Net, {rule.rounding}{moving}"


def moving_label(rule: Fixed) -> str:
    """How lambda moves: 'Ψ held at 0.95', 'a ramp over 100 steps'."""
    if isinstance(rule, Held):
        return f"{'Ψ' if rule.share == 'psi' else 'Γ'} held at {rule.target:g}"
    if isinstance(rule, Ramp):
        return f"a ramp over {rule.steps} steps"
    return f"after each epoch Ψ {rule.target:g} by its losses" if isinstance(rule, EpochRatio) else "fixed"


def together(rules: Mapping[str, str]) -> str:
    """The one rule of all experiments, or each with its experiments: 'published (E1, E2); pilot U-Net, decade (E3, E4)'."""
    names: dict[str, list[str]] = {}
    for name, rule in rules.items():
        names.setdefault(rule, []).append(name)
    return "; ".join(rule + f" ({', '.join(each)})" * (len(names) > 1) for rule, each in names.items()) or "none calibrated"


def cohort_label(volumes: Path, simulated: bool, split_seed: int | None) -> str:
    """Where the scans of a store come from (its manifest knows simulated ones wherever they lay), whether they are all that
    there should be, and how patients were divided (``split_seed`` is None where somebody chose them)."""
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
        origin = carried.PACKAGE.label
    else:
        origin = "ImageNet (keras.applications)" if encoder.weights == "keras" else _file(encoder.weights)
    substitute = ", stands in for VGG-19 ImageNet" if _substituted(encoder) else ""
    return f"{ARCHITECTURE_NAMES[encoder.architecture]} {origin}{substitute}"


def context_label(context: str, encoder: Encoder, medical: Medical) -> str:
    """Short name of a context for titles and legends, with an asterisk where it is a substitute; a file's name alone."""
    if context not in ("ImageNet", "Medical"):
        return Path(context).name
    weights, substituted = medical.weights, medical.weights is None
    if context == "ImageNet":
        weights, substituted = encoder.weights, _substituted(encoder)
    return context + ("*" if substituted else " (file)" if isinstance(weights, Path) else "")


def _substituted(encoder: Encoder) -> bool:
    """Whether the natural-image encoder is not the paper's VGG-19. A user's VGG-19 file is taken at its word."""
    return encoder.weights == "package" or encoder.architecture != "vgg19"


def _file(path: Path) -> str:
    return f"weights of {path.name} (SHA-256 {file_sha256(path)[:10]})"


def _pilot(study: Study) -> str:
    """'4 epochs of 2400 patches, learning rate 0.002', or nothing where trainings start from scratch."""
    if not study.pilots():
        return ""
    chosen = study.training_of(study.pilot_run)
    count = (chosen.max_patches or {}).get("train")
    patches = f" of {count} patches" if count else ""
    return f"{chosen.epochs} epochs{patches}, learning rate {chosen.lr:g}"
