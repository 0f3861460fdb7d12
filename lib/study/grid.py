"""A grid of configurations: losses of a study with changes to their fields, each trained from some seeds. Data only."""

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field, ValidationError

from lib.artifacts.cache import digest
from lib.errors import StudyError
from lib.perceptual import presets
from lib.perceptual.configuration import LossConfiguration
from lib.study.config import Study
from lib.study.runs import Run
from lib.study.sections import Positive, Section, Seed, first_of

_NAME = re.compile(r"[A-Za-z0-9][\w.+=-]*")
LAYER = "layer-"  # with a convolution's name, the loss of that layer
GRIDS = Path(__file__).resolve().parent / "grids"


class Arm(NamedTuple):
    """One configuration of a grid: the study's loss that it changes, the change's name, and that of the grid."""

    loss: str
    change: str
    grid: str = ""

    @property
    def name(self) -> str:
        """Of its trainings, files and rows: 'sweep-E1-psi=0.5'; of the grids of this package, which share theirs,
        'E1-psi=0.5'."""
        return "-".join(filter(None, (self.grid, self.loss, self.change)))


class Grid(Section):
    """``losses``: names of the study's, or of ``configurations``, which are new ones, fields as a file of experiments has
    them. ``arms``: changes to each of these by name, such fields, too; {} changes nothing. ``vary``: values of fields
    ('lambda.psi', 'reduction'), every combination of which is an arm more. ``seeds``: by default the study's.
    ``training``: fields of the study's that differ. ``slices_per_series``: which test slices are scored, by default the
    study's."""

    name: str = ""  # of its table, and before those of its trainings; of a file that has none: 'sweep'
    losses: tuple[str, ...]
    configurations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    vary: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    seeds: tuple[Seed, ...] | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    slices_per_series: Positive | None = None

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """Every change by name; of a grid that has none, the one that changes nothing, without a name."""
        found = dict(self.arms) if self.arms or self.vary else {"": {}}
        for values in product(*self.vary.values()) if self.vary else ():
            given = dict(zip(self.vary, values, strict=True))
            found["-".join(f"{name.rpartition('.')[2]}={value}" for name, value in given.items())] = _nested(given)
        return found

    def all_arms(self) -> list[Arm]:
        """In their order: the first loss with every change, then the next."""
        return [Arm(loss, change, self.name) for loss in self.losses for change in self.changes]

    def of(self, study: Study) -> Study:
        """The study that trains these arms: its experiments, from these seeds, and everything else as it was. Raises
        StudyError naming the arm."""
        losses = dict(self.configurations)
        known = self._study(study, losses, ()).configurations if losses else study.configurations
        for arm in self.all_arms():
            if arm.loss not in known:
                raise StudyError(f"losses: {arm.loss} is no loss of this study or grid, choose from {', '.join(known)}",
                                 where=self._where)
            if not _NAME.fullmatch(arm.name):
                raise StudyError(f"arms: {arm.change} is no name for files and tables, use letters, digits and . + - _ =",
                                 where=self._where)
            if arm.name != arm.loss:
                losses[arm.name] = _merged(known[arm.loss].as_dict(), self.changes[arm.change])
        return self._study(study, losses, tuple(arm.name for arm in self.all_arms()))

    def measured(self, study: Study) -> dict[str, LossConfiguration]:
        """What is calibrated for this grid: losses that the study's own calibration does not measure, apart from their
        lambda, by the name of the first arm that has each."""
        swept, found = self.of(study), {}
        known = {loss.terms for loss in study.calibrated.values()}
        for name, loss in swept.chosen.items():
            rule = swept.lambda_rule(loss)
            if rule.calibrated and rule.state != "published" and loss.terms not in known:
                found.setdefault(loss.terms, name)
        return {name: loss for loss, name in found.items()}

    def _study(self, study: Study, losses: dict[str, dict], experiments: tuple[str, ...]) -> Study:
        try:
            return Study.model_validate(study.model_dump() | {
                "jobs": study.jobs, "losses": study.losses | losses, "training": study.training.model_dump() | self.training,
                "evaluation": {"slices_per_series": self.slices_per_series or study.evaluation.slices_per_series},
                "experiments": experiments or study.experiments, "seeds": self.seeds or study.seeds})
        except ValidationError as error:
            raise StudyError(": ".join(filter(None, first_of(error))), where=self._where) from None

    @property
    def _where(self) -> str:
        """What a user gave: a file, or of this package's grids the settings that make them."""
        return "GRID" if self.name else "supplement"

    def runs(self, study: Study) -> list[tuple[Arm, Run]]:
        """Every training."""
        return [(arm, Run(arm.name, seed)) for arm in self.all_arms() for seed in self.seeds or study.seeds]


