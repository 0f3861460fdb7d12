"""The stages of ``make paper``: which there are, what each reads and writes, and which do not need each other.

A stage is a step that is a notebook, or a function where nothing is to be seen. It runs again only if its notebook, the
code that it imports, its part of the configuration or the contents of its inputs changed, or if an output is gone. Long
work inside it is a step of its own: a notebook that draws a figure anew does not train anew. Nothing here imports
TensorFlow, so that a run with nothing to do ends at once.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from lib.artifacts.cache import Step
from lib.artifacts.code import imports
from lib.simulation.contents import INSERTION_REPORT, SIMULATED_CONTENTS
from lib.study.config import Study
from lib.study.paths import NOTEBOOKS, Paths
from lib.study.runs import Run

NETWORK = ("cohort.division", "encoder", "medical", "unet", "training", "compute")


@dataclass
class Stage(Step):
    """A step of the whole run.

    Parameters
    ----------
    notebook : Path, optional
        What it executes.
    executed : Path, optional
        The notebook as it ran.
    function : str
        What it calls where it is no notebook: 'module:function'.
    parameters : dict
        For the notebook or the function.
    """

    notebook: Path | None = None
    executed: Path | None = None
    function: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


def stages(study: Study) -> list[list[Stage]]:
    """All stages of a study in waves: those of one wave do not need each other."""
    paths, runs, experiments = study.paths, study.runs(), ("experiments", "seeds", "losses")
    brought = [path for path in (study.encoder.weights, study.medical.weights) if isinstance(path, Path)]
    simulated, inserted = study.cohort.simulation, study.cohort.insertion
    scans = paths.cohort / SIMULATED_CONTENTS if simulated else paths.inserted / INSERTION_REPORT if inserted else study.data
    first: list[list[Stage]] = []
    if simulated:
        first = [[_function(study, "00_simulate", "lib.simulation.cohort:simulate", ("cohort.simulation",), [],
                            [scans, paths.cohort / "noise.csv"], out=paths.cohort, **simulated.model_dump())]]
    elif inserted:
        first = [[_function(study, "00_insert", "lib.simulation.insertion:insert", ("cohort.insertion",),
                            [study.cohort.data], [scans], data=study.cohort.data, out=paths.inserted,
                            **inserted.model_dump())]]
    return [
        *first,
        [_notebook(study, "01_preprocess", ("cohort", "training.patch_size"), [scans],
                   [paths.manifest, *_figure(paths, "fig1")])],
        [_notebook(study, "02_calibrate_psi", (*NETWORK, "calibration", *experiments), [paths.manifest, *brought],
                   [paths.calibrated, *_figure(paths, "fig2"), *_table(paths, "table1"), *_table(paths, "table2"),
                    *_table(paths, "calibration")])],
        [_notebook(study, f"03_train_{run.file}", NETWORK,
                   [paths.manifest, paths.calibrated, *brought, *_encoder(study, run)],
                   [paths.weights(run), paths.history(run)], "03_train_Ek", run) for run in runs],
        [_function(study, f"04_evaluate_{run.file}", "lib.stages.evaluate:evaluate", ("cohort.division", "unet"),
                   [paths.manifest, paths.weights(run)], [_scores(paths, run)], study=study, run=run) for run in runs],
        [_notebook(study, "04_evaluate", (*NETWORK, "calibration", *experiments),
                   [paths.manifest, paths.calibrated, *map(paths.weights, runs), *map(paths.history, runs),
                    *(_scores(paths, run) for run in runs)],
                   [paths.metrics, *_table(paths, "table3"), *_figure(paths, "fig3"), *_figure(paths, "fig_training")])],
        [_notebook(study, "05_stats", ("cohort", "encoder", "medical", "calibration", "statistics", *experiments),
                   [paths.metrics, paths.calibrated],
                   [*_table(paths, "table4"), *_figure(paths, "fig_ssim"), paths.figures / "claims.md"])],
    ]


def _notebook(study: Study, name: str, settings: Iterable[str], inputs: Iterable[Path], outputs: list[Path],
              notebook: str = "", run: Run | None = None) -> Stage:
    path = NOTEBOOKS / f"{notebook or name}.ipynb"
    source = notebook_source(path)
    parameters = run._asdict() if run else {}
    config = _config(study, settings) | {"parameters": parameters}
    if run:
        config["loss"] = study.configurations[run.experiment].as_dict()
    return Stage(name, study.paths.stages / f"{name}.json", imports(source), config,
                 {"notebook": source} | _by_name(study, inputs), outputs, notebook=path,
                 executed=study.paths.executed / f"{name}.ipynb", parameters={"profile": study.profile, **parameters})


def _function(study: Study, name: str, function: str, settings: Iterable[str], inputs: Iterable[Path],
              outputs: list[Path], /, **parameters: Any) -> Stage:
    return Stage(name, study.paths.stages / f"{name}.json", {function.partition(":")[0]}, _config(study, settings),
                 _by_name(study, inputs), outputs, function=function, parameters=parameters)


def _config(study: Study, settings: Iterable[str]) -> dict[str, Any]:
    return {name: attrgetter(name)(study) for name in settings}


def _by_name(study: Study, inputs: Iterable[Path]) -> dict[str, Path]:
    root = study.paths.artifacts
    return {str(path.relative_to(root)) if path.is_relative_to(root) else path.name: path for path in inputs}


def _figure(paths: Paths, name: str) -> list[Path]:
    return [paths.figures / f"{name}{ending}" for ending in (".png", ".pdf")]


def _table(paths: Paths, name: str) -> list[Path]:
    return [paths.figures / f"{name}{ending}" for ending in (".csv", ".md", ".tex")]


def _scores(paths: Paths, run: Run) -> Path:
    return paths.evaluation / f"{run.file}.csv"


def _encoder(study: Study, run: Run) -> list[Path]:
    """The files of a run's encoder that an earlier stage makes or its loss names."""
    weights = study.configurations[run.experiment].weights
    if weights == "Medical":
        return [study.paths.medical_weights]
    return [Path(weights)] if weights and Path(weights).is_file() else []


def notebook_source(path: Path) -> str:
    """The code of a notebook, without outputs, metadata and prose; lines of magic left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]  # nbformat's import takes longer than all the rest here
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))
