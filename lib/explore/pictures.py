"""The figure of the slice browser: an image and its error for each name, all with one zoom."""

from collections.abc import Callable, Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from lib.explore.canvas import STYLE, WIDTH, new_canvas
from lib.explore.region import Box, in_view

LDCT, NDCT = "ldct", "ndct"
ACROSS: Final = 4  # panels beside each other
LARGEST: Final = 3.1  # inches, side of a panel
TITLE: Final = 0.46  # inches above an image: two lines; above an error, one
TOOLBAR: Final = 0.3  # inches that it covers
BARS_MM: Final = (100, 50, 20, 10, 5, 2, 1)
WAITING: Final = "denoising …"


class Pictures:
    """Panels are made once; a slice gives them other pixels.

    Parameters
    ----------
    titles : mapping, title by name: 'ldct', 'ndct', then experiments
    window : tuple, HU that are black and white
    """

    def __init__(self, titles: Mapping[str, str], window: tuple[float, float]):
        self.ndct = np.zeros((2, 2), np.float32)
        self.images, self.errors, self.waiting = {}, {}, {}
        self._shape: tuple[int, int] | None = None
        self._draw(titles, window)

    @mpl.rc_context(STYLE)
    def _draw(self, titles: Mapping[str, str], window: tuple[float, float]) -> None:
        columns = min(ACROSS, len(titles))
        blocks = -(-len(titles) // columns)
        side, height = min(WIDTH / columns, LARGEST), 0.0
        block = 2 * side + TITLE + TITLE / 2
        self.canvas = new_canvas(blocks * block + TOOLBAR, "Slices: image above, error against the NDCT below", toolbar=True)
        figure, whole = self.canvas.figure, blocks * block + TOOLBAR
        first = None
        for place, (name, title) in enumerate(titles.items()):
            left, height = place % columns * side, whole - TOOLBAR - place // columns * block - TITLE - side
            boxes = [((left + 0.03) / WIDTH, bottom / whole, (side - 0.06) / WIDTH, side / whole)
                     for bottom in (height, height - TITLE / 2 - side)]
            image = figure.add_axes(boxes[0], sharex=first, sharey=first)
            first = first or image
            self.images[name] = self._picture(image, title, "gray", window)
            if name == NDCT:
                self._bar(image)
                bars = boxes[1]
            else:
                self.errors[name] = self._picture(figure.add_axes(boxes[1], sharex=first, sharey=first),
                                                  f"{title.partition(':')[0].partition(' ')[0]} − NDCT", "RdBu_r", (-1, 1))
                self.waiting[name] = image.text(0.5, 0.5, WAITING, transform=image.transAxes, ha="center", va="center")
        self.axes = first
        left, bottom, width, height = bars
        for place, shown, label in ((0.66, self.images[NDCT], "image (HU)"), (0.3, self.errors[LDCT], "image − NDCT (HU)")):
            bar = figure.add_axes((left + 0.08 * width, bottom + place * height, 0.84 * width, 0.07 * height))
            figure.colorbar(shown, cax=bar, orientation="horizontal", label=label, extend="both")

    def _picture(self, axes: Axes, title: str, colours: str, limits: tuple[float, float]) -> mpl.image.AxesImage:
        axes.set_axis_off()  # most of the time of a drawing goes into what axes have beside an image, seen or not,
        axes.set_title(title, y=1.015)  # and into finding a place for a title
        axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor="0.7", linewidth=0.8,
                                 clip_on=False))
        shown = axes.imshow(self.ndct, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation_stage="data")
        shown.format_cursor_data = lambda value: f"{value:.0f} HU"
        axes.format_coord = lambda column, row: f"row {row:.0f}, column {column:.0f}:"
        return shown

    def _bar(self, axes: Axes) -> None:
        """A scale bar whose length follows the zoom."""
        outline = [withStroke(linewidth=2.5, foreground="black")]
        (self.bar,) = axes.plot([], [], color="white", linewidth=1.5, path_effects=outline, transform=axes.transAxes)
        self.length = axes.text(0.04, 0.07, "", color="white", transform=axes.transAxes, path_effects=outline)

    def begin(self, ndct: np.ndarray, errors: tuple[float, float], pixel_mm: float, view: Box | None = None) -> None:
        """Another slice: its NDCT, (rows, columns), HU, the limits of errors in HU, the size of its pixels (NaN: unknown);
        ``view`` stays where the slice has the same size."""
        self.ndct, self.pixel_mm = ndct, pixel_mm
        if ndct.shape != self._shape:
            rows, columns = ndct.shape
            for shown in (*self.images.values(), *self.errors.values()):
                shown.set_extent((-0.5, columns - 0.5, rows - 0.5, -0.5))
            known, self._shape = self._shape is not None, ndct.shape
            self.look_at(Box(0, rows, 0, columns) if view is None or known else view)
        self.images[NDCT].set_data(ndct)
        for shown in self.errors.values():
            shown.set_clim(errors)

    def show(self, name: str, image: np.ndarray | None) -> None:
        """An image of this slice, HU, (rows, columns); None: it is still being made."""
        self.waiting[name].set_visible(image is None)
        nothing = np.full((1, 1), np.nan, np.float32)
        self.images[name].set_data(nothing if image is None else image)
        self.errors[name].set_data(nothing if image is None else image - self.ndct)

    def window(self, limits: tuple[float, float]) -> None:
        """Other HU that are black and white."""
        for shown in self.images.values():
            shown.set_clim(limits)
        self.canvas.draw_idle()

    @property
    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Columns and rows in view, as matplotlib has them."""
        return self.axes.get_xlim(), self.axes.get_ylim()

    @property
    def view(self) -> Box | None:
        """The pixels in view."""
        return self._shape and in_view(*self.limits, self._shape)

    def look_at(self, box: Box) -> None:
        """Zoom all panels to a rectangle; it is where the toolbar's 'home' leads if it is the first."""
        self.axes.set(xlim=(box.left - 0.5, box.right - 0.5), ylim=(box.bottom - 0.5, box.top - 0.5))
        self._measure()
        if self.canvas.toolbar is not None:
            self.canvas.toolbar.push_current()
        self.canvas.draw_idle()

    def moved(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever the view does."""
        for limits in ("xlim_changed", "ylim_changed"):
            self.axes.callbacks.connect(limits, lambda _: (self._measure(), changed()))

    def _measure(self) -> None:
        across = np.ptp(self.limits[0])
        fitting = [length for length in BARS_MM if length / self.pixel_mm <= across / 3]
        ends = [0.04, 0.04 + fitting[0] / self.pixel_mm / across] if fitting else []
        self.bar.set_data(ends, [0.04] * len(ends))
        self.length.set_text(f"{fitting[0]} mm" if fitting else "")
