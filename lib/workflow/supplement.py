"""The stages of ``make supplement``: the analyses beyond the paper, after those of the paper."""

from lib.study.config import Study
from lib.study.grid import Grid, grid_of
from lib.workflow.stages import EXPERIMENTS, NETWORK, Stage, StagesOf, stages


def supplement(study: Study) -> list[list[Stage]]:
    """All stages of a study, the paper's first, in waves; without a perceptual term there is nothing more."""
    new, paths, runs, folder = StagesOf(study), study.paths, study.runs(), study.paths.supplement
    if not study.calibrated:
        return stages(study)
    networks = [paths.manifest, paths.calibrated, *map(paths.weights, [*study.pilots(), *runs]), *map(paths.history, runs)]
    rules = grid_of(study, "rules")
    arms = [run for _, run in rules.runs(study)]
    return [
        *stages(study),
        [new.notebook("S1_exchange", [*NETWORK, "calibration", "supplement", *EXPERIMENTS], networks,
                      [*new.table("exchange", folder), *new.table("claims_S1", folder), *new.figure("exchange", folder)],
                      "supplement/S1_exchange")],
        *([arm_stages(study, rules, "S2")] if arms else []),
        *([[new.notebook("S2_rules", [*NETWORK, "calibration", "evaluation", "statistics", "supplement", *EXPERIMENTS],
                      [*networks, *map(paths.weights, arms), *map(paths.history, arms), *map(new.scores, [*runs, *arms])],
                      [*new.table("rules", folder), *new.table("claims_S2", folder), *new.figure("rules", folder)],
                      "supplement/S2_rules")]] if arms else []),
    ]


def arm_stages(study: Study, grid: Grid, name: str) -> list[Stage]:
    """A stage for each training of a grid, with its scores; ``name``: what their own begin with."""
    swept, found = StagesOf(grid.of(study)), []
    for arm, run in grid.runs(study):
        paths = study.paths
        stage = swept.function(f"{name}_{run.file}", "lib.stages.sweep:train_arm", [*NETWORK, "calibration", "evaluation"],
                               [paths.manifest, paths.calibrated, *swept.start(run), *swept.encoder(run)],
                               [paths.weights(run), paths.history(run), swept.scores(run)],
                               study=study, grid=grid, arm=arm, run=run)
        stage.config["loss"] = swept.study.configurations[run.experiment].as_dict()
        found.append(stage)
    return found
