"""What made an artefact: stamps and cache keys.

A *step* is one piece of long work with one folder or file of results (the cohort, the volumes, one training). Its key
is a hash of the code it can reach, of the configuration it reads and of its inputs' contents. A step whose stamp
carries the current key, and whose outputs are still what the stamp says, is not done again.
"""

import ast
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lib.artifacts.files import fingerprint, unchanged, write_json
from lib import REPOSITORY

# Modules whose effect on a result is in its configuration or in none: editing them invalidates nothing.
PLUMBING = {"lib", "lib.errors", "lib.log", "lib.study", "lib.study.paths", "lib.study.choices", "lib.study.config",
            "lib.data.patients", "lib.artifacts", "lib.artifacts.files", "lib.artifacts.cache"}
VERSIONS = ("tensorflow", "keras", "numpy", "scipy", "scikit-image", "pandas", "pydicom", "statsmodels", "finufft")


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value (pydantic models and paths included), independent of the order of keys."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value as JSON holds it; pydantic models and paths included."""
    return json.loads(json.dumps(value, default=lambda item: item.model_dump(mode="json")
                                 if isinstance(item, BaseModel) else str(item)))


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
