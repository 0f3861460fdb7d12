"""What watches a long training: dead outputs, losses that are no numbers or diverge, the log, the time left."""

import csv
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lib.denoiser.checkpoints import Checkpoints, Course, StepCallback
from lib.errors import TrainingError

CONSTANT = 1e-4  # standard deviation in [0, 1] below which an output counts as constant: 0.4 HU
WINDOW, DIVERGED = 100, 20.0  # a mean loss over so many steps, so many times the lowest one before, has diverged
LOOKS = 4  # looks at the output within the patience
log = logging.getLogger(__name__)


class Watch(StepCallback):
    """Stops a training that cannot become good, with the step, the batch's slices and the last good checkpoint.

    Looks at one batch, ``images`` and ``targets`` (batch, rows, columns, 1); ``patience`` are steps for which the output may
    be constant (the dead start: some networks recover); ``slices`` names those of the step with this number in its epoch.
    """

    def __init__(self, images, targets, patience: int, checkpoints: Checkpoints, slices: Callable[[int], str],
                 watched: str = "loss"):
        super().__init__(checkpoints.course)
        self.images, self.targets = images, targets
        self.patience, self.checkpoints, self.slices = patience, checkpoints, slices
        self._constant_since: int | None = None
        self._lowest, self.watched = np.inf, watched

    def is_constant(self, model: keras.Model) -> bool:
        """Whether the network answers with one value, and should not."""
        output = np.asarray(model.unet(self.images, training=False), np.float32)
        return bool(output.std() < CONSTANT <= np.asarray(self.targets).std())

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch)
        self._seen: tuple[int, float] | None = None  # steps of the epoch and their summed loss, where the window begins

    def on_step(self, step, done, logs):
        if not np.isfinite(logs["loss"]):
            raise self._stop(step, done, f"the loss is {logs['loss']}", "lower training.lr or lambda, or use "
                             "compute.precision=float32")
        total = done * logs[self.watched]  # Keras reports the mean over the epoch so far
        if self._seen is None:
            self._seen = done, total
        elif done - self._seen[0] >= WINDOW:
            mean = (total - self._seen[1]) / (done - self._seen[0])
            if mean > DIVERGED * self._lowest:
                raise self._stop(step, done, f"the loss diverges: {mean:.3g} over the last {WINDOW} steps, it was "
                                 f"{self._lowest:.3g}", "lower training.lr")
            self._lowest, self._seen = min(self._lowest, mean), (done, total)
        if step % max(1, self.patience // LOOKS) == 0:
            self._look(step, done)

    def _look(self, step: int, done: int) -> None:
        if not self.is_constant(self.model):
            self._constant_since = None
            return
        if self._constant_since is None:
            self._constant_since = step
            log.warning("step %d: the network's output is constant (dead start), it has %d steps to recover", step,
                        self.patience)
        if step - self._constant_since >= self.patience:
            raise self._stop(step, done, f"the network's output has been constant for {step - self._constant_since} "
                             "steps (dead start)", "pass SET=unet.output_bias=data_mean")

    def _stop(self, step: int, done: int, what: str, remedy: str) -> TrainingError:
        return TrainingError(f"stopped at step {step} (epoch {self.epoch + 1}): {what}, slices of the batch: "
                             f"{self.slices(done - 1)}, last good checkpoint: {self.checkpoints.newest}", remedy=remedy)

    def refuse(self, model: keras.Model) -> None:
        """Raise TrainingError if the trained network's output is constant."""
        if self.is_constant(model):
            raise TrainingError("the trained network's output is constant: it died at the start",
                                remedy="pass SET=unet.output_bias=data_mean (README)")


class Moved(keras.callbacks.Callback):
    """Adds ``moved`` to an epoch's logs: how far the weights are from ``start``, relative to its norm. Experiments that
    start from one network are compared at equal distances, too: after equal steps some have hardly left it."""

    def __init__(self, start: list[np.ndarray]):
        super().__init__()
        self.start = start

    def on_epoch_end(self, epoch, logs=None):
        pairs = zip(self.model.unet.get_weights(), self.start, strict=True)
        way = sum(np.square(now - before, dtype=np.float64).sum() for now, before in pairs)
        logs["moved"] = float(np.sqrt(way / sum(np.square(before, dtype=np.float64).sum() for before in self.start)))


class StepLog(StepCallback):
    """The means over the epoch so far and the step's lambda, every ``every`` steps: a row of ``log.csv``, and TensorBoard's
    scalars.

    Rows of steps that a resumed ``course`` does again are replaced; ``notes`` (experiment, seed) are the same in every row.
    """

    def __init__(self, folder: Path, every: int, course: Course, notes: dict | None = None):
        super().__init__(course)
        self.path, self.every, self.notes = folder / "log.csv", max(1, every), notes or {}
        if course.first == 0:
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._board = tf.summary.create_file_writer(str(folder / "tensorboard"))
        self._names: list[str] | None = None
        self._kept = self._rows_until(course.first)

    def _rows_until(self, step: int) -> list[list[str]]:
        """The rows of an earlier run up to ``step``; a line that a kill cut short is none."""
        if step == 0 or not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        place = rows[0].index("step")
        return [row for row in rows[1:] if len(row) == len(rows[0]) and int(row[place]) <= step]

    def _write(self, step: int, logs: dict) -> None:
        if self._names is None:
            self._names = list(logs)
            with self.path.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([[*self.notes, "step", "epoch", *self._names], *self._kept])
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow([*self.notes.values(), step, self.epoch + 1,
                                         *(f"{logs[name]:.7g}" for name in self._names)])

    def on_step(self, step, done, logs):
        if step % self.every == 0 or done == self.course.length:
            logs = logs | {"lambda": logs.get("lambda", float(self.model.lambda_.numpy()))}
            self._write(step, logs)
            self._scalars(step, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._scalars(self.course.step(epoch + 1, 0), {f"epoch/{name}": value for name, value in logs.items()})

    def _scalars(self, step: int, logs: dict) -> None:
        with self._board.as_default():
            for name, value in logs.items():
                tf.summary.scalar(name, value, step)
        self._board.flush()


class Progress(keras.callbacks.Callback):
    """One plain-text bar over all epochs, with the time left (``tqdm.keras`` cannot begin in mid-training)."""

    def __init__(self, name: str, epochs: int, course: Course):
        super().__init__()
        self._bar = tqdm(desc=name, total=epochs * course.length, initial=course.first, unit="step", mininterval=1.0,
                         file=sys.stderr)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.set_postfix_str(f"epoch {epoch + 1}, loss {logs['loss']:.3g}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
