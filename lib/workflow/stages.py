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

from lib import REPOSITORY
from lib.artifacts.cache import Step
from lib.artifacts.code import imports
from lib.simulation.contents import INSERTION_REPORT, SIMULATED_CONTENTS
from lib.study.config import SACNN, Study
from lib.study.given import NAMES, brought_files, require_calibrated, require_files
from lib.study.paths import NOTEBOOKS
from lib.study.runs import Run

NETWORK = ("cohort.division", "encoder", "medical", "unet", "training", "pilot", "compute")
EXPERIMENTS = ("experiments", "seeds", "losses")
CITATION = REPOSITORY / "CITATION.cff"
REAL_ANATOMY = "06_real_anatomy"  # there once `make real-data` has run; nothing else needs it


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
    apart : bool
        Whether the function has a process of its own, as every notebook has.
    """

    notebook: Path | None = None
    executed: Path | None = None
    function: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    apart: bool = False


def stages(study: Study) -> list[list[Stage]]:
    """All stages of a study in waves: those of one wave do not need each other. Raises StudyError if something that they
    need was not given."""
    own = brought_files(study)
    require_files(own | {f"supplement.networks.{name}": path for name, path in study.supplement.networks.items()})
    require_calibrated(study.chosen)
    new, paths, runs = StagesOf(study), study.paths, study.runs()
    simulated, inserted = study.cohort.simulation, study.cohort.insertion
    scans = paths.cohort / SIMULATED_CONTENTS if simulated else paths.inserted / INSERTION_REPORT if inserted else study.data
    masks = [study.data / SIMULATED_CONTENTS] if study.simulated else []  # of the organs: it lists them
    brought = list(own.values())
    first: list[list[Stage]] = []
    if simulated:
        first = [[new.function("00_simulate", "lib.simulation.cohort:simulate", ["cohort.simulation"], [],
                               [scans, paths.cohort / "noise.csv"], out=paths.cohort, **simulated.model_dump())],
                 [new.function("00_describe", "lib.simulation.croissant:describe", [], [scans, CITATION],
                               [paths.croissant], cohort=paths.cohort, citation=CITATION)]]
    elif inserted:
        first = [[new.function("00_insert", "lib.simulation.insertion:insert", ["cohort.insertion"],
                               [study.cohort.data], [scans], data=study.cohort.data, out=paths.inserted,
                               **inserted.model_dump())]]
    waves = [
        *first,
        [new.notebook("01_preprocess", ["cohort", "training.patch_size", "evaluation"], [scans],
                      [paths.manifest, *new.figure("fig1")])],
        [new.pilot(run) for run in study.pilots()],
        [new.notebook("02_calibrate_psi", [*NETWORK, "calibration", *EXPERIMENTS],
                      [paths.manifest, *map(paths.weights, study.pilots()), *brought],
                      [paths.calibrated, *new.table("table1"), *new.table("table2"),
                       *(new.figure("fig_psi") if study.calibrated else []),
                       *(new.table("probe") if study.uses("Medical") else [])])],
        [new.notebook(f"03_train_{run.file}", NETWORK,
                      [paths.manifest, paths.calibrated, *new.start(run), *brought, *new.encoder(run)],
                      [paths.weights(run), paths.history(run)], "03_train_Ek", run) for run in runs],
        [new.function(f"04_evaluate_{run.file}", "lib.stages.evaluate:evaluate", ["cohort.division", "evaluation", "unet"],
                      [*masks, paths.manifest, paths.weights(run)], [new.scores(run)], study=study, run=run)
         for run in runs],
        [new.notebook("04_evaluate", [*NETWORK, "calibration", "evaluation", *EXPERIMENTS],
                      [paths.manifest, paths.calibrated, *map(paths.weights, runs), *map(paths.history, runs),
                       *map(new.scores, runs)],
                      [paths.metrics, paths.influence, *new.figure("fig2"), *new.table("calibration"),
                       *new.table("training"), *new.table("self_consistency"), *new.table("encoder_comparison"),
                       *new.table("table3"), *new.table("regions"), *new.figure("fig3"), *new.figure("fig_training")])],
        [new.notebook("05_stats", ["cohort", "encoder", "medical", "calibration", "statistics", *EXPERIMENTS],
                      [paths.metrics, paths.influence],
                      [*new.table("table4"), *new.figure("fig_ssim"),
                       *(paths.figures / f"claims.{ending}" for ending in ("csv", "md"))])],
    ]
    real = paths.real_data / "volumes" / "manifest.csv"
    if study.real_slices and real.is_file():
        waves.append([new.notebook(REAL_ANATOMY, [*NETWORK, "calibration", *EXPERIMENTS, "real_slices"],
                                   [real, *map(paths.weights, runs)],
                                   [*new.table("table3_real"), *new.figure("fig3_real")])])
    return [wave for wave in waves if wave]


@dataclass(frozen=True)
class StagesOf:
    """Makes the stages of one study, and names their files."""

    study: Study

    def notebook(self, name: str, settings: Iterable[str], inputs: Iterable[Path], outputs: list[Path], notebook: str = "",
                 run: Run | None = None) -> Stage:
        path = NOTEBOOKS / f"{notebook or name}.ipynb"
        source, parameters = notebook_source(path), run._asdict() if run else {}
        config = self._config(settings) | {"parameters": parameters}
        if run:
            config["loss"] = self.study.configurations[run.experiment].as_dict()
        return Stage(name, self._stamp(name), imports(source), config, {"notebook": source} | self._by_name(inputs), outputs,
                     notebook=path, executed=self.study.paths.executed / f"{name}.ipynb",
                     parameters={"profile": self.study.profile, **parameters})

    def function(self, name: str, function: str, settings: Iterable[str], inputs: Iterable[Path], outputs: list[Path], /,
                 **parameters: Any) -> Stage:
        return Stage(name, self._stamp(name), {function.partition(":")[0]}, self._config(settings), self._by_name(inputs),
                     outputs, function=function, parameters=parameters)

    def pilot(self, run: Run) -> Stage:
        """The training from which those of a seed start."""
        paths = self.study.paths
        return self.notebook(f"03_train_{run.file}", ["cohort.division", "unet", "training", "pilot", "compute"],
                             [paths.manifest], [paths.weights(run), paths.history(run)], "03_train_Ek", run)

    def figure(self, name: str, folder: Path | None = None) -> list[Path]:
        return [(folder or self.study.paths.figures) / f"{name}{ending}" for ending in (".png", ".pdf")]

    def table(self, name: str, folder: Path | None = None) -> list[Path]:
        return [(folder or self.study.paths.figures) / f"{name}{ending}" for ending in (".csv", ".md", ".tex")]

    def scores(self, run: Run) -> Path:
        return self.study.paths.evaluation / f"{run.file}.csv"

    def start(self, run: Run) -> list[Path]:
        """The weights from which a run starts, where an earlier stage makes them."""
        return [self.study.paths.weights(pilot) for pilot in self.study.pilots() if pilot.seed == run.seed]

    def encoder(self, run: Run) -> list[Path]:
        """The files of a run's encoder that an earlier stage makes or its loss names."""
        weights = self.study.configurations[run.experiment].weights
        if weights == "Medical":
            return [self.study.medical.weights or self.study.paths.medical_weights]
        if weights == SACNN:
            return [self.study.paths.autoencoder_weights]
        return [Path(weights)] if weights and weights not in NAMES else []

    def _stamp(self, name: str) -> Path:
        return self.study.paths.stages / f"{name}.json"

    def _config(self, settings: Iterable[str]) -> dict[str, Any]:
        return {name: attrgetter(name)(self.study) for name in settings}

    def _by_name(self, inputs: Iterable[Path]) -> dict[str, Path]:
        root = self.study.paths.artifacts
        names = {self.study.cohort.data: "data"}  # whose own may be a patient's
        found: dict[str, Path] = {}
        for path in dict.fromkeys(inputs):
            name = names.get(path) or (str(path.relative_to(root)) if path.is_relative_to(root) else path.name)
            while name in found:  # two files of one name
                name += "'"
            found[name] = path
        return found


def notebook_source(path: Path) -> str:
    """The code of a notebook, without outputs, metadata and prose; lines of magic left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]  # nbformat's import takes longer than all the rest here
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))
