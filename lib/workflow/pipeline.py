"""The stages of ``make paper``: which there are, which are out of date, and how one runs.

A stage is a notebook (or the simulation) with the parts of the study and the files that it reads and writes. It runs
again only if its notebook, the code that it imports, its part of the configuration or the contents of its inputs
changed, or if an output is gone. Long work inside a stage is a :class:`lib.artifacts.cache.Step` of its own: a notebook that
draws a figure anew does not train anew. Nothing here imports TensorFlow, so that a run with nothing to do ends at once.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lib.artifacts.cache import Step, imports
from lib.artifacts.files import alone, fingerprint, folder_digest, unchanged, write_json
from lib.errors import StageError
from lib.simulation.contents import INSERTION_REPORT, SIMULATED_CONTENTS
from lib.study.config import Study
from lib.study.paths import NOTEBOOKS
from lib.workflow.process import Usage, run, stop

COMMANDS = {"00_simulate": "lib.simulation.cohort", "00_insert": "lib.simulation.insertion"}  # stages that are no notebook, and their modules
KILLED = ("its process was killed from outside, most likely for want of memory: close other programs, or try JOBS=1 or a "
          "smaller SET=training.batch=...; the same command goes on from the last checkpoint")
TABLE, FIGURE = (".csv", ".md", ".tex"), (".png", ".pdf")


@dataclass
class Stage:
    """One stage of one study.

    Attributes:
        name: for people and for the stamp, '03_train_E1'.
        notebook: file name in ``notebooks``, None for a stage of ``COMMANDS``.
        parameters: for papermill, besides the profile.
        sections: parts of the study that it reads.
        inputs, outputs: files that it reads and writes.
    """

    study: Study
    name: str
    notebook: str | None
    sections: tuple[str, ...]
    inputs: list[Path]
    outputs: list[Path]
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def stamp(self) -> Path:
        return self.study.paths.stages / f"{self.name}.json"

    @property
    def executed(self) -> Path:
        """The notebook as it ran."""
        return self.study.paths.executed / f"{self.name}.ipynb"

    def step(self) -> Step:
        """What the stage depends on now."""
        if self.notebook is None:
            source, modules = "", {COMMANDS[self.name]}
        else:
            source = notebook_source(NOTEBOOKS / self.notebook)
            modules = imports(source)
        config = {name: _part(self.study, name) for name in self.sections} | {"parameters": self.parameters}
        contents = {path.name: _contents(path) for path in self.inputs}
        return Step(self.name, self.stamp, modules, config, {"notebook": source, **contents})

    def is_current(self) -> bool:
        """Whether nothing that it reads has changed and all that it writes is there."""
        try:
            known = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        return known["key"] == self.step().key and all(
            str(path) in known["outputs"] and unchanged(path, known["outputs"][str(path)]) for path in self.outputs
        )

    def command(self) -> list[str]:
        if self.notebook is None:
            return [sys.executable, "-m", "lib", self.name.removeprefix("00_")]
        self.executed.parent.mkdir(parents=True, exist_ok=True)
        parameters = [part for item in {"profile": self.study.profile, **self.parameters}.items()
                      for part in ("-p", *item)]
        return [sys.executable, "-m", "papermill", str(NOTEBOOKS / self.notebook), str(self.executed), "--kernel", "python3",
                "--log-output", "--no-progress-bar", "--cwd", str(NOTEBOOKS), *parameters]

    def run(self, tell: Callable[[str], None]) -> Usage:
        """Run it in a process of its own; ``tell`` gets its progress, the log everything.

        Raises StageError with the failure's own line.
        """
        step = self.step()
        self.stamp.unlink(missing_ok=True)
        usage = run(self.command(), self.study.paths.log, self.name, tell)
        if self.executed.is_file():
            tidy(self.executed)
        if usage.status:
            killed = usage.status == -9 or "Kernel died" in usage.last_line
            what = KILLED if killed else self.failure() or usage.last_line.strip()
            raise StageError(f"{self.name}: {what} (log: {self.study.paths.log})")
        missing = [path.name for path in self.outputs if not path.is_file()]
        if missing:
            raise StageError(f"{self.name} ended without writing {', '.join(missing)} (log: {self.study.paths.log})")
        write_json(self.stamp, {
            "stage": self.name, "key": step.key, "seconds": round(usage.seconds, 1),
            "peak_memory_mib": round(usage.peak_memory_mib),
            "outputs": {str(path): fingerprint(path) for path in self.outputs},
        })
        return usage

    def failure(self) -> str | None:
        """The error that stopped the notebook, in one line."""
        if self.notebook is None or not self.executed.is_file():
            return None
        cells = json.loads(self.executed.read_text(encoding="utf-8"))["cells"]
        errors = [output for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
        return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else None


def tidy(executed: Path) -> None:
    """Leave the last state of each progress bar in a notebook, as a terminal shows it."""
    book = json.loads(executed.read_text(encoding="utf-8"))
    for output in (output for cell in book["cells"] for output in cell.get("outputs", [])):
        if output["output_type"] == "stream":
            lines = "".join(output["text"]).split("\n")
            output["text"] = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
    write_json(executed, book)


def _part(study: Study, dotted: str):
    """A part of the study by name, 'cohort.division' for example."""
    part = study
    for name in dotted.split("."):
        part = getattr(part, name)
    return part


def _contents(path: Path):
    if path.is_dir():
        return folder_digest(path)
    return fingerprint(path)[2] if path.is_file() else None


def notebook_source(path: Path) -> str:
    """The code of a notebook, without outputs, metadata and prose; lines of magic left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))


