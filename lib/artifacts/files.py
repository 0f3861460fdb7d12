"""Files that are whole or not there: hashes, atomic writes, one writer a folder."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from lib.errors import OutputError

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY = ".partial-"  # files of this prefix are what a killed run left
os.umask(UMASK := os.umask(0o077))  # what the user's shell says of new files: it can only be read by setting it
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (*FULL, errno.EROFS)  # by a disk, whoever asks
MOMENT = 0.1  # seconds for a lock whose holder removes it just now


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's contents."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(path: Path) -> list:
    """Size, modification time and SHA-256 of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, file_sha256(path)]


def unchanged(path: Path, known: list) -> bool:
    """Whether a file still has the contents of ``known``; reads it only if size or time differ."""
    if not path.is_file():
        return False
    status = path.stat()
    return [status.st_size, status.st_mtime_ns] == known[:2] or file_sha256(path) == known[2]


def files_below(folder: Path, refused: Callable[[OSError], Any] = lambda error: None) -> Iterator[Path]:
    """Every file below a folder at any depth, through symbolic links but never twice through one folder. ``refused`` gets
    the error of each folder that cannot be read."""
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            status = os.stat(here := waiting.pop())
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            refused(error)
            continue
        waiting += [entry.path for entry in found if _is_folder(entry)]
        yield from (Path(entry.path) for entry in found if not _is_folder(entry))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def folder_digest(folder: Path) -> str:
    """Hash of the names, sizes and modification times of the files that :func:`files_below` finds: fast, reads no file. One
    that goes while it looks is not there."""
    entries = []
    for path in files_below(folder):
        with suppress(FileNotFoundError, PermissionError):
            if stat.S_ISREG((state := path.stat()).st_mode):
                entries.append((os.fsencode(path.relative_to(folder)).hex(), state.st_size, state.st_mtime_ns))
    entries.sort()
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The one line for a disk that refuses: full, read-only, no permission, broken."""
    full = error.errno in FULL
    remedy = "free some space, or write" if full else "make it writable, or write"
    reason = "the disk is full" if full else error.strerror or error
    return OutputError(f"cannot be written ({reason})", where=path, remedy=f"{remedy} to another folder (OUTPUT=folder)")


def sync(path: Path) -> None:
    """Hand a file or a folder to the disk itself, so that a power loss leaves it whole."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_beside(path: Path) -> Path:
    """A new empty file in the folder of ``path`` with the same ending, for writing before the rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix="".join(path.suffixes[-2:]))
    os.close(handle)
    return Path(name)


@contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` with the same ending, renamed to it when the block ends well.

    ``durable`` waits until contents and name are on the disk; without, a power loss may leave an empty file (thousands
    of small files: call ``os.sync`` once after them).

    Raises OutputError (one line) if the disk is full or not writable; nothing half-written stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        yield temporary
        temporary.chmod(0o666 & ~UMASK)
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        cause = error.__cause__ if error.errno is None else error  # pydicom puts its own around the disk's
        if isinstance(cause, OSError) and cause.errno in (*REFUSED, errno.EACCES, errno.EPERM):
            raise cannot_write(path, cause) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table atomically, without its index."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def check_ours(folder: Path, mark: str, writer: str, begun: str = r"\..*") -> None:
    """Raises OutputError unless ``folder`` is new, empty, has ``mark``, which ``writer`` leaves where it has finished
    something, or nothing but files of the name ``begun`` (a regular expression), which it leaves before."""
    if folder.exists() and not folder.is_dir():
        raise OutputError("is a file", where=folder, remedy="pass a folder to write to")
    if folder.is_dir() and not (folder / mark).exists() and any(
            not re.fullmatch(rf"\..*|{begun}", path.name) for path in folder.iterdir()):
        raise OutputError(f"holds files that {writer} did not write", where=folder, remedy="pass a new or empty folder")


@contextmanager
def single_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this run by a lock that ends with the process; a folder made for it goes again if unused.

    Raises OutputError at once if another run holds it, or if it cannot be written.
    """
    made = not folder.exists()
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
    except Timeout:
        raise OutputError(f"another run is at work in {folder}", remedy="wait for it, or pass OUTPUT=another folder",
                          code="busy") from None
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        if isinstance(lock, FileLock):  # the library leaves its file; removed under the lock, nobody can hold it
            path.unlink(missing_ok=True)
        lock.release()
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _locked(path: Path) -> BaseFileLock:
    """A lock that this process holds. Timeout: someone else does."""
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=MOMENT, poll_interval=MOMENT / 4)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOLCK):
            raise
        path.unlink(missing_ok=True)
        lock = SoftFileLock(path.with_suffix(".held"))  # a file system without locks: the library does so at ENOSYS only
        lock.acquire(timeout=MOMENT, poll_interval=MOMENT / 4)
    return lock
