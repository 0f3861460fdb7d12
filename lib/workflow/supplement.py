"""The stages of ``make supplement``: the analyses beyond the paper, after those of the paper."""

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from lib.simulation.contents import SIMULATED_CONTENTS
from lib.study.config import SACNN, Study
from lib.study.given import brought_files
from lib.study.grid import Grid, grid_of, layers_grid, losses_key
from lib.study.preset_grid import preset_grid
from lib.study.runs import Run
from lib.workflow.stages import EXPERIMENTS, NETWORK, Stage, StagesOf, stages

GRID: Final = tuple(f"supplement.{name}" for name in ("seeds", "training", "arms", "slices_per_series"))
PRESETS: Final = tuple(f"supplement.{name}" for name in ("pairs", "autoencoder", "networks", "adversarial", "preset_seeds"))
"""What a grid's trainings depend on, and what S3 does beside that."""


class Analysis(NamedTuple):
    """The stages of one section: trainings of its own, which nothing else needs, in waves (:func:`trainings`), and the
    notebook that reads them."""

    trainings: list[list[Stage]]
    notebook: Stage
    first: Sequence[Stage] = ()  # what several of the trainings need


def supplement(study: Study) -> list[list[Stage]]:
    """All stages of a study, the paper's first, in waves: what further trainings share, every further training, then the
    notebooks, last the one that has all claims. Without a perceptual term there is nothing more."""
    if not study.calibrated:
        return stages(study)
    found = _analyses(StagesOf(study))
    last = [_target(StagesOf(study), claims(study))] if "S7" in study.supplement.analyses else []
    trained = zip_longest(*(each.trainings for each in [*found, *last]), fillvalue=())
    first = [stage for each in found for stage in each.first]
    waves = [first, *(_once(stage for wave in together for stage in wave) for together in trained),
             [each.notebook for each in found], [each.notebook for each in last]]
    return [*stages(study), *[wave for wave in waves if wave]]


def claims(study: Study) -> list[Path]:
    """The tables of claims of the paper and of every analysis but the last, CSV."""
    outputs = (output for each in _analyses(StagesOf(study)) for output in each.notebook.outputs)
    return [study.paths.figures / "claims.csv",
            *(path for path in outputs if path.name.startswith("claims_") and path.suffix == ".csv")]


def _analyses(new: StagesOf) -> list[Analysis]:
    wanted = (section for name, section in ANALYSES.items() if name in new.study.supplement.analyses)
    return [analysis for section in wanted if (analysis := section(new))]


def _once(wave: Iterable[Stage]) -> list[Stage]:
    """Without what another stage makes already: grids share trainings that have one name."""
    return list({tuple(stage.outputs): stage for stage in reversed(list(wave))}.values())[::-1]


def trainings(new: StagesOf, grid: Grid, name: str) -> list[list[Stage]]:
    """The stages of a grid in waves: the calibration of its losses, where 02 does not measure them all, then each training
    with its scores; ``name``: what their own begin with."""
    study, swept, found = new.study, StagesOf(grid.of(new.study)), []
    paths, measured = study.paths, grid.measured(study)
    files = [*paths.losses(study.seed, losses_key(measured)).values()] if measured else []
    for arm, run in grid.runs(study):
        stage = swept.function(f"{name}_{run.file}", "lib.stages.sweep:train_arm", [*NETWORK, "calibration", "evaluation"],
                               [paths.manifest, paths.calibrated, *files, *swept.start(run), *swept.encoder(run),
                                *brought_files(study).values()],
                               [paths.weights(run), paths.history(run), swept.scores(run)],
                               study=study, grid=grid, arm=arm, run=run)
        stage.config["loss"] = swept.study.configurations[run.experiment].as_dict()
        stage.apart = True
        found.append(stage)
    if not measured:
        return [found]
    encoders = {path for loss in measured for path in swept.encoder(Run(loss, study.seed))}
    inputs = [paths.manifest, paths.calibrated, paths.weights(study.pilot_run), *sorted(encoders),
              *brought_files(study).values()]
    calibration = swept.function(f"{name}_calibrate", "lib.stages.sweep:calibrate_grid", [*NETWORK, "calibration"], inputs,
                                 files, study=study, grid=grid)
    calibration.config["losses"] = losses_key(measured)
    return [[calibration], found]


def _networks(new: StagesOf) -> list:
    """What the paper's stages left of every training."""
    paths, runs = new.study.paths, new.study.runs()
    return [paths.manifest, paths.calibrated, *map(paths.weights, [*new.study.pilots(), *runs]), *map(paths.history, runs)]


def _exchange(new: StagesOf) -> Analysis:
    folder = new.study.paths.supplement
    return Analysis([], new.notebook(
        "S1_exchange", [*NETWORK, "calibration", "supplement.pairs", *EXPERIMENTS], _networks(new),
        [*new.table("exchange", folder), *new.table("claims_S1", folder), *new.figure("exchange", folder)],
        "supplement/S1_exchange"))


def _rules(new: StagesOf) -> Analysis:
    study, grid = new.study, grid_of(new.study, "rules")
    paths, folder, arms = study.paths, study.paths.supplement, [run for _, run in grid.runs(study)]
    return Analysis(trainings(new, grid, "S2"), new.notebook(
        "S2_rules", [*NETWORK, "calibration", "evaluation", "statistics", *GRID, *EXPERIMENTS],
        [*_networks(new), *map(paths.weights, arms), *map(paths.history, arms), *map(new.scores, arms)],
        [*new.table("rules", folder), *new.table("claims_S2", folder), *new.figure("rules", folder)],
        "supplement/S2_rules"))


