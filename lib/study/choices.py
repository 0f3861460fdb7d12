"""What the environment changes in a profile: DATA, ENCODER, LAMBDA ... (the Makefile exports them), SET for any field."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lib.data.patients import SUBSETS, pseudonym_unless_known
from lib.errors import StudyError
from lib.perceptual import presets
from lib.simulation.contents import is_simulation

ENVIRONMENT = ("DATA", "INSERT", "SPLIT", "ENCODER", "VGG19_WEIGHTS", "MEDICAL_WEIGHTS", "LAMBDA", "EXPERIMENTS", "SEEDS",
               "SET")
FILES = ("DATA", "SPLIT", "VGG19_WEIGHTS", "MEDICAL_WEIGHTS", "EXPERIMENTS")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # no choice of ours, but Dask sets them to 1
OF_EXPERIMENTS = ("losses", "experiments", "seeds")


def apply(settings: dict, environment: Mapping[str, str]) -> None:
    """Change ``settings``, a profile's content, by the environment's choices. Raises StudyError naming the variable."""
    chosen = {name: value for name in ENVIRONMENT if (value := environment.get(name))}
    if "DATA" in chosen:
        settings["cohort"]["data"] = _existing("DATA", chosen["DATA"], folder=True)
        settings["cohort"].pop("simulation", None)
        if not is_simulation(settings["cohort"]["data"]):
            settings["cohort"].pop("split", None)
    if "INSERT" in chosen:
        settings["cohort"]["insertion"] = {"dose_fraction": chosen["INSERT"]}
        settings["cohort"].pop("split", None)
    if "SPLIT" in chosen:
        settings["cohort"]["split"] = read_split(_existing("SPLIT", chosen["SPLIT"]), inserted="INSERT" in chosen)
    _choose_encoders(settings, chosen)
    if "LAMBDA" in chosen:
        _choose_lambda(settings, chosen["LAMBDA"])
    if "EXPERIMENTS" in chosen:
        given = read_experiments(_existing("EXPERIMENTS", chosen["EXPERIMENTS"]))
        losses = settings.get("losses", {}) | given.get("losses", {})
        names = dict.fromkeys([*settings.get("experiments", presets.paper()), *losses])
        settings.update({"experiments": list(names)} | given | {"losses": losses})
    if "SEEDS" in chosen:
        settings["seeds"] = _seeds(settings, chosen["SEEDS"])
    if "SET" in chosen:
        assigned = _assignments(chosen["SET"].split())
        settings.update(OmegaConf.to_container(OmegaConf.merge(settings, assigned)))


def _seeds(settings: dict, number: str) -> list[int]:
    """So many seeds, from the first of the study on."""
    if not (number.isdecimal() and int(number) > 0):
        raise StudyError(f"SEEDS={number} is no number of seeds", remedy="pass 1, 2, 3 ...; SET=seeds=[5,9] chooses which")
    first = settings["seeds"][0]
    return list(range(first, first + int(number)))


def _choose_encoders(settings: dict, chosen: Mapping[str, str]) -> None:
    if "ENCODER" in chosen:
        encoders = {"vgg16": "package", "vgg19": "keras"}
        if chosen["ENCODER"] not in encoders:
            raise StudyError(f"ENCODER={chosen['ENCODER']} is not an encoder", remedy=f"choose one of {', '.join(encoders)}")
        settings["encoder"] = {"architecture": chosen["ENCODER"], "weights": encoders[chosen["ENCODER"]]}
    if "VGG19_WEIGHTS" in chosen:
        if chosen.get("ENCODER") == "vgg16":
            raise StudyError("ENCODER=vgg16 and VGG19_WEIGHTS exclude each other", remedy="leave one out")
        weights = _existing("VGG19_WEIGHTS", chosen["VGG19_WEIGHTS"])
        settings["encoder"] = {"architecture": "vgg19", "weights": weights}
    if "MEDICAL_WEIGHTS" in chosen:
        settings["medical"]["weights"] = _existing("MEDICAL_WEIGHTS", chosen["MEDICAL_WEIGHTS"])


def _choose_lambda(settings: dict, choice: str) -> None:
    state, _, rule = choice.partition("-")
    if state not in ("published", "untrained", "pilot") or rule not in ("", "decade", "exact"):
        raise StudyError(f"LAMBDA={choice} is not a choice", remedy="choose published, untrained or pilot, each alone "
                         "(decade) or with -exact, for example LAMBDA=pilot-exact")
    settings["calibration"].update(state=state, rule=rule or "decade")


def portable(environment: Mapping[str, str]) -> dict[str, str | None]:
    """The choices as another process, in another folder, must have them: paths absolute, None for what is not chosen."""
    chosen = {name: environment.get(name) or None for name in ENVIRONMENT + THREADS}
    return chosen | {name: str(Path(chosen[name]).expanduser().resolve()) for name in FILES if chosen[name]}


def _assignments(texts: Sequence[str]) -> DictConfig:
    for text in texts:
        name, equals, _ = text.partition("=")
        if not (equals and all(name.split("."))):  # OmegaConf would set None, or a field without a name
            raise StudyError(f"{text} is no field=value", where="SET", remedy="for example SET='training.batch=8'")
        try:
            OmegaConf.from_dotlist([text])
        except (yaml.YAMLError, OmegaConfBaseException):
            raise StudyError(f"{text}: the value is not YAML", where="SET",
                             remedy="for example 8, 1.0e-4 or [SIM01,SIM02]") from None
    return OmegaConf.from_dotlist(list(texts))


def read_experiments(path: Path) -> dict[str, Any]:
    """The user's experiments: a YAML file with some of ``losses``, ``experiments`` and ``seeds``, as a profile has them.

    Without ``experiments`` the profile's stay, and every loss of the file joins them. Raises StudyError.
    """
    def wrong(what: str) -> StudyError:
        return StudyError(what, where=f"EXPERIMENTS={path}",
                          remedy="docs/running.md, Experiments of your own, has an example")

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise wrong(f"not YAML ({' '.join(str(error).split()):.120})") from None
    if not isinstance(given, dict) or not given:
        raise wrong(f"expected a mapping with some of {', '.join(OF_EXPERIMENTS)}")
    if unknown := [name for name in given if name not in OF_EXPERIMENTS]:
        raise wrong(f"there is no field {unknown[0]}, choose from {', '.join(OF_EXPERIMENTS)}")
    losses = given.get("losses", {})
    if not isinstance(losses, dict) or not all(isinstance(loss, dict) for loss in losses.values()):
        raise wrong("losses: expected a mapping of names to fields of a loss")
    for name in losses:
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", str(name)) or name == "ldct":
            raise wrong(f"losses: {name} is no name for files and tables, use letters, digits and . + - _")
    return given


def read_split(path: Path, inserted: bool = False) -> dict[str, list[str]]:
    """The user's split: a CSV file with the columns patient and subset (train, validation, test).

    A patient is a challenge or TCIA identifier, a pseudonym as `make check` shows it, or a PatientID, which becomes the
    pseudonym here, so that it gets into no output. With ``inserted`` noise every patient has a pseudonym, those of
    public collections, too. Raises StudyError naming the line.
    """
    parts: dict[str, list[str]] = {name: [] for name in SUBSETS}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise StudyError("is no text in UTF-8", where=f"SPLIT={path}", remedy="save it as CSV in UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            if {"patient", "subset"} - {name for name, value in row.items() if value} or row["subset"] not in SUBSETS:
                raise StudyError(f"expected the columns patient,subset with a subset of {', '.join(SUBSETS)}",
                                 where=f"SPLIT={path}, line {reader.line_num}")
            parts[row["subset"]].append(pseudonym_unless_known(row["patient"].strip(), public=not inserted))
    except csv.Error as error:
        raise StudyError(f"no table ({error})", where=f"SPLIT={path}, line {reader.line_num}",
                         remedy="write two columns, patient,subset") from None
    return parts


def _existing(name: str, value: str, folder: bool = False) -> Path:
    try:
        path = Path(value).expanduser().resolve()
        there = path.is_dir() if folder else path.is_file()
    except (RuntimeError, OSError, ValueError):  # no such user, too long, a null character
        there = False
    if not there:
        raise StudyError(f"{name}={value} does not exist", remedy=f"pass a {'folder of DICOM files' if folder else 'file'}")
    return path
