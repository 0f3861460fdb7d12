"""A trained network to hand on: a file that Keras alone loads, its checksum, and a card that says what it is."""

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lib.artifacts.files import atomic, check_ours, file_sha256, write_text
from lib.data.hu import HU_MAX, HU_MIN
from lib.deploy import card
from lib.deploy.card import CARD, MODEL, Trained
from lib.deploy.model import left_by_training
from lib.errors import OutputError, TrainingError
from lib.report.labels import Labels
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.study.sections import UNet

if TYPE_CHECKING:
    import keras

SUMS: Final = "SHA256SUMS"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first time that a zip knows: equal weights, equal bytes
RELEASE_MB: Final = 10.0  # of a release asset


class Exported(NamedTuple):
    """What was written."""

    folder: Path
    sha256: str  # of the model file
    megabytes: float  # of the model file, 10^6 bytes

    def __str__(self) -> str:
        size = f"{self.megabytes:.1f} MB" + (f", more than the {RELEASE_MB:g} MB of a release asset"
                                             if self.megabytes > RELEASE_MB else "")
        return f"{self.folder / MODEL}: {size}, SHA-256 {self.sha256}; its card is {CARD}"


def export(out: Path, run: Run, paths: Paths, settings: UNet, labels: Labels, trained: Trained | None = None) -> Exported:
    """Write the network of a run into a folder: ``model.keras`` (HU in, HU out), ``README.md``, ``SHA256SUMS``.

    Parameters
    ----------
    out : a new or empty folder, or one of an earlier export
    paths, settings, labels : of the study that trained it
    trained : what range its training set had; None: nobody knows

    Raises
    ------
    StageError : the run has not been trained. WeightsError : its weights are damaged, of another network, or not those that
    its training left, so that the card would be another network's.
    TrainingError : they hold NaN. OutputError : the folder holds other files, or cannot be written.
    """
    left_by_training(run, paths)
    out = out.expanduser()
    check_ours(out, SUMS, "the export")
    if (out / SUMS).is_file() and {line.split()[-1] for line in (out / SUMS).read_text("utf-8", "replace").splitlines()
                                   if line.strip()} != {MODEL, CARD}:
        raise OutputError(f"{SUMS} is not of an export", where=out, remedy="pass a new or empty folder")
    from lib.stages.train import load_unet  # TensorFlow: only now

    content = as_bytes(in_hu(load_unet(settings, paths.weights(run))))
    facts = card.facts(run, paths, labels, trained)
    with atomic(out / MODEL) as temporary:
        temporary.write_bytes(content)
    sha256 = file_sha256(out / MODEL)
    write_text(out / CARD, card.text(facts, sha256, len(content)))
    write_text(out / SUMS, "".join(f"{file_sha256(out / name)}  {name}\n" for name in (MODEL, CARD)))
    return Exported(out, sha256, len(content) / 1e6)


def as_asset(folder: Path, out: Path) -> Path:
    """What an export left in ``folder`` as one file to attach to a release, with a folder of that name inside."""
    parts = {f"{folder.name}/{name}": (folder / name).read_bytes() for name in (CARD, MODEL, SUMS)}
    with atomic(path := out / f"{folder.name}.zip") as temporary:
        temporary.write_bytes(zipped(parts))
    return path


def in_hu(unet: "keras.Model") -> "keras.Model":
    """The U-Net with the scale of its images built in: a model (slices, rows, columns, 1) -> the same, both HU.

    Exactly what :func:`lib.data.hu.normalise` and `denormalise` do: 4096 is a power of two, so that the order of sum and
    quotient changes no bit of a float32. Raises TrainingError for weights that are no numbers.
    """
    import keras
    import numpy as np
    from keras import layers

    if not all(np.isfinite(each).all() for each in unet.get_weights()):
        raise TrainingError("the weights hold NaN or infinity", remedy="delete them and train again")
    span = HU_MAX - HU_MIN
    hu = keras.Input((None, None, 1), name="ldct_hu")
    image = unet(layers.Rescaling(1 / span, offset=-HU_MIN / span, name="from_hu")(hu))
    return keras.Model(hu, layers.Rescaling(span, offset=HU_MIN, name="to_hu")(image), name="denoiser")


def as_bytes(model: "keras.Model") -> bytes:
    """The ``.keras`` file of a model, the same bytes for the same weights: without the time of saving, and without the
    addresses of objects in memory, by which Keras marks those that are shared (they are numbers and names here)."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(path := Path(folder) / MODEL)
        with zipfile.ZipFile(path) as saved:
            parts = {name: saved.read(name) for name in sorted(saved.namelist())}
    metadata = json.loads(parts["metadata.json"])
    parts["metadata.json"] = json.dumps({"keras_version": metadata["keras_version"]}).encode()
    parts["config.json"] = json.dumps(_unshared(json.loads(parts["config.json"]))).encode()
    return zipped(parts)


def zipped(parts: Mapping[str, bytes]) -> bytes:
    """A zip of these files, the same bytes for the same contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # whatever the system
            archive.writestr(entry, content)
    return stream.getvalue()


def _unshared(config: Any) -> Any:
    if isinstance(config, dict):
        return {name: _unshared(each) for name, each in config.items() if name != "shared_object_id"}
    return [_unshared(each) for each in config] if isinstance(config, list) else config
