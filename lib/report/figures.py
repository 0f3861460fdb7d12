"""Pictures of slices: Figures 1 and 3 (curves: :mod:`lib.report.curves`; scores of patients: :mod:`lib.report.quality`).

Every function writes ``<name>.png`` and ``.pdf`` and returns the path of the PNG; none touches pyplot's state. Figures are
made at the width of a page, 7.2 inches, with text of 7 points at least.
"""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.artifacts.files import atomic
from lib.data.hu import WINDOW
from lib.metrics.regions import body, structured_window
from lib.report.labels import Labels

DPI: Final = 300
WIDTH: Final = 7.2  # inches: a page
FOOTER: Final = 7.0  # points
STYLE: Final = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "figure.titlesize": 8, "figure.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "lines.linewidth": 1.3, "pdf.fonttype": 42, "savefig.dpi": DPI, "figure.dpi": 100,
    "legend.frameon": False,
}
SLICES_DPI: Final = 180  # of a figure of many slices, which keeps it below 1 MB
LEVELS: Final = 48  # of its colours: 8 HU, far below the noise
ACROSS: Final = 4  # slices beside each other
ZOOM: Final = (0.125, 0.2)  # rows and columns of Figure 3's window, share of the slice's
BAR_MM: Final = (100, 50, 20, 10)  # lengths of a scale bar


def new_figure(labels: Labels, height: float) -> SubFigure:
    """An empty page-wide figure of ``height`` inches, to draw in; the provenance line stands in a strip below it."""
    text = textwrap.fill(labels.provenance, int(WIDTH * 72 / (FOOTER * 0.54)))
    strip = (text.count("\n") + 2) * FOOTER * 1.2 / 72
    figure = Figure(figsize=(WIDTH, height + strip), layout="constrained")
    drawn, footer = figure.subfigures(2, 1, height_ratios=(height, strip))
    footer.text(0.5, 0.5, text, size=FOOTER, color="0.35", ha="center", va="center", linespacing=1.15)
    return drawn


def save_figure(labels: Labels, figure: SubFigure, name: str, dpi: int = DPI) -> Path:
    """Write a figure (of :func:`new_figure`) as PNG with a palette of 256 colours, a third of the size, and PDF; the same
    bytes for the same input. Returns the PNG's path."""
    whole, png = figure.get_figure(root=True), labels.figures / f"{name}.png"
    stream, notes = io.BytesIO(), PngInfo()
    notes.add_text("Description", labels.provenance)
    whole.savefig(stream, format="png", dpi=dpi)
    whole.set_layout_engine("none")  # both look the same: another drawing would move the constrained layout a little
    image = Image.open(stream).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with atomic(png) as temporary:
        image.save(temporary, format="png", dpi=(dpi, dpi), pnginfo=notes, optimize=True)
    with atomic(png.with_suffix(".pdf")) as temporary:
        whole.savefig(temporary, format="pdf", dpi=dpi,
                      metadata={"CreationDate": None, "Producer": None, "Subject": labels.provenance})
    return png


def picture(axes: Axes, image: np.ndarray, limits: tuple[float, float], title: str = "",
            cmap: str | mpl.colors.Colormap = "gray", interpolation: str = "hanning") -> AxesImage:
    """An image without ticks and frame, resampled: its pixels are no whole pixels of the figure."""
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    return axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation=interpolation,
                       interpolation_stage="data")


def symmetric_limits(difference: np.ndarray) -> tuple[float, float]:
    """Limits in HU for a map of differences: its 99th percentile, rounded up to tens, at least 10."""
    limit = float(max(10 * np.ceil(np.percentile(np.abs(difference), 99) / 10), 10))
    return -limit, limit


