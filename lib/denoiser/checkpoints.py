"""Checkpoints of a long training: a kill at any moment costs at most N steps, and the end is the same."""

import json
import logging
import time
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from lib.artifacts.cache import Step, digest
from lib.artifacts.files import TEMPORARY, atomic, file_sha256, write_json
from lib.artifacts.provenance import arithmetic, worded
from lib.errors import TrainingError

KEPT = 2
log = logging.getLogger(__name__)


class Position(NamedTuple):
    """Where a training stands: finished epochs, and steps done in the one that follows."""

    epoch: int
    batch: int


class Course:
    """Counts the steps of a training that may have begun in mid-epoch: the one place for that arithmetic.

    ``length`` is steps per epoch, ``begin`` where this process began.
    """

    def __init__(self, length: int):
        self.length, self.begin = length, Position(0, 0)

    def done(self, epoch: int, batch: int) -> int:
        """Steps done in ``epoch`` after Keras's ``batch``, which counts from where this process began."""
        return batch + 1 + (self.begin.batch if epoch == self.begin.epoch else 0)

    def step(self, epoch: int, done: int) -> int:
        """Steps of the whole training, ``done`` of them in ``epoch``."""
        return epoch * self.length + done

    @property
    def first(self) -> int:
        """Steps of the whole training that were done before this process."""
        return self.step(*self.begin)


class StepCallback(keras.callbacks.Callback):
    """A callback that knows its place in the course of a training."""

    def __init__(self, course: Course):
        super().__init__()
        self.course, self.epoch = course, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        done = self.course.done(self.epoch, batch)
        self.on_step(self.course.step(self.epoch, done), done, logs)

    def on_step(self, step: int, done: int, logs: dict) -> None:
        """After a step: its number in the training and in the epoch, both from 1, and Keras's logs."""


class Checkpoints(StepCallback):
    """Weights, lambda, optimizer, running metrics, history and data position, every ``every`` steps and after every epoch.

    A checkpoint is ``step-<n>.weights.h5`` and, written after it, ``step-<n>.json`` with its hash: a kill at any moment
    leaves whole ones. The last two are kept. Of several workers only the chief writes.

    Parameters
    ----------
    folder : Path, where they are kept
    step : Step, what the training depends on: a checkpoint of anything else is refused
    length : int, steps per epoch
    every : int, optional, steps between checkpoints within an epoch, None for none
    writes : bool, whether this worker writes

    ``rows`` has a dictionary per epoch: epoch (from 1), Keras's logs, seconds. ``kept`` is plain data of other callbacks,
    which stand before this one: a checkpoint has it as it is.
    """

    def __init__(self, folder: Path, step: Step | None, length: int, every: int | None = None, writes: bool = True):
        super().__init__(Course(length))
        self.folder, self.step, self.every, self.writes = folder, step, every, writes
        self.rows: list[dict] = []
        self.kept: dict[str, Any] = {}
        self._metrics: list | None = None
        self._seconds = 0.0

    @cached_property
    def _made_from(self) -> dict:
        """What the training depends on, read once: it hashes files."""
        return self.step.made_from()

    def resume(self, model: keras.Model) -> Position:
        """Load the newest whole checkpoint into ``model``; where the training goes on.

        A damaged one gives a warning, and the one before is taken; with none left training starts from the beginning,
        which leads to the same result. Raises TrainingError, naming what changed, for one of another configuration.
        """
        for path in sorted(self.folder.glob("step-*.json"), reverse=True):
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                weights = path.with_suffix(".weights.h5")
                if file_sha256(weights) != known["sha256"]:
                    raise OSError("its checksum is wrong")
                self._require_same(known, path)
                model.load_weights(weights)
                self._go_on_after(known["arithmetic"], path)
                self.rows, self._metrics, self._seconds = known["rows"], known["metrics"], known["seconds"]
                self.kept = known["kept"]
                self.course.begin = Position(known["epoch"], known["batch"])
                break
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s: the checkpoint is damaged (%.100s), training goes on from the one before, or from the "
                            "beginning", path, str(error).splitlines()[0])
        return self.course.begin

    def _go_on_after(self, earlier: list[dict], path: Path) -> None:
        if earlier[-1] != (now := arithmetic()):
            log.warning("%s: begun with %s, goes on with %s: the end is not that of either, bit for bit", path,
                        worded(earlier[-1]), worded(now))
            earlier = [*earlier, now]
        self.step.arithmetic = earlier

    def _require_same(self, known: dict, path: Path) -> None:
        if known["key"] != digest(self._made_from):
            changed = ", ".join(changes(known["made_from"], self._made_from)) or "something that has no name"
            raise TrainingError(
                f"this training was begun with other settings, {changed}", where=path, remedy="undo the change and it goes "
                f"on from step {known['step']}, or delete {self.folder}/step-* to begin anew")

    @property
    def newest(self) -> str:
        """The newest checkpoint's file, for messages."""
        found = sorted(self.folder.glob("step-*.json"))
        return str(found[-1].with_suffix(".weights.h5")) if found else "none"

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch)
        self._started = time.monotonic() - self._seconds
        if self._metrics is not None:  # Keras has just reset them; those of the interrupted epoch go on
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        self._metrics, self._seconds = None, 0.0

    def on_step(self, step, done, logs):
        if self.every and done % self.every == 0 and done < self.course.length:
            metrics = [np.asarray(variable).tolist() for variable in self.model.metrics_variables]
            self._save(Position(self.epoch, done), metrics, time.monotonic() - self._started)

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, **values, "seconds": round(time.monotonic() - self._started, 2)})
        self._save(Position(epoch + 1, 0), None, 0.0)

    def _save(self, position: Position, metrics: list | None, seconds: float) -> None:
        if not self.writes:
            return
        if not all(np.isfinite(np.sum(weight)) for weight in self.model.get_weights()):
            return  # the next step's loss says so
        step = self.course.step(*position)
        path = self.folder / f"step-{step:09d}.weights.h5"
        with atomic(path) as temporary:
            self.model.save_weights(temporary)
        write_json(path.with_suffix("").with_suffix(".json"), {
            "key": digest(self._made_from), "made_from": self._made_from, "step": step, **position._asdict(),
            "sha256": file_sha256(path), "metrics": metrics, "seconds": seconds, "rows": self.rows,
            "kept": self.kept, "arithmetic": self.step.arithmetic,
        })
        for old in sorted(self.folder.glob("step-*.json"))[:-KEPT]:
            old.unlink(missing_ok=True)
            old.with_suffix(".weights.h5").unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all checkpoints, and what a kill left of one: the training is done."""
        for pattern in ("step-*.json", "step-*.weights.h5", f"{TEMPORARY}*"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


def changes(before: dict, now: dict) -> list[str]:
    """What differs between two descriptions of a step, in words: 'training.lr was 0.001, is 0.0001'."""
    flat = [_flat(each["config"]) for each in (before, now)]
    found = []
    for name in sorted(set(flat[0]) | set(flat[1])):
        old, new = (each.get(name, "absent") for each in flat)
        if old != new:
            found.append(f"{name} was {old}, is {new}")
    found += [f"the contents of {name} changed" for name in sorted(set(before["inputs"]) | set(now["inputs"]))
              if before["inputs"].get(name) != now["inputs"].get(name)]
    return found + ([] if before["code"] == now["code"] else ["the code changed"])


def _flat(value, prefix: str = "") -> dict:
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: each for key, part in value.items()
            for name, each in _flat(part, f"{prefix}.{key}" if prefix else key).items()}
