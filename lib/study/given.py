"""What a study needs beside its settings: files that the user names, and losses that can be calibrated.

Asked before anything runs: what is missing would stop a run after hours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lib.errors import StudyError
from lib.perceptual.configuration import LossConfiguration
from lib.study.config import EDGE, RANDOM, SACNN, Study

NAMES: Final = ("ImageNet", "Medical", SACNN, EDGE, RANDOM)  # contexts; any other weights are a file's


def brought_files(study: Study) -> dict[str, Path]:
    """Weights of encoders that a user has, of the study and of its losses, by field: what is measured with them is out of
    date where they change. Of a SavedModel its folder."""
    found = {f"{section}.weights": path for section in ("encoder", "medical")
             if isinstance(path := getattr(study, section).weights, Path)}
    return found | weights_files(study.calibrated)


def weights_files(losses: Mapping[str, LossConfiguration]) -> dict[str, Path]:
    """Files that losses name as their encoder's weights, by field."""
    return {f"losses.{name}.weights": Path(loss.weights) for name, loss in losses.items()
            if loss.weights and loss.weights not in NAMES}


def require_files(files: Mapping[str, Path]) -> None:
    """Raises StudyError naming the field of a file that is not there, or whose path hangs on the folder in which one is:
    notebooks have another."""
    for field, path in files.items():
        if not path.is_absolute():
            raise StudyError(f"{path} hangs on the folder in which one is", where=field, remedy="give the whole path")
        if not path.exists():
            raise StudyError(f"{path} does not exist", where=field, remedy="mend the path, or leave it out")


def require_calibrated(losses: Mapping[str, LossConfiguration]) -> None:
    """Raises StudyError naming the field for an experiment without a pixel term, beside which nothing can be calibrated, or
    with an encoder that is made later."""
    for name, loss in losses.items():
        if loss.encoder is not None and not loss.pixel_part.terms:
            raise StudyError("an experiment is calibrated beside its pixel term", where=f"losses.{name}.pixel",
                             remedy="name one, or train it by make sweep")
        if loss.weights == SACNN:
            raise StudyError("the autoencoder is trained for S3, after the experiments", where=f"losses.{name}.weights",
                             remedy="leave the loss to S3, or name a file")
