"""What code means: the modules that a piece of Python reaches, and a hash that comments and docstrings do not change."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lib import REPOSITORY

PLUMBING = ("lib.errors", "lib.log", "lib.study", "lib.artifacts", "lib.data.patients")
"""Modules, and all below them, whose effect on a result is in its configuration or in none: editing them invalidates
nothing."""


def imports(source: str, package: str = "") -> set[str]:
    """Modules of ``lib`` that a piece of Python imports anywhere in it.

    Parameters
    ----------
    source : str
        The code of a module or of a notebook.
    package : str
        The package of a module, 'lib.perceptual', that its relative imports start from.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "lib" and _file(name)}


def code_hash(modules: Iterable[str]) -> str:
    """Hash of what ``modules``, and all of ``lib`` that they import, mean: comments and docstrings do not count."""
    reached, waiting = {}, set(modules)
    while waiting:
        name = waiting.pop()
        if name not in reached and not _is_plumbing(name):
            reached[name], further = _meaning(name)
            waiting |= further
    return hashlib.sha256(json.dumps(sorted(reached.items())).encode()).hexdigest()


def _is_plumbing(name: str) -> bool:
    return name == "lib" or any(name == each or name.startswith(f"{each}.") for each in PLUMBING)


def _file(name: str) -> Path | None:
    stem = REPOSITORY.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def _meaning(name: str) -> tuple[str, frozenset[str]]:
    """A module's code without comments, layout and docstrings, and the modules that it imports."""
    path = _file(name)
    if path is None:
        raise ValueError(f"{name} is no module of this repository")
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return ast.dump(tree), frozenset(imports(source, package))
