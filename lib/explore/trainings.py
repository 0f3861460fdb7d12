"""What trainings have left so far: finished, at work or broken off, without disturbing one that is at work."""

import csv
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from filelock import FileLock, Timeout

LOG: Final = ["step", "epoch", "loss", "mse", "psi"]  # columns of a log that are read here
HISTORY: Final = {"epoch": "epoch", "val_total": "loss", "val_mse": "mse", "val_psi": "psi"}
KERAS: Final = {"epoch": "epoch", "val_loss": "loss", "val_mse": "mse", "val_psi": "psi"}  # of a checkpoint's rows
FINISHED, AT_WORK, BROKEN_OFF, UNKNOWN = "finished", "at work", "broken off", "not finished"


@dataclass(frozen=True)
class Training:
    """One run as it stands."""

    experiment: str
    seed: int
    state: str  # FINISHED, AT_WORK, BROKEN_OFF; UNKNOWN where the file system cannot say who holds the folder
    steps: pd.DataFrame  # LOG: a row every few steps, means over the epoch so far; psi is empty without a perceptual term
    epochs: pd.DataFrame  # LOG without step, of the validation: a row per epoch that has ended
    age: float  # seconds since the log's last row

    @property
    def name(self) -> str:
        """'E1, seed 5'."""
        return f"{self.experiment}, seed {self.seed}"

    @property
    def length(self) -> float:
        """Steps of an epoch, as far as the log shows them; NaN where it has no row."""
        ends = self.steps.groupby("epoch")["step"].max()
        return float(ends.iloc[0]) if len(ends) else float("nan")


def trainings(folder: Path) -> list[Training]:
    """Every run below ``folder`` (artifacts/<profile>/training) that has begun, by name."""
    found = []
    for path in sorted(folder.glob("*/seed-*")):
        seed = path.name.removeprefix("seed-")
        if path.is_dir() and seed.isdecimal() and (path / "log.csv").is_file():
            found.append(_read(path, int(seed)))
    return found


def _read(folder: Path, seed: int) -> Training:
    log = folder / "log.csv"
    steps = _log(log)
    epochs = _epochs(folder)
    if not steps["psi"].any():
        steps["psi"] = epochs["psi"] = float("nan")
    return Training(folder.parent.name, seed, state(folder), steps, epochs, max(0.0, time.time() - log.stat().st_mtime))


def state(folder: Path) -> str:
    """Of a training by its folder: stamped when it has ended well; locked as long as its process lives."""
    if (folder / "stamp.json").is_file():
        return FINISHED
    if (folder / ".held").exists():  # on a file system without locks the file is the lock
        return UNKNOWN
    lock = folder / ".lock"
    if not lock.exists():
        return BROKEN_OFF
    try:
        with FileLock(lock, timeout=0):
            return BROKEN_OFF
    except Timeout:
        return AT_WORK
    except OSError:  # not ours to lock
        return UNKNOWN


def _log(path: Path) -> pd.DataFrame:
    """The whole rows of a log that may be written at this moment."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    whole = [row for row in rows[1:] if len(row) == len(rows[0])]
    table = pd.DataFrame(whole, columns=rows[0] if rows else LOG).reindex(columns=LOG)
    return table.apply(pd.to_numeric, errors="coerce").dropna(subset=["step", "loss"])


def _epochs(folder: Path) -> pd.DataFrame:
    """Validation after each epoch: of a finished training from its history, else from its newest checkpoint."""
    if (folder / "history.csv").is_file():
        return _named(pd.read_csv(folder / "history.csv"), HISTORY)
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            return _named(pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["rows"]), KERAS)
        except (OSError, ValueError, KeyError, TypeError):  # it goes just now, or is damaged: the one before
            continue
    return _named(pd.DataFrame(), KERAS)


def _named(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    return table.reindex(columns=list(names)).rename(columns=names).apply(pd.to_numeric, errors="coerce")
