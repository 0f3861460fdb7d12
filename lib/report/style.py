"""How every figure looks and is written: one width, one type, a colour map for each quantity, scale bars, colour bars.

Journals print figures at 88 mm (one column) or 180 mm (two). All are made for two columns, at print size: the provenance
line that each carries would fill a third of a narrower one. Text is of 7 points at least. Nothing here touches pyplot's
state.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.typing import ColorType
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.artifacts.files import atomic
from lib.data.hu import WINDOW
from lib.report.labels import Labels

MM: Final = 1 / 25.4  # inches
WIDTH: Final = 180 * MM
TALLEST: Final = 247 * MM  # a page without its margins
DPI: Final = 300
FOOTER: Final = 7.0  # points, the smallest text
STYLE: Final = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "figure.titlesize": 8, "figure.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "lines.linewidth": 1.3, "pdf.fonttype": 42, "savefig.dpi": DPI, "figure.dpi": 100,
    "legend.frameon": False,
}

Quantity = Literal["hu", "difference", "power", "lambda", "gamma", "price", "factor"]
MAPS: Final[dict[str, str]] = {
    "hu": "gray", "difference": "RdBu_r", "power": "magma", "lambda": "viridis", "gamma": "cividis", "price": "BrBG_r",
    "factor": "PuOr",
}
"""The colour map of each quantity, in every figure: CT numbers, their differences (white is 0), noise power, lambda, a share
of the gradient, a price and a factor (white is 1). All are told apart by colour-blind readers."""
LEGEND: Final = 30  # characters of a line in a legend
SLICES_DPI: Final = 180  # of a figure of many slices, which keeps it below 1 MB
LEVELS: Final = 49  # of its colours: 8 HU, far below the noise; an odd number: the middle one is white
BAR_MM: Final = (100, 50, 20, 10)  # lengths of a scale bar
FRAME: Final = "#f0e442"  # of a window that is shown larger: Okabe-Ito's yellow, in no colour map of an image
OUTLINE: Final = [withStroke(linewidth=2.0, foreground="black")]  # of lines on any background


def colours(quantity: Quantity, levels: int | None = None) -> Colormap:
    """The colour map of a quantity, with fewer ``levels`` where a file has to be small."""
    found = mpl.colormaps[MAPS[quantity]]
    return found.resampled(levels) if levels else found


def ink(background: ColorType) -> str:
    """Black or white, whichever is read better on a colour: the larger contrast by WCAG 2."""
    channels = np.array(to_rgb(background))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if float(linear @ (0.2126, 0.7152, 0.0722)) > 0.179 else "white"


def minus(text: str) -> str:
    """A text with the minus signs of its numbers, where hyphens stand: 'z = −61.3 mm', '1e−5'; 'VGG-16' keeps its own."""
    return re.sub(r"(?<![\w-])-(?=[.\d])|(?<=\de)-(?=\d)", "−", text)


def new_figure(labels: Labels, height: float) -> SubFigure:
    """An empty figure of two columns and ``height`` inches, to draw in; the provenance line stands in a strip below it."""
    text = in_footer(labels.provenance)
    strip = (text.count("\n") + 2) * FOOTER * 1.2 / 72
    figure = Figure(figsize=(WIDTH, height + strip), layout="constrained")
    drawn, footer = figure.subfigures(2, 1, height_ratios=(height, strip))
    footer.text(0.5, 0.5, text, size=FOOTER, color="0.35", ha="center", va="center", linespacing=1.15)
    return drawn


def in_footer(text: str) -> str:
    """A text in as few lines as fit below a figure, of about equal length."""
    most = int(WIDTH * 72 / (FOOTER * 0.54))
    lines = len(textwrap.wrap(text, most, break_on_hyphens=False))
    return next(filled for width in range(len(text) // lines, most + 1)
                if (filled := textwrap.fill(text, width, break_on_hyphens=False)).count("\n") < lines)


def save_figure(labels: Labels, figure: SubFigure, name: str, dpi: int = DPI, palette: bool = True) -> Path:
    """Write a figure (of :func:`new_figure`) as PNG and PDF; the same bytes for the same input. Returns the PNG's path.

    ``palette`` : whether the PNG has 256 colours, a third of the size; false where colours of a map are to be compared.
    Raises ValueError: a text is smaller than one can read in print.
    """
    whole, png = figure.get_figure(root=True), labels.figures / f"{name}.png"
    if small := [each.get_text() for each in whole.findobj(Text) if each.get_visible() and each.get_size() < FOOTER]:
        raise ValueError(f"{name}: text of less than {FOOTER:g} points: {', '.join(small)}")
    write_png(png, whole, labels.provenance, dpi, palette)
    whole.set_layout_engine("none")  # both look the same: another drawing would move the constrained layout a little
    with atomic(png.with_suffix(".pdf")) as temporary:
        whole.savefig(temporary, format="pdf", dpi=dpi,
                      metadata={"CreationDate": None, "Producer": None, "Subject": labels.provenance})
    return png


def write_png(path: Path, figure: Figure, description: str, dpi: int = DPI, palette: bool = True) -> None:
    """A figure as PNG, with a description; arguments as of :func:`save_figure`."""
    stream, notes = io.BytesIO(), PngInfo()
    notes.add_text("Description", description)
    figure.savefig(stream, format="png", dpi=dpi)
    image = Image.open(stream).convert("RGB")
    if palette:
        image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with atomic(path) as temporary:
        image.save(temporary, format="png", dpi=(dpi, dpi), pnginfo=notes, optimize=True)


def picture(axes: Axes, image: np.ndarray, limits: tuple[float, float] = WINDOW, title: str = "", quantity: Quantity = "hu",
            levels: int | None = None, interpolation: str = "hanning") -> AxesImage:
    """An image without ticks and frame, resampled: its pixels are no whole pixels of the figure. An RGB image keeps its own
    colours."""
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    return axes.imshow(image, cmap=colours(quantity, levels), vmin=limits[0], vmax=limits[1], interpolation=interpolation,
                       interpolation_stage="data")


def colour_bar(figure: Figure | SubFigure, drawn: AxesImage, label: str, extend: str = "both", **where: Any) -> Colorbar:
    """A colour bar, pointed at both ends: values beyond the window have its last colours. ``where``: of matplotlib."""
    bar = figure.colorbar(drawn, extend=extend, label=label, **where)
    bar.outline.set_linewidth(0.6)
    return bar


def symmetric_limits(difference: np.ndarray) -> tuple[float, float]:
    """Limits in HU for a map of differences: its 99th percentile, rounded up to tens, at least 10."""
    limit = float(max(10 * np.ceil(np.percentile(np.abs(difference), 99) / 10), 10))
    return -limit, limit


def frame(axes: Axes, corner: tuple[int, int], shape: tuple[int, int]) -> None:
    """The outline of a window at (row, column) ``corner``, of (rows, columns) ``shape``, on the image that it is of."""
    axes.add_patch(Rectangle((corner[1] - 0.5, corner[0] - 0.5), shape[1], shape[0], fill=False, color=FRAME, linewidth=1.0,
                             path_effects=OUTLINE))


def framed(axes: Axes) -> None:
    """The same outline about an image that is such a window."""
    axes.spines[:].set(visible=True, color=FRAME, linewidth=1.0, path_effects=OUTLINE)


def scale_bar(axes: Axes, shape: tuple[int, int], pixel_mm: float) -> None:
    """At the lower left: the longest of ``BAR_MM`` that fits into a third of the image. None for pixels of unknown size."""
    fitting = [length for length in BAR_MM if length / pixel_mm <= shape[1] / 3]
    if fitting:
        y, x = 0.92 * shape[0], 0.04 * shape[1]
        axes.plot([x, x + fitting[0] / pixel_mm], [y, y], color="white", linewidth=1.5, path_effects=OUTLINE)
        axes.text(x, y - 0.02 * shape[0], f"{fitting[0]} mm", color="white", va="bottom", path_effects=OUTLINE)


def legend_below(figure: SubFigure, handles: Sequence[Artist], most: int = 4) -> None:
    """A legend below a figure in as many columns as fit the page, at most ``most``; long names take two lines."""
    texts = [textwrap.fill(str(handle.get_label()), LEGEND, break_long_words=False) for handle in handles]
    longest = max(len(line) for text in texts for line in text.splitlines())
    columns = int(np.clip(WIDTH * 72 // (38 + 4.4 * longest), 1, most))
    figure.legend(handles, texts, loc="outside lower center", ncols=columns)
