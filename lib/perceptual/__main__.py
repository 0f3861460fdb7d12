"""The command line: ``python -m perceptual_influence lint LOSS.json --model MODEL.keras --pairs PAIRS.npz``.

Everything is data: no code comes from the files (no pickle, Keras's safe mode).
"""

import argparse
import json
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from .configuration import LambdaRule, LossConfiguration
from .findings import Code

ARRAYS = ("input", "target")
CLEAN, FOUND, BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Its status: 0 nothing found, 1 findings, 2 input that cannot be used (one line on stderr)."""
    chosen = _parser().parse_args(arguments)
    try:
        report = _lint(chosen)
    except ValueError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return BAD_INPUT
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {error}: pip install 'perceptual-influence[tensorflow]'\n")
        return BAD_INPUT
    except Exception as error:  # noqa: BLE001 - whatever a user's files set off: 1 is the status of findings
        sys.stderr.write(f"error: {type(error).__name__}: {' '.join(str(error).split()):.300}\n")
        return BAD_INPUT
    sys.stdout.write((json.dumps(report.as_dict(), indent=1) if chosen.json else str(report)) + "\n")
    return FOUND if len(report) else CLEAN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m perceptual_influence", description="Perceptual losses, checked.")
    lint = parser.add_subparsers(dest="command", required=True).add_parser(
        "lint", help="what ten pairs say about a loss", description="What ten pairs say about a loss: one line each."
    )
    lint.add_argument("loss", type=Path, help="JSON with the fields of LossConfiguration; loss_a is its pixel term")
    lint.add_argument("--model", type=Path, required=True, help="the network at its start, a .keras file")
    lint.add_argument(
        "--pairs", type=Path, required=True, help=".npz with arrays input and target, (pairs, rows, columns, channels)"
    )
    lint.add_argument(
        "--lambda", dest="lambda_", type=float, help="the weight that is meant; default: the file's, if a number"
    )
    lint.add_argument(
        "--ignore", action="append", default=[], choices=get_args(Code), help="findings to leave out; may be repeated"
    )
    lint.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _lint(chosen: argparse.Namespace) -> Any:
    configuration = _configuration(chosen.loss)
    model, pairs = _model(chosen.model), _pairs(chosen.pairs)
    from .linter import lint
    from .losses import TotalLoss

    if configuration.pixel is None:
        raise ValueError(f"{chosen.loss}: pixel: null, there is no loss_a to stand beside")
    lambda_ = configuration.lambda_.value if chosen.lambda_ is None else chosen.lambda_
    pixel = TotalLoss(replace(configuration, encoder=None, layers=(), lambda_=LambdaRule(0.0)))
    return lint(pixel, _perceptual(configuration, chosen.loss), model, [pairs], lambda_).without(chosen.ignore)


def _configuration(path: Path) -> LossConfiguration:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, Mapping):
            raise ValueError(f"a {type(data).__name__}, expected an object with the fields of a loss")
        found = LossConfiguration.from_dict(data)
    except OSError as error:
        raise ValueError(f"{path}: it cannot be read ({error.strerror})") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if found.encoder is None:
        raise ValueError(f"{path}: encoder: null, there is no perceptual term to check")
    return found


def _perceptual(configuration: LossConfiguration, path: Path) -> Any:
    from .losses import PerceptualLoss

    try:
        return PerceptualLoss(configuration)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # Keras wraps every failure of a download in a bare Exception
        reason = f"{type(error).__name__}: {error!s:.120}"
        if configuration.weights != "ImageNet":
            raise ValueError(f"{path}: the encoder cannot be made ({reason})") from error
        raise ValueError(
            f"{path}: weights: ImageNet's of {configuration.encoder} cannot be had ({reason}), name a file or null"
        ) from error


def _model(path: Path) -> Any:
    if path.suffix != ".keras":
        raise ValueError(f"{path}: expected a .keras file: model.save('model.keras')")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    import keras

    from .brought import foreign
    from .pairs import first_line

    if found := foreign(path):
        raise ValueError(f"{path}: it names {', '.join(found)}, expected layers of Keras only, which run no code")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: it is no model that Keras loads in safe mode ({first_line(error)})") from error


def _pairs(path: Path) -> tuple:
    import numpy as np

    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError(f"it is one array, expected an .npz with {' and '.join(ARRAYS)}")
            if missing := [name for name in ARRAYS if name not in file]:
                raise ValueError(f"it has no array {missing[0]}, only {', '.join(file) or 'none'}")
            arrays = [file[name] for name in ARRAYS]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for name, array in zip(ARRAYS, arrays, strict=True):
        if array.ndim != 4 or array.dtype.kind not in "fiu" or not len(array):
            shape = "x".join(map(str, array.shape)) or "a scalar"
            raise ValueError(
                f"{path}: {name} is {shape} of {array.dtype}, expected numbers (pairs, rows, columns, channels)"
            )
    return arrays[0], arrays[1]


if __name__ == "__main__":
    sys.exit(main())
