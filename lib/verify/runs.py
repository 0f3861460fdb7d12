"""A finished run, read from the folder that it wrote: its numbers, and what its stamps say of how it was made.

Nothing here needs the study of the run (a folder may have been made with other seeds than the environment asks for):
the stamps of its stages hold configuration, inputs, outputs, commit, versions, arithmetic and times.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib.artifacts.cache import digest
from lib.artifacts.code import code_hash
from lib.artifacts.files import file_sha256, unchanged
from lib.errors import StageError
from lib.verify.quantities import Quantity, quantities, verdicts

INDECISIVE: Final = ("checkpoint_steps", "patience", "features_gib")  # of a training: no result depends on them
SCANS: Final = ("patient", "dose", "kernel", "thickness_mm", "scan", "z_mm", "rows", "columns")  # of given ones
BESIDE: Final = ("seeds", "parameters", "cohort.division")  # of a stage's configuration: compared otherwise, or twice there
DECISIVE_STAGES: Final = ("05_stats", "04_evaluate")  # together they read all of the configuration
MADE_BY: Final = {
    "simulation": ("lib.simulation.cohort", "cohort/patients/*.json"),
    "volumes": ("lib.stages.preprocess", "volumes/stamp.json"),
    "Medical encoder": ("lib.stages.medical_encoder", "medical/stamp.json"),
    "calibration": ("lib.stages.calibrate", "calibration/losses_seed-{seed}.json"),
    "training": ("lib.stages.train", "training/{experiment}/seed-{seed}/stamp.json"),
    "evaluation": ("lib.stages.evaluate", "evaluation/{experiment}_seed-{seed}.json"),
}
"""Long work by what it makes: the module that does it, and its stamps. Notebooks draw tables from that, by code that any
change of a figure changes, too: they are held to by their numbers."""


@dataclass(frozen=True)
class FinishedRun:
    """A run of a profile that has all its results."""

    name: str  # of its folder
    seeds: tuple[int, ...]
    configuration: dict[str, Any]  # whatever decides about results, without the seeds; files as their checksum
    arithmetic: list[dict[str, Any]]  # each kind with which parts of it were made: one, if nothing was resumed elsewhere
    code: dict[str, str]  # by what it makes: a hash of the code, or the commit of another checkout's
    commits: list[str]
    versions: dict[str, str]
    seconds: float  # of all stages together
    quantities: list[Quantity]
    claims: dict[str, str]  # verdict by claim
    stages: list[dict[str, Any]]  # the stamps, in order, each with its end as 'ended': seconds since 1970


def read_run(root: Path, profile: str) -> FinishedRun:
    """The run of a profile in an OUTPUT folder.

    Raises StageError if it is not finished, or if a result is not what a later stage was made from.
    """
    artifacts, name = root / "artifacts" / profile, root.resolve().name
    last, evaluated = (_stamp(artifacts, stage, name) for stage in DECISIVE_STAGES)
    seeds, experiments = tuple(last["config"]["seeds"]), list(last["config"]["experiments"])
    runs = [f"{experiment}_seed-{seed}" for experiment in experiments for seed in seeds]
    pilots = [f"pilot_seed-{seed}" for seed in seeds] if evaluated["config"]["training"]["start"] == "pilot" else []
    simulated = ["00_simulate"] if last["config"]["cohort"]["simulation"] else []
    names = [*simulated, "01_preprocess", *(f"03_train_{run}" for run in pilots), "02_calibrate_psi",
             *(f"03_train_{run}" for run in runs), *(f"04_evaluate_{run}" for run in runs), "04_evaluate", "05_stats"]
    stamps = [_stamp(artifacts, stage, name) for stage in names]
    steps = _steps(artifacts, [*experiments, *(["pilot"] if pilots else [])], seeds)
    figures, decisive = root / "figures" / profile, configuration(last, evaluated)
    if decisive["cohort"].get("data"):
        decisive["scans"] = digest(pd.read_csv(artifacts / "volumes" / "manifest.csv", usecols=SCANS).to_dict("list"))[:16]
    return FinishedRun(
        name, seeds, decisive, _distinct(each for stamp in stamps for each in stamp["arithmetic"]),
        {kind: _made_by(kind, MADE_BY[kind][0], found, name) for kind, found in steps.items()},
        sorted({stamp["commit"] for stamp in stamps}), last["versions"], sum(stamp["seconds"] for stamp in stamps),
        quantities(figures, seeds), verdicts(figures), stamps)


def configuration(*stamps: Mapping[str, Any]) -> dict[str, Any]:
    """What decides about results, of the stamps of stages that read all of it; the same wherever the run was made."""
    inputs = {name: value for stamp in stamps for name, value in stamp["inputs"].items()}
    found = {name: _portable(value, inputs) for stamp in stamps for name, value in stamp["config"].items()
             if name not in BESIDE}
    for name in ("training", "pilot"):
        found[name] = {field: value for field, value in found[name].items() if field not in INDECISIVE}
    if found["cohort"].get("data"):
        found["cohort"]["data"] = "given"  # a folder's name is its user's
    return found | {"number of seeds": len(next(stamp["config"]["seeds"] for stamp in stamps))}


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], below: str = "") -> list[str]:
    """The fields in which two configurations differ: 'training.epochs is 3, there 2'."""
    found = []
    for name in sorted({*ours, *theirs}):
        here, there = ours.get(name), theirs.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            found += differences(here, there, f"{below}{name}.")
        elif here != there:
            found.append(f"{below}{name} is {_short(here)}, there {_short(there)}")
    return found


def code_here(kinds: Sequence[str] = tuple(MADE_BY)) -> dict[str, str]:
    """Hash of this checkout's code by what it makes."""
    return {kind: code_hash({MADE_BY[kind][0]}) for kind in kinds}


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _portable(value: Any, inputs: Mapping[str, str]) -> Any:
    """A configuration without paths: a file is told by its checksum, as the stage's inputs have it."""
    if isinstance(value, dict):
        return {name: _portable(each, inputs) for name, each in value.items()}
    if isinstance(value, list):
        return [_portable(each, inputs) for each in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return f"sha256:{(inputs.get(Path(value).name) or 'unknown')[:16]}"
    return value


def _stamp(artifacts: Path, stage: str, run: str) -> dict[str, Any]:
    """The stamp of a stage whose outputs are there, and whose inputs are those that are there.

    Raises
    ------
    StageError
        It is not so.
    """
    path = artifacts / "stages" / f"{stage}.json"
    remedy = "finish that run first: make paper"
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
        outputs, inputs = dict(stamp["outputs"]), dict(stamp["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StageError(f"is not finished: no stage {stage} of {artifacts.name}", where=run, remedy=remedy) from None
    if gone := [name for name, kept in outputs.items() if not unchanged(path.parent / name, kept)]:
        raise StageError(f"{Path(gone[0]).name} is not what the stage {stage} wrote", where=run, remedy=remedy)
    for name, known in inputs.items():
        if name.endswith(".csv") and (given := artifacts / name).is_file() and file_sha256(given) != known:
            raise StageError(f"the stage {stage} is out of date: {name} has changed since", where=run, remedy=remedy)
    return stamp | {"ended": path.stat().st_mtime}


def _steps(artifacts: Path, experiments: Sequence[str], seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Stamps of long work by kind; a kind that the study has not is not there."""
    found = {kind: sorted({path for experiment in experiments for seed in seeds
                           for path in artifacts.glob(pattern.format(experiment=experiment, seed=seed))})
             for kind, (_, pattern) in MADE_BY.items()}
    return {kind: [_read_stamp(path) for path in paths] for kind, paths in found.items() if paths}


def _read_stamp(path: Path) -> dict[str, Any]:
    """Of long work. Raises StageError where it cannot be read."""
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
        return {name: stamp[name] for name in ("key", "config", "inputs", "commit")}
    except (OSError, ValueError, KeyError, TypeError):
        raise StageError("does not say what made it", where=path, remedy="delete it, then make paper") from None


def _made_by(kind: str, module: str, stamps: Sequence[Mapping[str, Any]], run: str) -> str:
    """The hash of this checkout's code where the stamps' keys are made of that, else the commit that they name.

    Raises
    ------
    StageError
        Parts of one kind were made by different code.
    """
    here = code_hash({module})
    found = {here if stamp["key"] == digest({"code": here, "config": stamp["config"], "inputs": stamp["inputs"]})
             else f"commit {stamp['commit']}" for stamp in stamps}
    if len(found) > 1:
        raise StageError(f"parts of it were made by different code ({kind})", where=run, remedy="run it in a new folder")
    return found.pop()


def _distinct(each: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in sorted({json.dumps(one, sort_keys=True) for one in each})]
