"""Figures 1 and 3, the training curves and the SSIM distributions (Figure 2: :mod:`lib.report.curves`).

Every function writes ``<name>.png`` at 300 dpi and ``.pdf`` and returns the path of the PNG; none touches pyplot's state.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lib.artifacts.files import atomic
from lib.data.hu import WINDOW
from lib.metrics.per_slice import ssim_by_slice
from lib.report.labels import Labels

DPI: Final = 300
WIDTH: Final = 7.2  # inches: a page; text stays legible at a column's width
FOOTER: Final = 5.5  # points
STYLE: Final = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "lines.linewidth": 1.3, "pdf.fonttype": 42, "savefig.dpi": DPI, "figure.dpi": 100, "legend.frameon": False,
}
DASHED: Final = (0, (2, 1.5))


def new_figure(labels: Labels, height: float) -> SubFigure:
    """An empty page-wide figure of ``height`` inches, to draw in; the provenance line stands in a strip below it."""
    text = textwrap.fill(labels.provenance, int(WIDTH * 72 / (FOOTER * 0.54)))
    strip = (text.count("\n") + 2) * FOOTER * 1.25 / 72
    figure = Figure(figsize=(WIDTH, height + strip), layout="constrained")
    body, footer = figure.subfigures(2, 1, height_ratios=(height, strip))
    footer.text(0.5, 0.5, text, size=FOOTER, color="0.35", ha="center", va="center", linespacing=1.2)
    return body


def save_figure(labels: Labels, figure: SubFigure, name: str) -> Path:
    """Write a figure (of :func:`new_figure`) as PNG and PDF, the same bytes for the same input. Returns the PNG's path."""
    line, (png, pdf) = labels.provenance, (labels.figures / f"{name}.{ending}" for ending in ("png", "pdf"))
    # the PNG first: every drawing moves the constrained layout a little
    for path, metadata in {png: {"Software": None, "Description": line},
                           pdf: {"CreationDate": None, "Producer": None, "Subject": line}}.items():
        with atomic(path) as temporary:
            figure.get_figure(root=True).savefig(temporary, dpi=DPI, metadata=metadata)
    return png


def picture(axes: Axes, image: np.ndarray, limits: tuple[float, float], title: str = "", cmap: str = "gray") -> AxesImage:
    """An image without ticks and frame."""
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    return axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")


def symmetric_limits(difference: np.ndarray) -> tuple[float, float]:
    """Limits in HU for a map of differences: its 99th percentile, rounded up to tens, at least 10."""
    limit = float(max(10 * np.ceil(np.percentile(np.abs(difference), 99) / 10), 10))
    return -limit, limit


def legend_columns(handles: list[Line2D]) -> int:
    """Columns of a legend that fit the page: long names need room."""
    return 3 if max(len(str(handle.get_label())) for handle in handles) <= 36 else 2


@mpl.rc_context(STYLE)
def figure1(labels: Labels, ldct_hu: np.ndarray, ndct_hu: np.ndarray, box: tuple[int, ...]) -> Path:
    """Figure 1: LDCT beside NDCT, (rows, columns) in HU, in the window [-160, 240], a red box of a training patch (top row,
    left column and, if it is not the study's patch size, side; in pixels), its zoom below."""
    top, left, side = box if len(box) == 3 else (*box, labels.settings["patch_size"])
    figure = new_figure(labels, 6.75)
    axes = figure.subplots(2, 2)
    for (whole, zoom), name, image in zip(axes.T, ("(a) LDCT", "(b) NDCT"), (ldct_hu, ndct_hu), strict=True):
        picture(whole, image, WINDOW, f"{name}, {image.shape[0]} × {image.shape[1]}")
        whole.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color="red", linewidth=1.2))
        shown = picture(zoom, image[top : top + side, left : left + side], WINDOW, f"{name}, {side} × {side} patch")
        zoom.spines[:].set(visible=True, color="red", linewidth=1.2)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="HU", extend="both", aspect=35)
    return save_figure(labels, figure, "fig1")


