"""What the environment changes in a profile: DATA, ENCODER, LAMBDA ... (the Makefile exports them), SET for any field."""

import csv
from collections.abc import Mapping
from pathlib import Path

import yaml

from lib.data.patients import SUBSETS, pseudonym_unless_known
from lib.errors import StudyError
from lib.simulation.contents import is_simulation

ENVIRONMENT = ("DATA", "INSERT", "SPLIT", "ENCODER", "VGG19_WEIGHTS", "MEDICAL_WEIGHTS", "LAMBDA", "SET")


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
    if "ENCODER" in chosen:
        encoders = {"vgg16": "package", "vgg19": "keras"}
        if chosen["ENCODER"] not in encoders:
            raise StudyError(f"ENCODER={chosen['ENCODER']} is not an encoder: choose one of {', '.join(encoders)}")
        settings["encoder"] = {"architecture": chosen["ENCODER"], "weights": encoders[chosen["ENCODER"]]}
    if "VGG19_WEIGHTS" in chosen:
        if chosen.get("ENCODER") == "vgg16":
            raise StudyError("ENCODER=vgg16 and VGG19_WEIGHTS exclude each other: leave one out")
        weights = _existing("VGG19_WEIGHTS", chosen["VGG19_WEIGHTS"])
        settings["encoder"] = {"architecture": "vgg19", "weights": weights}
    if "MEDICAL_WEIGHTS" in chosen:
        settings["medical"]["weights"] = _existing("MEDICAL_WEIGHTS", chosen["MEDICAL_WEIGHTS"])
    if "LAMBDA" in chosen:
        state, _, rule = chosen["LAMBDA"].partition("-")
        if state not in ("published", "untrained", "trained") or rule not in ("", "decade", "exact"):
            raise StudyError(
                f"LAMBDA={chosen['LAMBDA']} is not a choice: published, untrained or trained, "
                "each alone (decade) or with -exact, for example LAMBDA=trained-exact"
            )
        settings["calibration"].update(state=state, rule=rule or "decade")
    for assignment in chosen.get("SET", "").split():
        _assign(settings, assignment)


def _assign(settings: dict, assignment: str) -> None:
    """Change one field by its dotted name: 'training.batch=8'."""
    name, equals, value = assignment.partition("=")
    *sections, field = name.split(".")
    place = settings
    for section in sections:
        place = place.setdefault(section, {}) if isinstance(place, dict) else None
    if not (equals and sections and field and isinstance(place, dict)):
        raise StudyError(f"SET: {assignment} is no section.field=value, for example SET='training.batch=8'")
    try:
        place[field] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise StudyError(f"SET: {assignment}: the value is not YAML, for example 8, 1.0e-4 or [SIM01, SIM02]") from None


def read_split(path: Path, inserted: bool = False) -> dict[str, list[str]]:
    """The user's split: a CSV file with the columns patient and subset (train, validation, test).

    A patient is a challenge or TCIA identifier, a pseudonym as `make check` shows it, or a PatientID, which becomes the
    pseudonym here, so that it gets into no output. With ``inserted`` noise every patient has a pseudonym, those of
    public collections, too. Raises StudyError naming the line.
    """
    parts: dict[str, list[str]] = {name: [] for name in SUBSETS}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in (reader := csv.DictReader(stream)):
            if {"patient", "subset"} - {name for name, value in row.items() if value} or row["subset"] not in SUBSETS:
                raise StudyError(f"SPLIT={path}, line {reader.line_num}: expected the columns patient,subset with a "
                                 f"subset of {', '.join(SUBSETS)}")
            parts[row["subset"]].append(pseudonym_unless_known(row["patient"].strip(), public=not inserted))
    return parts


def _existing(name: str, value: str, folder: bool = False) -> Path:
    path = Path(value).expanduser().resolve()
    if not (path.is_dir() if folder else path.is_file()):
        raise StudyError(f"{name}={value} does not exist: pass a {'folder of DICOM files' if folder else 'file'}")
    return path
