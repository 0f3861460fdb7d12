"""What all panels share: a figure that answers within a frame, text beside it, and one line where something is missing."""

import asyncio
import io
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from typing import Final, ParamSpec

import ipympl.backend_nbagg as ipympl
import numpy as np
from ipywidgets import HTML, VBox, Widget
from matplotlib.figure import Figure
from PIL import Image

from lib.errors import PaperError, StageError

P = ParamSpec("P")
DPI: Final = 100
WIDTH: Final = 9.6  # inches: what JupyterLab leaves of a window of 1400 pixels beside its file browser
MOMENT: Final = 0.01  # seconds in which events that wait are answered with one drawing
STYLE: Final = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "legend.fontsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "legend.frameon": False,
}


class Canvas(ipympl.Canvas):
    """ipympl's, which draws as soon as the kernel is free, and sends whole frames in the fastest PNG.

    ipympl's own asks the browser to ask for a drawing, which it forgets to do while it waits for an image: what comes in
    between is not shown. Of images that all change, a difference is no smaller, and zlib's usual level takes three times as
    long as the drawing.
    """

    _due = False  # whether a drawing is already on its way

    def draw_idle(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, so that nobody looks
            return
        if not self._due:
            self._due = True
            loop.call_later(MOMENT, self._draw_now)

    def _draw_now(self) -> None:
        self._due = False
        if not self.syncing_data_url:  # a browser has the canvas; before, it takes no image
            self.draw()

    def get_diff_image(self) -> bytes | None:
        if not self._png_is_old:
            return None
        pixels = np.asarray(self.get_renderer().buffer_rgba())
        self.set_image_mode("full")
        self._last_buff = pixels.view(np.uint32).squeeze(2).copy()  # ipympl keeps it for notebooks that nobody looks at
        self._force_full = self._png_is_old = False
        with io.BytesIO() as stream:
            Image.fromarray(pixels[..., :3]).save(stream, format="png", compress_level=1)
            return stream.getvalue()


def new_canvas(height: float, label: str, toolbar: bool = False) -> Canvas:
    """An empty figure of ``height`` inches as a widget; pyplot knows nothing of it. ``label`` is its name, for people who
    hear pages; the ``toolbar`` has zoom and pan, and a line with the value under the pointer."""
    canvas = Canvas(Figure(figsize=(WIDTH, height), dpi=DPI))
    ipympl.FigureManager(canvas, 0).set_window_title(label)
    canvas.header_visible, canvas.footer_visible, canvas.resizable = False, toolbar, False
    canvas.toolbar_visible, canvas.toolbar_position = toolbar, "top"
    canvas.layout.max_width = "100%"
    return canvas


def text(content: str = "", small: bool = False) -> HTML:
    """A line or a table (HTML) that a screen reader says when it changes; ``small`` for what is known after one reading."""
    return HTML(_styled(content, small))


def write(widget: HTML, content: str, stale: bool = False) -> None:
    """Change a text of :func:`text`; pale while what it says is being computed anew (``stale``)."""
    widget.value = _styled(content, False, stale)


def _styled(content: str, small: bool, stale: bool = False) -> str:
    style = ("font-size:11px;opacity:.75;" if small else "") + "line-height:1.45;" + "opacity:.4;" * stale
    return f'<div role="status" aria-live="polite" style="{style}">{content}</div>'


def table(columns: Mapping[str, str], rows: Mapping[str, list[str]], note: str = "") -> str:
    """A small table in HTML. ``columns``: explanation by heading; ``rows``: cells by name of the row, plain text."""
    cell = "padding:1px 14px 1px 0;text-align:right;"
    line = "border-bottom:1px solid currentColor"
    head = "".join(f'<th scope="col" title="{escape(what)}" style="{cell}{line}">{escape(name)}</th>'
                   for name, what in columns.items())
    body = "".join(f'<tr><th scope="row" style="{cell}text-align:left">{escape(name)}</th>'
                   + "".join(f'<td style="{cell}">{escape(value)}</td>' for value in cells) + "</tr>"
                   for name, cells in rows.items())
    style = "border-collapse:collapse;font-variant-numeric:tabular-nums"
    return (f'<table style="{style}"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>{note}')


def missing(what: str, profile: str, where: str = "") -> StageError:
    """The error of a panel whose artefacts are not there: what is missing, and the command that makes it."""
    return StageError(what, where=where or None, remedy=f"run: make paper PROFILE={profile}")


def panel(build: Callable[P, Widget]) -> Callable[P, Widget]:
    """A panel that shows one line where it cannot be built, and so leaves the other panels of a notebook alone."""
    @wraps(build)
    def shown(*arguments: P.args, **options: P.kwargs) -> Widget:
        try:
            return build(*arguments, **options)
        except PaperError as error:
            return VBox([text(f"<b>Nothing to show here yet.</b> {escape(str(error))}")])
    return shown
