"""A figure in a notebook, with the text that stands in its place."""

from pathlib import Path
from typing import Final

from IPython.display import Image

from lib.report.captions import caption_of

WIDTH: Final = 900  # pixels of a screen


def shown(figure: Path) -> Image:
    """The PNG of a figure as a notebook displays it."""
    return Image(figure, width=WIDTH, alt=caption_of(figure).alt)
