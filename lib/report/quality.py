"""How good each experiment is for each patient, and what SSIM hides, by region."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from lib.report.labels import Labels
from lib.report.style import STYLE, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.words import counted

MEASURES: Final = ("ssim_body", "bias_", "noise_", "ndct_noise_", "grid_")


@mpl.rc_context(STYLE)
def figure_ssim(labels: Labels, metrics: pd.DataFrame) -> Path:
    """SSIM (the authors' protocol) of each test patient: a panel per series, a line per patient across the experiments, the
    mean over its slices and the seeds; a bar is the mean over patients, a whisker reaches from the lowest seed's to the
    highest."""
    groups = list(metrics.groupby(["kernel", "thickness_mm"]))
    names = [name for name in labels.experiments if name in set(metrics["experiment"])]
    rows = -(-len(groups) // 2)
    figure = new_figure(labels, 0.5 + 2.3 * rows)
    axes = figure.subplots(rows, min(2, len(groups)), sharex=True, sharey="row", squeeze=False)
    for panel, ((kernel, thickness), series) in zip(axes.flat, groups, strict=False):
        _patients(panel, labels, series, names)
        count = series.drop_duplicates(["patient", "index"])["patient"].value_counts()
        panel.set(axisbelow=True, title=f"{kernel}, {thickness:g} mm: {counted(len(count), 'patient')}, "
                                       f"{counted(count.max(), 'slice')} each")
    for panel in axes.flat[len(groups) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("SSIM")
    whisker = "; whisker: lowest to highest seed" if metrics["seed"].nunique() > 1 else ""
    figure.supxlabel(f"line: a patient; bar: mean over patients{whisker}")
    return save_figure(labels, figure, "fig_ssim")


def _patients(panel: Axes, labels: Labels, series: pd.DataFrame, names: list[str]) -> None:
    """One series."""
    table = series.pivot_table(index="patient", columns="experiment", values="ssim")[names]
    places = range(len(names))
    panel.plot(places, table.to_numpy().T, color="0.7", linewidth=0.8, zorder=2)
    for place, name in zip(places, names, strict=True):
        panel.plot([place] * len(table), table[name], labels.experiments[name].marker, color=labels.experiments[name].colour,
                   markersize=4, markeredgewidth=0.8, zorder=3)
        panel.hlines(table[name].mean(), place - 0.3, place + 0.3, color="black", linewidth=1.4, zorder=4)
        scores = series[series["experiment"] == name]
        seeds = scores.groupby(["seed", "patient"])["ssim"].mean().groupby("seed").mean()
        if len(seeds) > 1:
            panel.vlines(place, seeds.min(), seeds.max(), color="black", linewidth=1.0, zorder=4)
    short = [labels.experiments[name].short for name in names]
    panel.set_xticks(places, short, rotation=90 if sum(map(len, short)) > 60 else 0)
    panel.grid(axis="y", color="0.92", linewidth=0.5)


def regions_table(labels: Labels, metrics: pd.DataFrame) -> pd.DataFrame:
    """Save, and return to display, means over slices and seeds: SSIM in the body, bias and noise by region, grids.

    The CSV has a row per experiment and one of the NDCT, whose noise a perfect image would have, and the columns of
    :func:`lib.stages.evaluate.score`; regions that no slice has are left out.
    """
    means = metrics.groupby("experiment", sort=False)[[name for name in metrics if name.startswith(MEASURES)]].mean()
    noise = [name for name in means if name.startswith("noise")]
    means.loc["NDCT", noise] = [means[f"ndct_{name}"].iloc[0] for name in noise]
    means = means[[name for name in means if not name.startswith("ndct_")]].dropna(axis=1, how="all")
    shown = means.map("{:+z.1f}".format).where(means.notna(), "–")
    for name in means:
        if not name.startswith("bias"):
            digits = 3 if name == "ssim_body" else 1
            shown[name] = [f"{value:.{digits}f}" if value == value else "–" for value in means[name]]
    shown.columns = [name.removesuffix("_hu").replace("_", " ") for name in means]
    title = ("Image quality by region: SSIM (the authors' protocol) in the body; bias, mean of image - NDCT, and noise, SD "
             "of the image, in HU without edges; how far a grid of period 2, 4, 8, 16 pixels stands out of the spectrum of "
             "the error (a peak above 2)")
    return save_table(labels, means.reset_index(names="experiment"), "regions", title, shown.reset_index(names="Experiment"))
