"""A trained network as a value: what it computes, its name, its checksum, where it comes from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.artifacts.files import file_sha256
from lib.artifacts.provenance import commit
from lib.data.hu import HU_MAX, HU_MIN
from lib.errors import StageError, WeightsError
from lib.report.labels import Labels
from lib.report.words import listed
from lib.study.again import make_paper
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.study.sections import UNet

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Model:
    """A denoiser. ``network`` takes and gives HU of one slice, (rows, columns), float32, in the trained HU range."""

    network: Callable[[np.ndarray], np.ndarray]
    name: str  # 'E1, seed 5'
    sha256: str  # of the weights file
    version: str  # commit of the code that runs it
    provenance: Mapping[str, str]  # profile, commit (of the training), loss, made_from (cohort, encoder, ...)

    def denoise(self, hu: np.ndarray) -> np.ndarray:
        """Denoise slices one at a time.

        Parameters
        ----------
        hu : array, (slices, rows, columns), HU, of any size

        Returns
        -------
        array : the same shape, HU, float32. A voxel outside the range that the network can give back (metal) keeps its
            value; the network sees it at the range's end.

        Raises
        ------
        TrainingError : the network answers with values that are no numbers
        """
        result = np.array(hu, np.float32)
        for image in result:
            inside = (image >= HU_MIN) & (image <= HU_MAX)
            image[inside] = self.network(np.clip(image, HU_MIN, HU_MAX))[inside]
        return result


def load(run: Run, paths: Paths, settings: UNet, labels: Labels) -> Model:
    """The U-Net of a run after its training. Raises StageError: it has not been trained; WeightsError: its weights are not
    those that the training left."""
    known, sha256 = left_by_training(run, paths)
    if not known:
        raise not_trained(run, paths)
    shown = labels.experiments.get(run.experiment)
    provenance = {"profile": paths.profile, "commit": known["commit"], "loss": shown.label if shown else run.experiment,
                  "made_from": labels.provenance_at(known["commit"])}
    return Model(_network(settings, paths.weights(run)), str(run), sha256, commit(), provenance)


def left_by_training(run: Run, paths: Paths) -> tuple[dict[str, Any], str]:
    """The stamp of a training, empty where it left none, and the SHA-256 of the weights that are there.

    Raises StageError: there are none; WeightsError: the stamp knows others.
    """
    weights, stamp = paths.weights(run), paths.training(run) / "stamp.json"
    if not weights.is_file():
        raise not_trained(run, paths)
    known, sha256 = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}, file_sha256(weights)
    if known and known["outputs"].get(weights.name, ["", "", ""])[2] != sha256:
        raise WeightsError("not the weights that its training left", where=weights,
                           remedy=f"train it again: {make_paper(paths.profile, paths.root)}")
    return known, sha256


def not_trained(run: Run, paths: Paths) -> StageError:
    """The error of a run whose training did not end: it names the other seeds of its experiment that were trained, if there
    are any."""
    found = paths.training(run).parent.glob(f"*/{paths.weights(run).name}")
    names = [path.parent.name.removeprefix("seed-") for path in found]
    seeds = sorted(int(name) for name in names if name.isdecimal() and int(name) != run.seed)
    return StageError(f"{run} of the {paths.profile} profile has not been trained", remedy=(
        f"choose --seed from {listed(list(map(str, seeds)))}" if seeds else f"run {make_paper(paths.profile, paths.root)}"))


def _network(settings: UNet, weights: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A U-Net that is built when it is first needed: to refuse a series takes no TensorFlow."""
    @cache
    def built() -> "keras.Model":
        from lib.stages.evaluate import network

        return network(settings, weights)

    def denoised(hu: np.ndarray) -> np.ndarray:
        from lib.denoiser.inference import denoise

        return denoise(built(), hu)

    return denoised
