"""Names of a user's own files may be names of patients: they are for the terminal. Whatever is written, logs and notebooks
too, tells a file by its checksum."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

ENOUGH = 64 * 2**20  # bytes: no CT slice has more; of a larger file its beginning
_names: ContextVar[bool] = ContextVar("names", default=False)  # whether what is said here goes to a terminal only


@contextmanager
def names(shown: bool = True) -> Iterator[None]:
    """Inside, :func:`label` gives names (``shown``: only for what goes to a terminal) or checksums."""
    token = _names.set(shown)
    try:
        yield
    finally:
        _names.reset(token)


def label(path: Path) -> str:
    """How a message names a file or folder of scans: 'sha256:' and the start of its checksum, 'a folder of scans', 'a file
    that cannot be read'; inside :func:`names` its path."""
    if _names.get():
        return str(path)
    try:
        if path.is_dir():
            return "a folder of scans"
        with open(path, "rb") as stream:
            return "sha256:" + hashlib.sha256(stream.read(ENOUGH)).hexdigest()[:16]
    except OSError:
        return "a file that cannot be read"


@dataclass(frozen=True)
class File:
    """A file or folder of scans as an argument of a log message: each handler tells it in its own way."""

    path: Path

    def __str__(self) -> str:
        return label(self.path)
