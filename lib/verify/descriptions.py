"""What each file of ``figures/<profile>`` is, in words: a table by the title in its Markdown, a figure by its caption."""

import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lib.report.captions import FIGURES

CLAIMS: Final = "Claims: what the paper claims, the number of this run with its interval, and the verdict"
KINDS: Final = {".md": "text/markdown", ".tex": "application/x-tex", ".csv": "text/csv"}


def result_files(figures: Path, written: Iterable[str]) -> list[Path]:
    """Tables and figures in all their forms, sorted by name, of those whose names a run has ``written``: what else lies
    there is another run's (a clone has all of the committed one). Not the supplement's, nor records of them."""
    endings, names = (*KINDS, ".png", ".pdf"), set(written)
    return sorted(path for path in figures.iterdir() if path.name in names and path.suffix in endings and path.is_file())


def described(path: Path) -> str:
    """'Table 3. Image quality on the test slices, ...', a figure's caption; a file's name where nothing else is known."""
    if path.stem in FIGURES:
        return FIGURES[path.stem].title
    if path.stem == "claims":
        return CLAIMS
    text = path.with_suffix(".md")
    if text.is_file() and (title := re.match(r"\*\*(.+?)\*\*", text.read_text(encoding="utf-8"))):
        return title[1].replace("\\", "")
    return path.stem


def media_type(path: Path) -> str:
    """As RO-Crate's encodingFormat wants it: 'text/csv'."""
    return KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
