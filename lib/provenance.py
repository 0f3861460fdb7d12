"""What made an artefact: stamps, cache keys, atomic writes.

A *step* is one piece of long work with one folder or file of results (the cohort, the volumes, one training). Its key
is a hash of the code it can reach, of the configuration it reads and of its inputs' contents. A step whose stamp
carries the current key, and whose outputs are still what the stamp says, is not done again.
"""

import ast
import errno
import fcntl
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lib.errors import OutputError
from lib.paths import REPOSITORY

# Modules whose effect on a result is in its configuration or in none: editing them invalidates nothing.
PLUMBING = {"lib", "lib.errors", "lib.paths", "lib.patients", "lib.study", "lib.provenance"}
TEMPORARY = ".partial-"  # files of this prefix are what a killed run left
VERSIONS = ("tensorflow", "keras", "numpy", "scipy", "scikit-image", "pandas", "pydicom", "statsmodels", "finufft")


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value (pydantic models and paths included), independent of the order of keys."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value as JSON holds it; pydantic models and paths included."""
    return json.loads(json.dumps(value, default=lambda item: item.model_dump(mode="json")
                                 if isinstance(item, BaseModel) else str(item)))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's contents."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _module_file(name: str) -> Path | None:
    stem = REPOSITORY.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def imports(source: str) -> set[str]:
    """Modules of ``lib`` that a piece of Python imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "lib" and _module_file(name)}


@cache
def _meaning(name: str) -> tuple[str, frozenset[str]]:
    """A module's code without comments, layout and docstrings, and the modules that it imports."""
    source = _module_file(name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree), frozenset(imports(source))


def code_hash(modules: set[str]) -> str:
    """Hash of what ``modules``, and all of ``lib`` that they import, mean: comments and docstrings do not count."""
    reached, waiting = {}, set(modules)
    while waiting:
        name = waiting.pop()
        if name not in reached and name not in PLUMBING:
            reached[name], further = _meaning(name)
            waiting |= further
    return digest(reached)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The one line for a disk that refuses: full, read-only, no permission, broken."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space, or write" if full else "make it writable, or write"
    reason = "the disk is full" if full else error.strerror or error
    return OutputError(f"{path}: cannot be written ({reason}): {remedy} to another folder (OUTPUT=folder)")


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
        temporary.chmod(0o644)
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise cannot_write(path, error) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this run by a lock that ends with the process; a folder made for it goes again if unused.

    Raises OutputError if another run holds it, or if it cannot be written.
    """
    made = not folder.exists()
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock)
    except BlockingIOError:
        raise OutputError(f"another run is at work in {folder}: wait for it, or pass OUTPUT=another folder") from None
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _locked(lock: Path) -> int:
    """A handle that holds the file ``lock``. BlockingIOError: someone else does."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                return handle  # a file system without locks
            os.close(handle)
            raise
        os.close(handle)  # its holder removed it in between


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


@cache
def commit() -> str:
    """Short commit of the checkout, '+changes' where tracked files differ from it, 'unknown' outside git."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno", "--", "lib", "notebooks", "requirements.txt"],
                                 capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    found = {distribution: metadata.version(distribution) for distribution in VERSIONS}
    return {"python": platform.python_version(), **found}


def peak_memory_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def fingerprint(path: Path) -> list:
    """Size, modification time and SHA-256 of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, file_sha256(path)]


def folder_digest(folder: Path) -> str:
    """Hash of the names, sizes and modification times below a folder: fast, reads no file."""
    return digest(sorted((path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
                         for path in folder.rglob("*") if path.is_file()))


def unchanged(path: Path, known: list) -> bool:
    """Whether a file still has the contents of ``known``; reads it only if size or time differ."""
    if not path.is_file():
        return False
    status = path.stat()
    return [status.st_size, status.st_mtime_ns] == known[:2] or file_sha256(path) == known[2]


@dataclass
class Step:
    """One cached piece of work.

    Attributes:
        name: what it is, for messages.
        stamp: the JSON file that says what made the outputs.
        modules: the modules of ``lib`` that do the work.
        config: the part of the study that it reads.
        inputs: contents that it reads: hashes by name.
    """

    name: str
    stamp: Path
    modules: set[str]
    config: Any
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return digest(self.made_from())

    def made_from(self) -> dict[str, Any]:
        """What the outputs depend on, in words that a later run can compare: code, config and inputs."""
        return {"code": code_hash(self.modules), "config": plain(self.config), "inputs": self.inputs}

    def read(self) -> dict | None:
        """The stamp, or None where there is none that can be read."""
        try:
            return json.loads(self.stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def is_current(self) -> bool:
        """Whether the outputs on disk are those of this code, configuration and inputs."""
        known = self.read()
        return (
            known is not None
            and known["key"] == self.key
            and all(unchanged(self.stamp.parent / name, kept) for name, kept in known["outputs"].items())
        )

    @contextmanager
    def making(self, **notes: Any) -> Iterator[list[Path]]:
        """Do the work inside the block and append its output files to the list; the stamp is written at the end."""
        self.stamp.unlink(missing_ok=True)
        outputs: list[Path] = []
        begin = time.monotonic()
        yield outputs
        base = self.stamp.parent
        write_json(self.stamp, {
            "step": self.name, "key": self.key, "config_hash": digest(self.config)[:12], "config": plain(self.config),
            "inputs": self.inputs, "commit": commit(), "versions": versions(), "device": platform.machine(),
            "seconds": round(time.monotonic() - begin, 2), "peak_memory_mib": round(peak_memory_mib()), **notes,
            "outputs": {os.path.relpath(path, base): fingerprint(path) for path in sorted(set(outputs))},
        })
