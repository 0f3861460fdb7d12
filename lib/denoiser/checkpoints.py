"""Checkpoints of a long training: a kill at any moment costs at most N steps, and the end is the same."""

import json
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from lib.artifacts.cache import Step
from lib.artifacts.files import atomic, file_sha256, write_json
from lib.errors import TrainingError

KEPT = 2


class Position(NamedTuple):
    """Where a training stands: finished epochs, and steps done in the one that follows."""

    epoch: int
    batch: int


class Checkpoints(keras.callbacks.Callback):
    """Weights, optimizer, running metrics, history and data position, every ``every`` steps and after every epoch.

    A checkpoint is ``step-<n>.weights.h5`` and, written after it, ``step-<n>.json`` with its hash: a kill at any moment
    leaves whole ones. The last two are kept. Of several workers only the chief writes.

    Args:
        folder: where they are kept.
        step: what the training depends on: a checkpoint of anything else is refused.
        length: steps an epoch.
        every: steps between checkpoints within an epoch, None for none.
        writes: whether this worker writes.

    Attributes:
        rows: one dictionary an epoch: epoch (from 1), Keras's logs, seconds.
        begin: where :meth:`resume` found the training.
    """

    def __init__(self, folder: Path, step: Step, length: int, every: int | None = None, writes: bool = True):
        super().__init__()
        self.folder, self.step, self.length, self.every, self.writes = folder, step, length, every, writes
        self.rows: list[dict] = []
        self.begin = Position(0, 0)
        self._metrics: list | None = None
        self._seconds = 0.0

    def resume(self, model: keras.Model) -> Position:
        """Load the newest whole checkpoint into ``model``; where the training goes on.

        A damaged one gives a warning, and the one before is taken; with none left training starts from the beginning,
        which leads to the same result.

        Raises TrainingError where a checkpoint belongs to another configuration, naming what changed.
        """
        for path in sorted(self.folder.glob("step-*.json"), reverse=True):
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                weights = path.with_suffix(".weights.h5")
                if file_sha256(weights) != known["sha256"]:
                    raise OSError("its checksum is wrong")
                self._require_same(known, path)
                model.load_weights(weights)
                self.rows, self._metrics, self._seconds = known["rows"], known["metrics"], known["seconds"]
                self.begin = Position(known["epoch"], known["batch"])
                return self.begin
            except (OSError, ValueError, KeyError) as error:
                warnings.warn(f"{path}: the checkpoint is damaged ({str(error).splitlines()[0]:.100}), training goes "
                              "on from the one before, or from the beginning", stacklevel=2)
        return self.begin

    def _require_same(self, known: dict, path: Path) -> None:
        if known["key"] != self.step.key:
            changed = "; ".join(changes(known["made_from"], self.step.made_from())) or "something that has no name"
            raise TrainingError(f"{path}: this training was begun with other settings, {changed}: undo the change and it "
                                f"goes on from step {known['step']}, or delete {self.folder}/step-* to begin anew")

    @property
    def newest(self) -> str:
        """The newest checkpoint's file, for messages."""
        found = sorted(self.folder.glob("step-*.json"))
        return str(found[-1].with_suffix(".weights.h5")) if found else "none"

    def on_epoch_begin(self, epoch, logs=None):
        self._first = self.begin.batch if epoch == self.begin.epoch else 0
        self._started = time.monotonic() - self._seconds
        if self._metrics is not None:  # Keras has just reset them; those of the interrupted epoch go on
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        self._metrics, self._seconds = None, 0.0
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        done = self._first + batch + 1
        if self.every and done % self.every == 0 and done < self.length:
            metrics = [np.asarray(variable).tolist() for variable in self.model.metrics_variables]
            self._save(Position(self._epoch, done), metrics, time.monotonic() - self._started)

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, **values, "seconds": round(time.monotonic() - self._started, 2)})
        self._save(Position(epoch + 1, 0), None, 0.0)

    def _save(self, position: Position, metrics: list | None, seconds: float) -> None:
        if not self.writes:
            return
        if not all(np.isfinite(np.sum(weight)) for weight in self.model.get_weights()):
            return  # the next step's loss says so
        step = position.epoch * self.length + position.batch
        path = self.folder / f"step-{step:09d}.weights.h5"
        with atomic(path) as temporary:
            self.model.save_weights(temporary)
        write_json(path.with_suffix("").with_suffix(".json"), {
            "key": self.step.key, "made_from": self.step.made_from(), "step": step, **position._asdict(),
            "sha256": file_sha256(path), "metrics": metrics, "seconds": seconds, "rows": self.rows,
        })
        for old in sorted(self.folder.glob("step-*.json"))[:-KEPT]:
            self._delete(old)

    @staticmethod
    def _delete(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.with_suffix(".weights.h5").unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all checkpoints, and what a kill left of one: the training is done."""
        for path in [*self.folder.glob("step-*.json"), *self.folder.glob("step-*.weights.h5"),
                     *self.folder.glob(".partial-*")]:
            path.unlink(missing_ok=True)


def changes(before: dict, now: dict) -> list[str]:
    """What differs between two descriptions of a step, in words: 'training.lr was 0.001, is 0.0001'."""
    told = []
    flat = [_flat(each["config"]) for each in (before, now)]
    for name in sorted(set(flat[0]) | set(flat[1])):
        old, new = (each.get(name, "absent") for each in flat)
        if old != new:
            told.append(f"{name} was {old}, is {new}")
    told += [f"the contents of {name} changed" for name in sorted(set(before["inputs"]) | set(now["inputs"]))
             if before["inputs"].get(name) != now["inputs"].get(name)]
    return told + ([] if before["code"] == now["code"] else ["the code changed"])


def _flat(value, prefix: str = "") -> dict:
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: each for key, part in value.items()
            for name, each in _flat(part, f"{prefix}.{key}" if prefix else key).items()}