def _target(new: StagesOf, tables: list[Path]) -> Analysis:
    study, grid = new.study, grid_of(new.study, "target")
    paths, folder, arms = study.paths, study.paths.supplement, [run for _, run in grid.runs(study)]
    return Analysis(trainings(new, grid, "S7"), new.notebook(
        "S7_target", [*NETWORK, "calibration", "evaluation", "statistics", *GRID, *EXPERIMENTS],
        [*_networks(new), *map(paths.weights, arms), *map(paths.history, arms), *map(new.scores, arms),
         *tables],
        [path for name in ("psi_target_sweep", "target_tests", "power", "claims_S7", "claims")
         for path in new.table(name, folder)] + [
             *new.figure("psi_target_sweep", folder), *new.figure("claims", folder)],
        "supplement/S7_target"))


def _presets(new: StagesOf) -> Analysis:
    study, presets = new.study, preset_grid(new.study)
    paths, folder, grid = study.paths, study.paths.supplement, presets.grid
    arms = [run for _, run in grid.runs(study)]
    own = any(row.loss.weights == SACNN for row in presets.rows.values())
    first = [new.function("S3_autoencoder", "lib.stages.autoencoder:train_autoencoder",
                          ["cohort.division", "supplement.autoencoder", "compute", "seeds"], [paths.manifest],
                          [paths.autoencoder_weights], study=study)] if own else []
    notebook = new.notebook(
        "S3_presets", [*NETWORK, "calibration", "evaluation", "statistics", *GRID, *PRESETS, *EXPERIMENTS],
        [*_networks(new), *([paths.autoencoder_weights] if own else []), *map(paths.weights, arms),
         *map(paths.history, arms), *map(new.scores, arms)],
        [*new.table("presets", folder), *new.table("claims_S3", folder), *new.figure("presets", folder)],
        "supplement/S3_presets")
    notebook.config["presets"] = {name: [row.preset, row.encoder_here] for name, row in presets.rows.items()}
    return Analysis(trainings(new, grid, "S3"), notebook, first)


def _atlas(new: StagesOf) -> Analysis:
    study, folder = new.study, new.study.paths.supplement
    pilots = [study.paths.weights(study.pilot_of(seed)) for seed in study.measured_seeds]
    return Analysis([], new.notebook(
        "S4_atlas", [*NETWORK, "calibration", "supplement.atlas_pairs", "supplement.atlas_layers", *EXPERIMENTS],
        [study.paths.manifest, study.paths.calibrated, *brought_files(study).values(), *pilots],
        [*new.table("psi_atlas", folder), *new.figure("psi_atlas", folder), *new.table("conventions", folder),
         *new.figure("conventions", folder), *new.table("claims_S4", folder)], "supplement/S4_atlas"))


def _passport(new: StagesOf) -> Analysis | None:
    study = new.study
    if not study.uses("ImageNet"):
        return None
    grid, paths, folder = layers_grid(study), study.paths, study.paths.supplement
    scans = [study.data / SIMULATED_CONTENTS] if study.simulated else []
    medical = [paths.medical_weights] if study.uses("Medical") and study.medical.weights is None else []
    made = [file for _, run in grid.runs(study) for file in (paths.weights(run), new.scores(run))]
    return Analysis(trainings(new, grid, "S5"), new.notebook(
        "S5_passport", [*NETWORK, "calibration", "evaluation", *GRID, "supplement.passport_patients",
                        "supplement.passport_side", *EXPERIMENTS],
        [paths.manifest, *scans, *medical, *brought_files(study).values(), *made],
        [*new.table("passport", folder), *new.table("claims_S5", folder), *new.table("passport_errors", folder),
         *new.figure("passport", folder), *new.figure("passport_errors", folder)], "supplement/S5_passport"))


def _image_quality(new: StagesOf) -> Analysis:
    study, paths = new.study, new.study.paths
    masks = [study.data / SIMULATED_CONTENTS] if study.simulated else []  # of the organs: it lists them
    return Analysis([], new.notebook(
        "S6_image_quality", [*NETWORK, "calibration", "evaluation", "supplement.observer_pairs", *EXPERIMENTS],
        [*masks, paths.manifest, paths.metrics, paths.calibrated, *map(paths.weights, study.runs())],
        [*new.table("image_quality", paths.supplement), *new.table("claims_S6", paths.supplement),
         *new.figure("image_quality", paths.supplement), *new.figure("image_quality_transfer", paths.supplement)],
        "supplement/S6_image_quality"))


def _other_images(new: StagesOf) -> Analysis:
    folder = new.study.paths.supplement
    return Analysis([], new.notebook(
        "S8_other_images", ["encoder", "supplement.photographs", "supplement.seeds", "seeds", "statistics"],
        [weights] if isinstance(weights := new.study.encoder.weights, Path) else [],
        [*new.table("other_images", folder), *new.table("claims_S8", folder), *new.figure("other_images", folder)],
        "supplement/S8_other_images"))


ANALYSES: Final[dict[str, Callable[[StagesOf], Analysis | None]]] = {
    "S1": _exchange, "S2": _rules, "S3": _presets, "S4": _atlas, "S5": _passport, "S6": _image_quality, "S8": _other_images}
"""But the last one, S7."""
