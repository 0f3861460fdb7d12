"""Pictures of an evidence sheet as data URIs: slices with colour bar and scale bar, plots for light and for dark pages."""

import base64
import io
from typing import Any, Final, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator

from lib.data.hu import WINDOW
from lib.deploy.evidence import Evidence
from lib.metrics.regions import body

LIGHT, DARK = "#1f2328", "#e6e8eb"  # text on a light and on a dark page
BEFORE, AFTER = "#8c8c8c", "#2a93d5"  # legible on both
DIAMETERS: Final = (("#d55e00", "o"), ("#2a93d5", "s"))  # of lesions, smallest first
RANGES: Final = (5, 10, 20, 50, 100, 200, 500, 1000)  # HU, ends of the scale of differences
LARGE: Final = 0.995  # quantile of the differences in the body that the scale holds
MARGIN: Final = 8  # pixels around the body
BARS_MM: Final = (100, 50, 20, 10, 5)
STYLE: Final = {"svg.hashsalt": "evidence", "svg.fonttype": "path", "font.size": 11, "axes.spines.top": False,
                "axes.spines.right": False}


class Plot(NamedTuple):
    """One plot in the colours of a light and of a dark page."""

    light: str
    dark: str
    alt: str


class Picture(NamedTuple):
    """One slice, on black."""

    uri: str
    alt: str
    caption: str


def slices(evidence: Evidence) -> list[Picture]:
    """Input, denoised and their difference, cut to the body; the window is the abdomen's."""
    before, after = evidence.pictures
    box = _box(before)
    inside = body(before)[box]
    before, after = before[box].astype(np.float64), after[box].astype(np.float64)
    change = after - before
    large = float(np.quantile(np.abs(change[inside]), LARGE)) if inside.any() else 0.0
    end = next((each for each in RANGES if each >= large), RANGES[-1])
    low, high = WINDOW
    bar = ", with a scale bar in cm" if np.isfinite(evidence.spacing_mm[1:]).all() else ""
    of = f"one axial slice, HU window {low:g} to {high:g}{bar}".replace("-", "\N{MINUS SIGN}")
    grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high}
    colour: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -end, "vmax": end}
    return [
        Picture(_slice(before, evidence.spacing_mm, "HU", **grey), f"Input: {of}", "Input"),
        Picture(_slice(after, evidence.spacing_mm, "HU", **grey), f"Denoised: {of}", "Denoised"),
        Picture(_slice(change, evidence.spacing_mm, "HU", **colour),
                f"Denoised minus input of that slice, from \N{MINUS SIGN}{end} (blue) to {end} HU (red)",
                "Denoised \N{MINUS SIGN} input"),
    ]


