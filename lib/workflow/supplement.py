"""The stages of ``make supplement``: the analyses beyond the paper, after those of the paper."""

from collections.abc import Callable
from typing import Final, NamedTuple

from lib.study.config import Study
from lib.study.grid import Grid, grid_of
from lib.workflow.stages import EXPERIMENTS, NETWORK, Stage, StagesOf, stages


class Analysis(NamedTuple):
    """The stages of one section: trainings of its own, which nothing else needs, and the notebook that reads them."""

    trainings: list[Stage]
    notebook: Stage


def supplement(study: Study) -> list[list[Stage]]:
    """All stages of a study, the paper's first, in waves: every further training, then the notebooks. Without a perceptual
    term there is nothing more."""
    if not study.calibrated:
        return stages(study)
    found = [analysis for section in ANALYSES if (analysis := section(StagesOf(study)))]
    waves = [[stage for each in found for stage in each.trainings], [each.notebook for each in found]]
    return [*stages(study), *[wave for wave in waves if wave]]


def trainings(new: StagesOf, grid: Grid, name: str) -> list[Stage]:
    """A stage for each training of a grid, with its scores; ``name``: what their own begin with."""
    study, swept, found = new.study, StagesOf(grid.of(new.study)), []
    for arm, run in grid.runs(study):
        stage = swept.function(f"{name}_{run.file}", "lib.stages.sweep:train_arm", [*NETWORK, "calibration", "evaluation"],
                               [study.paths.manifest, study.paths.calibrated, *swept.start(run), *swept.encoder(run)],
                               [study.paths.weights(run), study.paths.history(run), swept.scores(run)],
                               study=study, grid=grid, arm=arm, run=run)
        stage.config["loss"] = swept.study.configurations[run.experiment].as_dict()
        found.append(stage)
    return found


def _networks(new: StagesOf) -> list:
    """What the paper's stages left of every training."""
    paths, runs = new.study.paths, new.study.runs()
    return [paths.manifest, paths.calibrated, *map(paths.weights, [*new.study.pilots(), *runs]), *map(paths.history, runs)]


def _exchange(new: StagesOf) -> Analysis:
    folder = new.study.paths.supplement
    return Analysis([], new.notebook(
        "S1_exchange", [*NETWORK, "calibration", "supplement", *EXPERIMENTS], _networks(new),
        [*new.table("exchange", folder), *new.table("claims_S1", folder), *new.figure("exchange", folder)],
        "supplement/S1_exchange"))


def _rules(new: StagesOf) -> Analysis | None:
    study, grid = new.study, grid_of(new.study, "rules")
    if not grid.losses:
        return None
    paths, folder, arms = study.paths, study.paths.supplement, [run for _, run in grid.runs(study)]
    return Analysis(trainings(new, grid, "S2"), new.notebook(
        "S2_rules", [*NETWORK, "calibration", "evaluation", "statistics", "supplement", *EXPERIMENTS],
        [*_networks(new), *map(paths.weights, arms), *map(paths.history, arms), *map(new.scores, arms)],
        [*new.table("rules", folder), *new.table("claims_S2", folder), *new.figure("rules", folder)],
        "supplement/S2_rules"))


def _other_images(new: StagesOf) -> Analysis:
    folder = new.study.paths.supplement
    return Analysis([], new.notebook(
        "S8_other_images", ["encoder", "supplement.photographs", "supplement.seeds", "seeds", "statistics"],
        [new.study.paths.manifest],
        [*new.table("other_images", folder), *new.table("claims_S8", folder), *new.figure("other_images", folder)],
        "supplement/S8_other_images"))


ANALYSES: Final[tuple[Callable[[StagesOf], Analysis | None], ...]] = (_exchange, _rules, _other_images)