def stages(study: Study) -> list[list[Stage]]:
    """All stages of a study in waves: those of one wave do not need each other."""
    paths = study.paths
    figures = paths.figures

    def stage(name: str, notebook: str | None, sections: Iterable[str], inputs: Iterable[Path],
              outputs: Iterable[Path], **parameters: str) -> Stage:
        return Stage(study, name, notebook, tuple(sections), list(inputs), list(outputs), parameters)

    def written(*names: str) -> list[Path]:
        return [figures / f"{name}{ending}" for name in names for ending in (TABLE if "table" in name or
                name == "calibration" else FIGURE)]

    brought = [path for path in (study.encoder.weights, study.medical.weights) if isinstance(path, Path)]
    made = paths.cohort / SIMULATED_CONTENTS if study.cohort.simulation else paths.inserted / INSERTION_REPORT
    scans = made if study.cohort.simulation or study.cohort.insertion else study.data
    network = ("cohort.division", "encoder", "medical", "unet", "training", "compute")
    waves = [
        [stage("01_preprocess", "01_preprocess.ipynb", ("cohort", "training.patch_size"), [scans],
               [paths.manifest, *written("fig1")])],
        [stage("02_calibrate_psi", "02_calibrate_psi.ipynb", (*network, "calibration"), [paths.manifest, *brought],
               [paths.calibrated, *written("fig2", "table1", "table2", "calibration")])],
        [stage(f"03_train_{name}", "03_train_Ek.ipynb", network,
               [paths.manifest, paths.calibrated, paths.medical_weights, *brought],
               [paths.weights(name), paths.history(name)], experiment=name) for name in study.experiments],
        [stage("04_evaluate", "04_evaluate.ipynb", (*network, "calibration"),
               [paths.manifest, paths.calibrated, *map(paths.weights, study.experiments),
                *map(paths.history, study.experiments)],
               [paths.metrics, *written("table3", "fig3", "fig_training")])],
        [stage("05_stats", "05_stats.ipynb", ("cohort", "encoder", "medical", "calibration", "statistics"),
               [paths.metrics, paths.calibrated], [*written("table4", "fig_ssim"), figures / "claims.md"])],
    ]
    if study.cohort.simulation:
        waves.insert(0, [stage("00_simulate", None, ("cohort.simulation",), [], [scans, paths.cohort / "noise.csv"])])
    if study.cohort.insertion:
        waves.insert(0, [stage("00_insert", None, ("cohort.insertion",), [study.cohort.data], [scans])])
    return waves


def due(study: Study) -> list[Stage]:
    """Stages that are out of date."""
    return [stage for wave in stages(study) for stage in wave if not stage.is_current()]


def make(study: Study, jobs: int = 1, tell: Callable[[str], None] = print) -> list[Stage]:
    """Bring every stage up to date, ``jobs`` at once where they do not need each other.

    Returns:
        The stages that ran.

    Raises:
        StageError: a stage failed; what other stages finished stays.
        OutputError: another run is at work on the profile's results.
    """
    with alone(study.paths.artifacts):
        ran = _make(study, jobs, tell)
        shutil.rmtree(study.paths.features, ignore_errors=True)  # a cache, and a large one
        return ran


def _make(study: Study, jobs: int, tell: Callable[[str], None]) -> list[Stage]:
    ran: list[Stage] = []
    waves = stages(study)
    total = sum(map(len, waves))
    for number, wave in enumerate(waves):
        before = sum(map(len, waves[:number]))
        due = [(before + place, stage) for place, stage in enumerate(wave, start=1) if not stage.is_current()]

        def one(item: tuple[int, Stage]) -> Stage:
            place, stage = item
            tell(f"[{place}/{total}] {stage.name}")
            usage = stage.run(tell)
            tell(f"[{place}/{total}] {stage.name} done in {usage.seconds:.0f} s, "
                 f"{usage.peak_memory_mib / 1024:.1f} GiB at most")
            return stage

        pool = ThreadPoolExecutor(max_workers=jobs)
        try:
            ran += pool.map(one, due)
        except KeyboardInterrupt:
            stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    return ran
