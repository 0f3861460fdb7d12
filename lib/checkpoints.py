"""What makes a long training repeatable and safe: determinism, checkpoints, a watch on dead outputs, progress."""

import json
import sys
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lib.errors import TrainingError
from lib.provenance import atomic, file_sha256, write_json

CONSTANT = 1e-4  # standard deviation in [0, 1] below which an output counts as constant: 0.4 HU


def deterministic(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow use only deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class Checkpoints(keras.callbacks.Callback):
    """Weights, optimizer and history after every epoch, in ``folder``.

    ``checkpoint.json`` names the newest file, with its hash, and is replaced last: a kill at any moment leaves a
    checkpoint that can be used. Weights and history always belong together.

    Attributes:
        rows: one dictionary an epoch: epoch (from 1), Keras's logs, seconds.
    """

    def __init__(self, folder: Path, key: str):
        super().__init__()
        self.folder, self.key = folder, key
        self.pointer = folder / "checkpoint.json"
        self.rows: list[dict] = []

    def resume(self, model: keras.Model) -> int:
        """Load the newest checkpoint of this very training into ``model``; the number of epochs that are done.

        A checkpoint of other code, configuration or data is dropped. A damaged one gives a warning and training
        starts from the beginning, which leads to the same result.
        """
        if not self.pointer.is_file():
            return 0
        try:
            known = json.loads(self.pointer.read_text(encoding="utf-8"))
            if known["key"] != self.key:
                print(f"{self.pointer}: of another configuration, dropped", file=sys.stderr)
                self.remove()
                return 0
            path = self.folder / known["file"]
            if file_sha256(path) != known["sha256"]:
                raise OSError("its checksum is wrong")
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            warnings.warn(f"{self.folder}: the checkpoint is damaged ({str(error).splitlines()[0]:.100}), training "
                          "starts again from the beginning", stacklevel=2)
            self.remove()
            return 0
        self.rows = known["rows"]
        return len(self.rows)

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in logs.items()}
        if not np.isfinite(values["loss"]):
            raise TrainingError(f"the loss is {values['loss']} in epoch {epoch + 1}: lower training.lr or lambda")
        self.rows.append({"epoch": epoch + 1, **values, "seconds": round(time.monotonic() - self._begin, 2)})
        path = self.folder / f"epoch-{epoch + 1:03d}.weights.h5"
        with atomic(path) as temporary:
            self.model.save_weights(temporary)
        write_json(self.pointer, {"key": self.key, "file": path.name, "sha256": file_sha256(path), "rows": self.rows})
        for old in self.folder.glob("epoch-*.weights.h5"):
            if old != path:
                old.unlink()

    def remove(self) -> None:
        """Delete all checkpoints: the training is done, or they are of no use."""
        self.pointer.unlink(missing_ok=True)
        for old in [*self.folder.glob("epoch-*.weights.h5"), *self.folder.glob(".partial-*")]:
            old.unlink()


class Collapse(keras.callbacks.Callback):
    """Reports a network whose output is constant (the dead start) after every epoch.

    Args:
        images, targets: one batch (batch, rows, columns, 1) to look at.
    """

    def __init__(self, images, targets):
        super().__init__()
        self.images, self.targets = images, targets

    def _constant(self, model: keras.Model) -> bool:
        output = np.asarray(model.unet(self.images, training=False))
        return output.std() < CONSTANT <= np.asarray(self.targets).std()

    def on_epoch_end(self, epoch, logs=None):
        if self._constant(self.model):
            print(f"epoch {epoch + 1}: the network's output is constant (dead start); if it stays so, set "
                  "unet.output_bias: data_mean", file=sys.stderr)

    def refuse(self, model: keras.Model) -> None:
        """Raise TrainingError if the trained network's output is constant."""
        if self._constant(model):
            raise TrainingError("the trained network's output is constant: it died at the start, see README "
                                "(set unet.output_bias: data_mean in the profile)")


class Progress(keras.callbacks.Callback):
    """One plain-text bar over all epochs, with the time left."""

    def __init__(self, name: str, epochs: int, batches: int, first: int):
        super().__init__()
        self.settings = {"desc": name, "total": epochs * batches, "initial": first * batches}

    def on_train_begin(self, logs=None):
        self._bar = tqdm(**self.settings, unit="step", mininterval=1.0, file=sys.stderr)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.set_postfix_str(f"epoch {epoch + 1}, loss {logs['loss']:.3g}")

    def on_train_end(self, logs=None):
        self._bar.close()
