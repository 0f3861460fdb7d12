"""The stages of ``make supplement``: the analyses beyond the paper, after those of the paper."""

from lib.study.config import Study
from lib.workflow.stages import EXPERIMENTS, NETWORK, Stage, StagesOf, stages


def supplement(study: Study) -> list[list[Stage]]:
    """All stages of a study, the paper's first, in waves; without a perceptual term there is nothing more."""
    new, paths, runs, folder = StagesOf(study), study.paths, study.runs(), study.paths.supplement
    if not study.calibrated:
        return stages(study)
    return [
        *stages(study),
        [new.notebook("S1_exchange", [*NETWORK, "calibration", "supplement", *EXPERIMENTS],
                      [paths.manifest, paths.calibrated, *map(paths.weights, [*study.pilots(), *runs]),
                       *map(paths.history, runs)],
                      [*new.table("exchange", folder), *new.table("claims_S1", folder), *new.figure("exchange", folder)],
                      "supplement/S1_exchange")],
    ]