def legend_columns(handles: list[Line2D]) -> int:
    """Columns of a legend that fit the page, in points: long names need room."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    return int(np.clip(WIDTH * 72 // (40 + 4.4 * longest), 1, 4))


def _frame(axes: Axes, corner: tuple[int, int], shape: tuple[int, int]) -> None:
    axes.add_patch(Rectangle((corner[1] - 0.5, corner[0] - 0.5), shape[1], shape[0], fill=False, color="red", linewidth=1.0))


def _scale_bar(axes: Axes, shape: tuple[int, int], pixel_mm: float) -> None:
    """At the lower left: the longest of ``BAR_MM`` that fits into a third of the image. None for pixels of unknown size."""
    fitting = [length for length in BAR_MM if length / pixel_mm <= shape[1] / 3]
    if fitting:
        y, x, outline = 0.92 * shape[0], 0.04 * shape[1], [withStroke(linewidth=2.5, foreground="black")]
        axes.plot([x, x + fitting[0] / pixel_mm], [y, y], color="white", linewidth=1.5, path_effects=outline)
        axes.text(x, y - 0.02 * shape[0], f"{fitting[0]} mm", color="white", va="bottom", path_effects=outline)


@mpl.rc_context(STYLE)
def figure1(labels: Labels, ldct_hu: np.ndarray, ndct_hu: np.ndarray, where: str, pixel_mm: float) -> Path:
    """Figure 1: LDCT beside NDCT in the window [-160, 240] HU with a box as large as a training patch, its zoom below.

    The box is chosen by a rule: :func:`lib.metrics.regions.structured_window`.

    Parameters
    ----------
    ldct_hu, ndct_hu : array, (rows, columns), HU
    where, pixel_mm : what slice it is (:func:`lib.report.words.slice_name`); its pixel size, NaN if unknown: no scale bar
    """
    side = min(labels.settings["patch_size"], *ndct_hu.shape)
    top, left = structured_window(ndct_hu, (side, side))
    figure = new_figure(labels, 6.9)
    axes = figure.subplots(2, 2)
    for (whole, zoom), name, image in zip(axes.T, ("(a) LDCT", "(b) NDCT"), (ldct_hu, ndct_hu), strict=True):
        picture(whole, image, WINDOW, f"{name}, {image.shape[0]} × {image.shape[1]}")
        _frame(whole, (top, left), (side, side))
        _scale_bar(whole, image.shape, pixel_mm)
        patch = image[top : top + side, left : left + side]
        shown = picture(zoom, patch, WINDOW, f"{name}, {side} × {side}: a training patch", interpolation="nearest")
        _scale_bar(zoom, patch.shape, pixel_mm)
        zoom.spines[:].set(visible=True, color="red", linewidth=1.0)
    figure.suptitle(where)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="HU", extend="both", aspect=35)
    return save_figure(labels, figure, "fig1")


@mpl.rc_context(STYLE)
def figure3(labels: Labels, examples: Mapping[str, np.ndarray], where: str, pixel_mm: float, name: str = "fig3") -> Path:
    """Figure 3: one test slice after each network, a window of it, and what is left of the error.

    For NDCT, LDCT and each experiment, four beside each other: the image, cut to the body, in [-160, 240] HU; its window
    with most structure (:func:`lib.metrics.regions.structured_window`); image minus NDCT, all on one scale. RMSE and bias
    (mean error) are those in the body.

    Parameters
    ----------
    examples : mapping, 'ndct', 'ldct' and experiments by name, (rows, columns), HU
    where, pixel_mm : as for :func:`figure1`
    name : of the file
    """
    inside = body(examples["ndct"])
    rows, columns = (slice(each.min(), each.max() + 1) for each in np.nonzero(inside if inside.any() else ~inside))
    cut = {each: image[rows, columns].astype(float) for each, image in examples.items()}
    shown, ndct, inside = ["ndct", *(each for each in labels.experiments if each in cut)], cut["ndct"], inside[rows, columns]
    shape = tuple(min(max(8, round(share * whole)), part)
                  for share, whole, part in zip(ZOOM, examples["ndct"].shape, ndct.shape, strict=True))
    top, left = structured_window(ndct, shape)
    limits = symmetric_limits(cut.get("ldct", cut[shown[-1]]) - ndct)
    grey, signed = (mpl.colormaps[each].resampled(LEVELS) for each in ("gray", "RdBu_r"))
    tall, flat, blocks = ndct.shape[0] / ndct.shape[1], shape[0] / shape[1], -(-len(shown) // ACROSS)
    figure = new_figure(labels, blocks * (WIDTH / ACROSS * (2 * tall + flat) + 0.5) + 0.2)
    panels = figure.subplots(3 * blocks, ACROSS, squeeze=False, height_ratios=[tall, flat, tall] * blocks)
    for each in panels.flat:
        each.set_axis_off()
    for place, each in enumerate(shown):
        whole, zoom, error = panels[3 * (place // ACROSS) :, place % ACROSS][:3]
        difference = cut[each] - ndct
        image = picture(whole, cut[each], WINDOW, _title(labels, each, difference[inside]), grey)
        picture(zoom, cut[each][top : top + shape[0], left : left + shape[1]], WINDOW, cmap=grey)
        _frame(whole, (top, left), shape)
        if each == "ndct":
            _scale_bar(whole, ndct.shape, pixel_mm)
            _scale_bar(zoom, shape, pixel_mm)
        else:
            mapped = picture(error, difference, limits, cmap=signed)
            _frame(error, (top, left), shape)
    for height, drawn, label in ((0.75, image, "image (HU)"), (0.25, mapped, "image − NDCT (HU)")):
        figure.colorbar(drawn, cax=panels[2, 0].inset_axes([0.08, height, 0.84, 0.08]), orientation="horizontal",
                        label=label, extend="both")
    figure.suptitle(where)
    return save_figure(labels, figure, name, dpi=SLICES_DPI)


def _title(labels: Labels, name: str, difference: np.ndarray) -> str:
    """Whose image, and its error in the body; a panel holds some 28 characters."""
    if name == "ndct":
        return "NDCT"
    numbers = f"RMSE {np.sqrt(np.mean(difference**2)):.1f}, bias {difference.mean():+.1f} HU" if difference.size else ""
    return "\n".join([textwrap.fill(labels.experiments[name].label, 28), numbers.replace("-", "−")])