@mpl.rc_context(STYLE)
def figure3(labels: Labels, examples: Mapping[str, np.ndarray]) -> Path:
    """Figure 3: error maps (image minus NDCT) of one test slice in HU, all on one symmetric scale; ``examples`` are 'ndct',
    'ldct' and experiments by name, (rows, columns) in HU."""
    ndct = examples["ndct"].astype(float)
    errors = {name: examples[name] - ndct for name in labels.experiments if name in examples}
    limits = symmetric_limits(errors["ldct"] if "ldct" in errors else next(iter(errors.values())))
    rows = -(-(len(errors) + 1) // 4)
    figure = new_figure(labels, 2.0 * rows)
    axes = figure.subplots(rows, 4, squeeze=False)
    picture(axes.flat[0], ndct, WINDOW, f"NDCT\n[{WINDOW[0]:g}, {WINDOW[1]:g}] HU")
    for panel, (name, error) in zip(axes.flat[1:], errors.items(), strict=False):
        layers, _, rest = labels.experiments[name].label.partition(", ")
        rmse = f"RMSE {np.sqrt(np.mean(error**2)):.1f} HU"
        second = [", ".join(filter(None, (rest, rmse)))] if len(rest) < 12 else [rest, rmse]  # a panel holds 26 characters
        title = "\n".join(textwrap.fill(each, 26) for each in (layers, *second))
        shown = picture(panel, error, limits, title, "RdBu_r")
    for panel in axes.flat[len(errors) + 1 :]:
        panel.set_axis_off()
    figure.colorbar(shown, ax=axes, label="image − NDCT (HU)", extend="both", shrink=0.7, aspect=30)
    return save_figure(labels, figure, "fig3")


@mpl.rc_context(STYLE)
def figure_training(labels: Labels, histories: Mapping[tuple[str, int], pd.DataFrame]) -> Path:
    """Total loss, MSE, PL and Psi after each epoch; training solid, validation dashed; a line per seed. ``histories``: by
    experiment and seed, columns epoch, total, mse, pl, psi and the same as val_*; pl and psi may be empty."""
    figure = new_figure(labels, 5.2)
    axes = figure.subplots(2, 2, sharex=True)
    shown = [labels.experiments[name] for name in dict.fromkeys(name for name, _ in histories)]
    titles = {"total": "total loss (Eq. 4)", "mse": ", ".join(dict.fromkeys(each.pixel for each in shown)),
              "pl": "perceptual loss", "psi": "Ψ at the λ used"}
    for panel, (column, title) in zip(axes.flat, titles.items(), strict=True):
        for (name, _), history in histories.items():
            for prefix, line in (("", "-"), ("val_", DASHED)):
                panel.plot(history["epoch"], pd.to_numeric(history[prefix + column]), color=labels.experiments[name].colour,
                           linestyle=line, marker=labels.experiments[name].marker, markersize=2.5)
        panel.set(title=title, yscale="linear" if column == "psi" else "log")
    for panel in axes[1]:
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    handles = [Line2D([], [], color=each.colour, marker=each.marker, markersize=4, label=each.label) for each in shown]
    handles += [Line2D([], [], color="0.2", linestyle=line, label=label)
                for label, line in (("training", "-"), ("validation", DASHED))]
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(handles))
    return save_figure(labels, figure, "fig_training")


@mpl.rc_context(STYLE)
def figure_ssim(labels: Labels, metrics: pd.DataFrame) -> Path:
    """Distribution of SSIM (the authors' protocol) over the test slices: a panel per series, a violin per experiment, the
    mean over seeds of a slice."""
    scores = ssim_by_slice(metrics)
    groups = list(scores.groupby(["kernel", "thickness_mm"]))
    colours = {name: each.colour for name, each in labels.experiments.items() if name in set(scores["experiment"])}
    names, ticks = list(colours), [labels.experiments[name].short for name in colours]
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    figure = new_figure(labels, 0.4 + 2.2 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, ((kernel, thickness), series) in zip(axes.flat, groups, strict=False):
        sns.violinplot(series, x="experiment", y="ssim", hue="experiment", order=names, hue_order=names, palette=colours,
                       legend=False, ax=panel, inner=None, cut=0, linewidth=0.6, alpha=0.35, density_norm="width")
        for place, name in enumerate(names):
            _dots(panel, place, series.loc[series["experiment"] == name, "ssim"].to_numpy(float), colours[name])
        count = series.groupby("experiment").size().max()
        panel.set(title=f"{kernel}, {thickness:g} mm ({count} slices)", xlabel="", ylabel="SSIM", axisbelow=True)
        panel.set_xticks(range(len(names)), ticks, rotation=90 if sum(map(len, ticks)) > 60 else 0)
        panel.grid(axis="y", color="0.9", linewidth=0.5)
    for panel in axes.flat[len(groups) :]:
        panel.set_axis_off()
    seeds = f"slices, mean over {len(labels.seeds)} seeds" if len(labels.seeds) > 1 else "slices"
    figure.supxlabel(f"bar: median; dots: {seeds}", fontsize=7)
    return save_figure(labels, figure, "fig_ssim")


def _dots(panel: Axes, place: int, values: np.ndarray, colour: str) -> None:
    """Every slice as a dot, moved sideways to tell them apart (the same way each time), and their median."""
    sideways = np.random.default_rng(place).uniform(-0.18, 0.18, values.size)
    panel.scatter(place + sideways, values, s=3, color=colour, alpha=min(1, 60 / max(values.size, 1)) ** 0.5,
                  linewidths=0, zorder=5, rasterized=values.size > 200)
    panel.hlines(np.median(values), place - 0.32, place + 0.32, color="black", linewidth=1.2, zorder=6)
