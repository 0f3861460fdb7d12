"""The executed notebooks as pages: the same cells and outputs, with alternative texts, without progress bars."""

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat

from lib.artifacts.files import file_sha256
from lib.report.captions import FIGURES

PAGES = "notebooks"  # the folder of the pages


def known_pictures(figures: Path) -> dict[str, str]:
    """Alternative texts by SHA-256 of a figure's PNG."""
    return {file_sha256(path): caption.alt for name, caption in FIGURES.items()
            if (path := figures / f"{name}.png").is_file()}


def copy_notebooks(notebooks: Iterable[Path], known: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write each notebook into ``folder`` for the site; returns titles by name.

    Progress bars (what went to standard error) are left out. A picture keeps its alternative text; without one, a figure of
    the run has that figure's, another says whose output it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    titles = {}
    for path in notebooks:
        book, heading = nbformat.read(path, as_version=4), path.stem
        titles[path.stem] = _title(book, path.stem)
        for number, cell in enumerate(book.cells, start=1):
            if cell.cell_type == "markdown":
                found = re.findall(r"^#+\s*(.+)$", cell.source, re.MULTILINE)
                heading = found[-1] if found else heading
                continue
            if cell.cell_type != "code":
                continue
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for each in cell.outputs:
                _box_tables(each.get("data", {}), f"Table that cell {number} of {path.stem} shows: {heading}")
            if alt := _alternative(cell.outputs, known, f"Picture that cell {number} of {path.stem} drew: {heading}"):
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
        book.metadata.pop("papermill", None)
        if not (book.cells and book.cells[0].source.startswith("# ")):
            book.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {path.stem}"))
        _first_heading(book, titles[path.stem])
        (folder / path.name).write_text(nbformat.writes(book), encoding="utf-8")
    return titles


def _box_tables(data: dict, name: str) -> None:
    """A wide table scrolls in its own box, which has a name and can be focused."""
    if "<table" in data.get("text/html", ""):
        label = html.escape(name, quote=True)
        data["text/html"] = f'<div class="wide" role="region" tabindex="0" aria-label="{label}">{data["text/html"]}</div>'


def _title(book: nbformat.NotebookNode, stem: str) -> str:
    """The first heading, and of a training which one it is."""
    first = next((cell.source for cell in book.cells if cell.cell_type == "markdown"), "")
    found = re.match(r"#\s*(.+)", first)
    run = re.fullmatch(r"03_train_(.+)_seed-(\d+)", stem)
    return f"03 Train {run[1]}, seed {run[2]}" if run else found[1].strip() if found else stem


def _first_heading(book: nbformat.NotebookNode, title: str) -> None:
    first = next(cell for cell in book.cells if cell.cell_type == "markdown")
    first.source = re.sub(r"^# .*", lambda _: f"# {title}", first.source, count=1)


def _alternative(outputs: Iterable[nbformat.NotebookNode], known: Mapping[str, str], otherwise: str) -> str:
    """For the pictures of a cell; empty where there are none."""
    images = [each for each in outputs if "image/png" in each.get("data", {})]
    texts = [each.metadata.get("image/png", {}).get("alt") or known.get(
        hashlib.sha256(base64.b64decode(each.data["image/png"])).hexdigest(), otherwise) for each in images]
    return " ".join(dict.fromkeys(texts))
