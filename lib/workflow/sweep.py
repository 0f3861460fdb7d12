"""The stages of ``make sweep``: what every training needs, then each training of a grid, scored."""

from collections.abc import Sequence

from lib.errors import StageError, StudyError
from lib.perceptual import presets
from lib.study.config import SACNN, Study
from lib.study.given import require_files, weights_files
from lib.study.grid import Grid, measured_as
from lib.workflow import make
from lib.workflow.stages import Stage, StagesOf, stages
from lib.workflow.supplement import trainings

LAST = "02_calibrate_psi"  # of the paper's stages: what follows is its own experiments


def stages_of(study: Study, grid: Grid) -> list[list[Stage]]:
    """All stages that a grid needs, in waves; the last one has its trainings, in the order of ``grid.runs(study)``. Raises
    StudyError for a grid that does not fit the study."""
    swept = grid.of(study)
    require_files({f"GRID: {field}": path for field, path in weights_files(swept.chosen).items()})
    for arm, loss in zip(grid.all_arms(), swept.chosen.values(), strict=True):
        rule, field = swept.lambda_rule(loss), f"GRID: {arm.loss}" + f", {arm.change}" * bool(arm.change)
        if loss.weights == "Medical" and study.medical.weights is None and not study.uses("Medical"):
            raise StudyError("no experiment of the study uses the Medical encoder, so that none is made", where=field,
                             remedy="add one to the study's experiments, E3, or pass MEDICAL_WEIGHTS=file")
        if loss.weights == SACNN:
            raise StudyError("the autoencoder is trained for S3 only", where=field, remedy="name a file")
        if (rule.calibrated and rule.state == "published"
                and (name := measured_as(arm, loss, study.configurations)) not in presets.paper()):
            raise StudyError(f"the paper has no lambda for {name}", where=f"{field}, lambda",
                             remedy="give a number, or state: pilot or untrained")
    if swept.training.start == "pilot" != study.training.start:
        raise StudyError("the study's trainings start from scratch, it has no pilots", where="GRID: training.start",
                         remedy="pass SET=training.start=pilot, too")
    waves = []
    for wave in stages(study):
        waves.append(wave)
        if any(stage.name == LAST for stage in wave):
            break
    further = study.model_copy(update={"seeds": tuple(seed for seed in grid.seeds or () if seed not in study.seeds)})
    pilots = [StagesOf(further).pilot(run) for run in further.pilots()]
    return [*waves, *([pilots] if pilots else []), *trainings(StagesOf(study), grid, "sweep")]


def run(study: Study, grid: Grid, waves: Sequence[Sequence[Stage]], jobs: int = 1, scheduler: str | None = None) -> str:
    """Bring them up to date as :func:`lib.workflow.make.make` does, and write the grid's table, which has every training: of
    those that are not there it says so. Returns what there is, in words. Raises as ``make`` does, after the table."""
    def table() -> str:
        from lib.report.sweeps import save_sweep  # TensorFlow

        done = {stage.parameters["run"] for stage in waves[-1] if stage.is_current()}
        return f"{len(done)} of {len(waves[-1])} trainings: {save_sweep(study, grid, grid.runs(study), done)}"

    try:
        make.make(study, waves, jobs, scheduler)
    except StageError as error:
        error.remedy = "; ".join(filter(None, [error.remedy, table()]))
        raise
    return table()
