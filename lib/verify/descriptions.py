"""What each file of ``figures/<profile>`` is, in words: a table's title stands in its Markdown, a figure's here."""

import mimetypes
import re
from pathlib import Path
from typing import Final

FIGURES: Final = {
    "fig1": "Figure 1: one slice, low dose and normal dose, and details of them",
    "fig2": "Figure 2: Psi as a function of lambda",
    "fig3": "Figure 3: one test slice after each network, and its errors",
    "fig3_real": "Figure 3 on real anatomy with an inserted low dose",
    "fig_ssim": "SSIM by experiment over the test slices and patients",
    "fig_training": "The course of each training: losses and Psi by epoch",
}
CLAIMS: Final = "Claims: what the paper claims, the number of this run with its interval, and the verdict"
KINDS: Final = {".md": "text/markdown", ".tex": "application/x-tex", ".csv": "text/csv"}


def result_files(figures: Path) -> list[Path]:
    """Tables and figures of a run in all their forms, sorted by name; not the supplement's, nor records of them."""
    return sorted(path for path in figures.iterdir() if path.suffix in (*KINDS, ".png", ".pdf") and path.is_file())


def described(path: Path) -> str:
    """'Table 3. Image quality on the test slices, ...', 'Figure 3: ...'; a file's own name where nothing else is known."""
    if path.stem in FIGURES:
        return FIGURES[path.stem]
    if path.stem == "claims":
        return CLAIMS
    text = path.with_suffix(".md")
    if text.is_file() and (title := re.match(r"\*\*(.+?)\*\*", text.read_text(encoding="utf-8"))):
        return title[1].replace("\\", "")
    return path.stem


def media_type(path: Path) -> str:
    """As RO-Crate's encodingFormat wants it: 'text/csv'."""
    return KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