def _box(image: np.ndarray) -> tuple[slice, slice]:
    """The body with a margin; the whole image where there is none."""
    inside = body(image)
    if not inside.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(inside.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    return tuple(slice(max(0, int(first) - MARGIN), int(last) + MARGIN + 1) for first, last in ends)


def _slice(image: np.ndarray, spacing_mm: tuple[float, float, float], unit: str, **settings: Any) -> str:
    stated = bool(np.isfinite(spacing_mm[1:]).all())
    down, across = spacing_mm[1:] if stated else (1.0, 1.0)
    rows, columns = image.shape
    inches, shape = 4.4, rows * down / (columns * across)
    with matplotlib.rc_context(STYLE):
        figure = Figure((inches, inches * shape + 0.55), facecolor="black")
        bottom = 0.55 / (inches * shape + 0.55)
        axes = figure.add_axes((0, bottom, 1, 1 - bottom))
        drawn = axes.imshow(image, aspect="auto", interpolation="nearest", **settings)
        axes.set_axis_off()
        if stated:
            _scale_bar(axes, rows, columns, across, settings["cmap"] == "gray")
        place = figure.add_axes((0.08, 0.62 * bottom, 0.74, 0.22 * bottom))
        bar = figure.colorbar(drawn, cax=place, orientation="horizontal")
        bar.ax.xaxis.set_major_locator(FixedLocator(np.linspace(settings["vmin"], settings["vmax"], 5)))
        bar.ax.tick_params(colors="white", labelsize=10, length=2, pad=2)
        bar.outline.set_visible(False)
        figure.text(0.87, 0.64 * bottom, unit, color="white", fontsize=11)
        return _uri(figure, "png")


def _scale_bar(axes: Axes, rows: int, columns: int, across_mm: float, dark: bool) -> None:
    ink, page = ("white", "black") if dark else ("black", "white")
    length = next((each for each in BARS_MM if each < 0.4 * columns * across_mm), BARS_MM[-1])
    left, at = 0.03 * columns, 0.965 * rows
    for colour, width in ((page, 5), (ink, 2.5)):  # legible on any grey
        axes.plot([left, left + length / across_mm], [at, at], color=colour, linewidth=width, solid_capstyle="butt")
    axes.text(left, at - 0.02 * rows, f"{length / 10:g} cm", color=ink, va="bottom", fontsize=11,
              path_effects=[withStroke(linewidth=2.5, foreground=page)])


def spectrum(evidence: Evidence) -> Plot | None:
    """Noise power in homogeneous soft tissue before and after; None where it is not measurable."""
    found = evidence.spectrum
    if not found.mean_before.known:
        return None

    def draw(figure: Figure, _: str) -> None:
        axes = figure.add_subplot()
        for values, mean, colour, name, style in ((found.before, found.mean_before, BEFORE, "input", "--"),
                                                  (found.after, found.mean_after, AFTER, "denoised", "-")):
            axes.plot(found.frequency, values, style, color=colour, linewidth=2, marker="o", markersize=4, label=name)
            if mean.known:
                axes.axvspan(mean.low, mean.high, color=colour, alpha=0.35, linewidth=0)
                axes.axvline(mean.value, color=colour, linewidth=1)
        axes.set(xlabel="spatial frequency (1/mm)", ylabel="noise power (HU² mm²)", xlim=(0, None), ylim=(0, None))
        axes.legend(frameon=False, labelcolor="linecolor")

    return _both(draw, "Noise power over spatial frequency in homogeneous soft tissue, input and denoised; vertical lines "
                 "are the mean frequencies with their intervals. The numbers are in the table")


def recovery(evidence: Evidence) -> Plot | None:
    """Share of the contrast of inserted discs that came back, by contrast and diameter; None where none is measurable."""
    known = [each for each in evidence.lesions if each.recovery.known]
    if not known:
        return None
    contrasts = sorted({each.contrast_hu for each in known})
    diameters = sorted({each.diameter_mm for each in known})

    def draw(figure: Figure, text: str) -> None:
        axes = figure.add_subplot()
        axes.axhline(100, color=text, linewidth=0.8, linestyle=":")
        axes.axhline(0, color=text, linewidth=0.8)
        for index, diameter in enumerate(diameters):
            colour, marker = DIAMETERS[index % len(DIAMETERS)]
            rows = [each for each in known if each.diameter_mm == diameter]
            at = [contrasts.index(each.contrast_hu) + 0.16 * (index - (len(diameters) - 1) / 2) for each in rows]
            value, low, high = 100 * np.array([each.recovery[:3] for each in rows]).T
            axes.errorbar(at, value, [value - low, high - value], fmt=marker, color=colour, capsize=3, linewidth=2,
                          label=f"{diameter:g} mm")
        axes.set_xticks(range(len(contrasts)), [f"{each:+.0f}".replace("-", "\N{MINUS SIGN}") for each in contrasts])
        axes.set(xlabel="inserted contrast (HU)", ylabel="contrast that came back (%)")
        axes.set_ylim(min(-5, axes.get_ylim()[0]), max(115, axes.get_ylim()[1]))
        axes.legend(frameon=False, labelcolor="linecolor", ncols=2)

    return _both(draw, "Share of the contrast of inserted discs that came back, by contrast and diameter, with 95 % "
                 "intervals over places; 100 % is all of it. The numbers are in the table")


def _both(draw: Any, alt: str) -> Plot:
    found = []
    for text in (LIGHT, DARK):
        colours = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), text)
        with matplotlib.rc_context(STYLE | colours):
            figure = Figure((5.2, 3.5), layout="constrained", facecolor="none")
            draw(figure, text)
            for axes in figure.axes:
                axes.set_facecolor("none")
            found.append(_uri(figure, "svg"))
    return Plot(*found, alt)


def _uri(figure: Figure, kind: str) -> str:
    stream = io.BytesIO()
    nothing = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(stream, format=kind, dpi=140, metadata=nothing)
    mime = "svg+xml" if kind == "svg" else kind
    return f"data:image/{mime};base64,{base64.b64encode(stream.getvalue()).decode()}"