def measured_as(arm: Arm, loss: LossConfiguration, known: Mapping[str, LossConfiguration]) -> str:
    """The name by which an arm's loss is calibrated: the study's own, of those that are known, where its terms are as
    there."""
    return arm.loss if arm.loss in known and known[arm.loss].terms == loss.terms else arm.name


def losses_key(losses: Mapping[str, LossConfiguration]) -> str:
    """Short digest of some losses, apart from their lambda, for the names of files."""
    return digest({name: loss.as_dict() | {"lambda": None} for name, loss in losses.items()})[:12]


def grid_of(study: Study, name: str) -> Grid:
    """A grid of this package (a file in ``grids``), of its losses those that the study trains, or, where it trains none of
    them, of its first two with a perceptual term; and what ``study.supplement`` says of seeds, training and arms."""
    grid, settings = read_grid(GRIDS / f"{name}.yaml"), study.supplement
    trained = [loss for loss in study.chosen if study.chosen[loss].encoder is not None]
    losses = tuple(loss for loss in grid.losses if loss in trained) or tuple(trained[:2])
    return grid.model_copy(update={"name": "", "losses": losses, "arms": dict(list(grid.arms.items())[: settings.arms]),
                                   "seeds": study.seeds[: settings.seeds], "training": settings.training,
                                   "slices_per_series": settings.slices_per_series})


def layers_grid(study: Study) -> Grid:
    """A training with the loss of each convolution of ImageNet's encoder, from the first seed, at the lambda whose Psi is
    the study's target with the pilot; ``study.supplement`` says how long, and of how many layers (``arms``), evenly
    spaced."""
    layers, settings = presets.convolutions(study.encoder.architecture), study.supplement
    count = min(settings.arms or len(layers), len(layers))
    some = [layers[round(place * (len(layers) - 1) / max(1, count - 1))] for place in range(count)]
    rule = {"psi": study.calibration.target_psi, "state": "pilot", "rounding": "exact"}
    losses = {f"{LAYER}{name}": {"weights": "ImageNet", "layers": [name], "lambda": rule} for name in some}
    return Grid(losses=tuple(losses), configurations=losses, seeds=study.seeds[:1], training=settings.training,
                slices_per_series=settings.slices_per_series)


def read_grid(path: Path) -> Grid:
    """A grid from a YAML file. Raises StudyError."""
    path = path.expanduser()
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StudyError(f"cannot be read ({error.strerror})", where=f"GRID={path}", remedy="pass a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"not YAML ({' '.join(str(error).split()):.120})", where=f"GRID={path}") from None
    try:
        grid = Grid.model_validate({"name": "sweep"} | given if isinstance(given, dict) else given)
    except ValidationError as error:
        raise StudyError(": ".join(filter(None, first_of(error))), where=f"GRID={path}",
                         remedy="docs/running.md, Sweeps, has an example") from None
    if not _NAME.fullmatch(grid.name):
        raise StudyError(f"name: {grid.name} is no name for a table, use letters, digits and . + - _ =",
                         where=f"GRID={path}")
    return grid


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """{'lambda.psi': 0.5} as {'lambda': {'psi': 0.5}}."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        *outer, last = name.split(".")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def _merged(loss: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A loss as data, with a change: of lambda's fields those that are given, all else as a whole; a calibrated lambda takes
    the place of a number."""
    rule = loss["lambda"] if isinstance(loss["lambda"], dict) else {}
    given = change.get("lambda", loss["lambda"])
    if isinstance(given, dict) and {"psi", "state", "rounding"} & set(given):
        rule = {name: value for name, value in rule.items() if name != "value"}
    return {**loss, **change, "lambda": rule | given if isinstance(given, dict) else given}
