"""What a study needs beside its settings: files that the user names, and losses that can be calibrated.

Asked before anything runs: what is missing would stop a run after hours.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from lib.errors import StudyError
from lib.perceptual.configuration import LossConfiguration
from lib.study.config import EDGE, RANDOM, SACNN, Study

NAMES: Final = ("ImageNet", "Medical", SACNN, EDGE, RANDOM)  # contexts; any other weights are a file's


def weights_files(losses: Iterable[LossConfiguration]) -> list[Path]:
    """Files (of a SavedModel the folder) that losses name as their encoder's weights, each once."""
    return list(dict.fromkeys(Path(loss.weights) for loss in losses if loss.weights and loss.weights not in NAMES))


def brought_files(study: Study) -> list[Path]:
    """Weights of encoders that a user has, of the study and of its losses: what is measured with them is out of date where
    they change."""
    brought = [path for path in (study.encoder.weights, study.medical.weights) if isinstance(path, Path)]
    return list(dict.fromkeys([*brought, *weights_files(study.calibrated.values())]))


def require_given(study: Study) -> None:
    """Raises StudyError naming the field: a weights file that is not there, or whose path hangs on the folder in which a
    command runs; an experiment without a pixel term, beside which nothing can be calibrated; an encoder that is made
    later."""
    for field, path in _named(study):
        _require_file(field, path)
    for name, loss in study.chosen.items():
        if loss.encoder is not None and not loss.pixel_part.terms:
            raise StudyError("an experiment is calibrated beside its pixel term", where=f"losses.{name}.pixel",
                             remedy="name one, or train it by make sweep")
        if loss.weights == SACNN:
            raise StudyError("the autoencoder is trained for S3, after the experiments", where=f"losses.{name}.weights",
                             remedy="leave the loss to S3, or name a file")


def require_losses(losses: dict[str, LossConfiguration], where: str) -> None:
    """The same of the files that further losses name."""
    for name, loss in losses.items():
        for path in weights_files([loss]):
            _require_file(f"{where}: losses.{name}.weights", path)


def _named(study: Study) -> Iterator[tuple[str, Path]]:
    for section in ("encoder", "medical"):
        if isinstance(path := getattr(study, section).weights, Path):
            yield f"{section}.weights", path
    for name, path in study.supplement.networks.items():
        yield f"supplement.networks.{name}", path
    for name, loss in study.chosen.items():
        for path in weights_files([loss]):
            yield f"losses.{name}.weights", path


def _require_file(field: str, path: Path) -> None:
    if not path.is_absolute():
        raise StudyError(f"{path} hangs on the folder in which a command runs", where=field, remedy="give the whole path")
    if not path.exists():
        raise StudyError(f"{path} does not exist", where=field, remedy="mend the path, or leave it out")
