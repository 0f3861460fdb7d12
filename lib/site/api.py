"""Pages of the interface, which Sphinx makes from docstrings."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lib import REPOSITORY

ROOMS: Final = {
    "perceptual": "The heart: losses, Ψ, λ*, Γ, the linter. It installs as perceptual_influence and imports nothing of lib",
    "metrics": "Image quality, and statistics with the patient as the unit",
    "simulation": "Bodies, scanner, low-dose series, insertion of noise",
    "data": "CT numbers, DICOM, stores of volumes, splits, patches",
    "networks": "The U-Net, encoders, files of weights",
    "denoiser": "Training: the model, callbacks, checkpoints, inference",
    "study": "What a run is: profiles, settings, paths",
    "paper": "What the paper printed",
}
"""Rooms of lib whose modules have pages, with what is in them."""
PAGES: Final = "api"
_LITERAL: Final = re.compile(r"(``.+?``|:\w+:`[^`]+`|`[^`]+`)", re.DOTALL)
_EMPHASIS: Final = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])")
_ONE_LINE: Final = re.compile(r"^([A-Z]\w*(?:Error|Warning|Exception|Interrupt)) : (.+)$", re.MULTILINE)
_ARRAY_LIKE: Final = re.compile(r"~?[\w.]*_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]")
_MARK: Final = re.compile("\0(.*?)\0", re.DOTALL)


def modules(rooms: Sequence[str]) -> list[str]:
    """Names of the modules of some rooms that say what they are: those without a docstring have no page."""
    found = []
    for room in rooms:
        for path in sorted((REPOSITORY / "lib" / room).rglob("*.py")):
            if path.stem != "__main__" and path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""')):
                name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
                found.append(name.removesuffix(".__init__"))
    return found


def write_pages(folder: Path, rooms: Sequence[str]) -> list[str]:
    """A page for each room and each of its modules, reStructuredText; returns names of the rooms' pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for room in rooms:
        names = modules([room])
        for name in names:
            package = (REPOSITORY / Path(*name.split("."))).is_dir()
            members = "" if package else "   :members:\n   :show-inheritance:\n"
            (folder / f"{name}.rst").write_text(
                f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n{members}", encoding="utf-8")
        listed = "".join(f"   {name}\n" for name in names)
        head = f"lib.{room}"
        (folder / f"room_{room}.rst").write_text(
            f"{head}\n{'=' * len(head)}\n\n{_escaped(ROOMS[room])}.\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}",
            encoding="utf-8")
    return [f"room_{room}" for room in rooms]


def docstring_as_text(text: str) -> str:
    r"""A docstring for reStructuredText: bars and single asterisks mean themselves, but for *emphasis*, literals and lists;
    an error of one line, 'ValueError : why', takes two, as napoleon expects it.

    >>> docstring_as_text("|g_a| at λ*, in *one* state of ``a|b``")
    '\\|g_a\\| at λ\\*, in *one* state of ``a|b``'
    """
    text = _ONE_LINE.sub(r"\1\n    \2", text)
    parts = _LITERAL.split(re.sub(r"^(\s*)\* ", "\\1\1 ", text, flags=re.MULTILINE))
    return "".join(part if place % 2 else _escaped(part) for place, part in enumerate(parts)).replace("\1", "*")


def _escaped(text: str) -> str:
    kept = _EMPHASIS.sub(lambda match: f"\0{match[1]}\0", text)
    bare = re.sub(r"(?<![*\\])\*(?!\*)", r"\\*", re.sub(r"(?<!\\)\|", r"\\|", kept))
    return _MARK.sub(lambda match: f"*{match[1]}*", bare)


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls of an extension."""
    def text(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
        said = "" if re.match(r"Alias for field number \d+$", "\n".join(lines).strip()) else "\n".join(lines)  # NamedTuple's
        lines[:] = docstring_as_text(said).split("\n")

    def signature(_app: Any, what: str, _name: str, shown: Any, _options: Any, arguments: str | None,
                  returned: str | None) -> tuple[str | None, str | None]:
        if what == "class" and hasattr(shown, "model_fields"):
            return "", None  # every field with its checks: the text below says what a reader needs
        return _ARRAY_LIKE.sub("ArrayLike", arguments) if arguments else arguments, returned

    app.connect("autodoc-process-docstring", text, priority=400)  # before napoleon's
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
