"""S5: the passport of each loss as a table and a map, and whether it predicts what trained networks get wrong."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lib.metrics.degradations import AS_IT_IS, BLUR, CHECKERBOARD, LESION, ORGAN_SHIFT, PERIODS, SHIFT, WHITE_NOISE
from lib.metrics.rank_correlation import RankCorrelation, rank_correlation
from lib.report.contexts import context_names
from lib.report.labels import FURTHER_COLOURS, Labels
from lib.report.style import STYLE, colours, ink, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.words import number
from lib.stages.passport import MSE, PIXEL, RANDOM

SHOWN: Final = {
    WHITE_NOISE: "white noise", BLUR: "blur", SHIFT: "shift", CHECKERBOARD: "checkerboard",
    **{f"grating {period}": f"grating, {period} pixels" for period in PERIODS}, AS_IT_IS: "low-dose noise",
    f"{BLUR}, 1 pixel": "blur", f"{ORGAN_SHIFT}, 10 HU": "liver shift", f"{ORGAN_SHIFT}, 40 HU": "liver shift",
    f"{LESION}, 20 HU": "lesion lost",
}
"""Columns of the map: at one MSE, then at a size that they have in practice."""

PRACTICAL: Final = 5  # of these, the last ones
LIMITS: Final = (1e-3, 10.0)  # colours of prices
MEASURED: Final = {f"{ORGAN_SHIFT}, 10 HU": "liver shift, 10 HU"}  # panels whose columns have their size apart
DRAWN: Final = "random = Glorot's uniform kernels, biases 0, one draw"
BLOCKS: Final = ("o", "s", "^", "D", "v")  # markers
SMALLER_DPI: Final = 240  # of the map, whose colours a palette would shift: below 1 MB
ALIKE: Final = "neighbouring layers are alike, so that the interval is too narrow and p too small"


def contexts(labels: Labels, table: pd.DataFrame) -> dict[str, str]:
    """Names of the contexts as the study's labels have them, with an asterisk for a substitute."""
    found = context_names(labels, table["context"].unique())
    return found | {name: words for name, words in {PIXEL: "no encoder", RANDOM: "random weights"}.items() if name in found}


def labelled(labels: Labels, table: pd.DataFrame) -> Labels:
    """The labels of what shows the passport: what its random weights are stands beside the rest."""
    return replace(labels, provenance=f"{labels.provenance} | {DRAWN}") if RANDOM in set(table["context"]) else labels


def titles(table: pd.DataFrame) -> dict[str, str]:
    """What the table has of ``SHOWN``, with its size: the mean amplitude over patients. 'blur, SD 5.8 pixels'."""
    sizes, found = table.drop_duplicates("degradation").set_index("degradation"), {}
    for name, words in SHOWN.items():
        if name in sizes.index:
            size, unit = sizes.loc[name, ["amplitude", "unit"]]
            spread = "SD " if "noise" in words or words == "blur" else ""
            found[name] = f"{words}, {spread}{number(float(f'{size:.2g}'))} {unit.removesuffix('s' if size == 1 else ' ')}"
    return found


@mpl.rc_context(STYLE)
def figure_passport(labels: Labels, table: pd.DataFrame) -> Path:
    """A panel for each context: rows are layers, columns degradations, the number and colour is the price.

    ``table``: of :func:`lib.stages.passport.prices`.
    """
    wide = table.pivot_table(index=["context", "layer"], columns="degradation", values="price", sort=False)
    wide = wide[[name for name in SHOWN if name in wide]]
    names = contexts(labels, table)
    counts = [len(wide.loc[name]) for name in names]
    figure = new_figure(labels, 1.5 + 0.155 * sum(counts) + 0.2 * len(counts))
    axes = figure.subplots(len(names), 1, squeeze=False, height_ratios=counts)[:, 0]
    norm = TwoSlopeNorm(0.0, *np.log10(LIMITS))
    for panel, (name, title) in zip(axes, names.items(), strict=True):
        _map(panel, wide.loc[name], norm)
        panel.set(xticks=[])
        panel.set_title(title, loc="left", y=1.0, pad=3)
    equal = len(wide.columns) - sum("," in name for name in wide)
    columns = [words for name, words in titles(table).items() if name in wide]
    axes[0].set_xticks(range(len(columns)), columns, rotation=50, ha="left", rotation_mode="anchor")
    axes[0].tick_params(axis="x", labeltop=True, labelbottom=False, pad=15)
    sides = {"all of one MSE": (-0.5, equal), "as large as in practice": (equal - 0.5, len(columns) - equal)}
    for words, (start, width) in sides.items():
        axes[-1].text(start + width / 2, counts[-1], words, ha="center", va="center")
    for panel in axes:
        panel.axvline(equal - 0.5, color="black", linewidth=1.5)
    bar = figure.colorbar(ScalarMappable(norm, colours("price")), ax=axes, orientation="horizontal", aspect=60, pad=0.02,
                          extend="both", label="price: perceptual term by that of low-dose noise of the same MSE")
    ticks = (0.001, 0.01, 0.1, 1, 10)
    bar.ax.xaxis.set_major_locator(FixedLocator(np.log10(ticks)))
    bar.ax.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    return save_figure(labels, figure, "passport", dpi=SMALLER_DPI, palette=False)


def _map(panel: Axes, prices: pd.DataFrame, norm: Normalize) -> None:
    """``norm``: of log10 of a price."""
    values = prices.to_numpy(float)
    seen = np.log10(np.clip(values, *LIMITS))  # a layer may not see a thing at all
    drawn = panel.imshow(seen, norm=norm, cmap=colours("price"), aspect="auto", interpolation="nearest")
    panel.set_yticks(range(len(prices)), prices.index)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    for (line, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            panel.text(column, line, _short(value), size=7, ha="center", va="center",
                       color=ink(drawn.cmap(float(norm(seen[line, column])))))


def _short(value: float) -> str:
    """At most five characters: '0.002', '0.31', '1.2', '14'."""
    return f"{value:.3f}" if value < 0.0995 else f"{value:.2f}" if value < 9.95 else f"{value:.0f}"


def passport_shown(labels: Labels, table: pd.DataFrame) -> pd.DataFrame:
    """Save ``passport.csv`` and return what one reads of it: a row per context and layer, the price of each degradation."""
    names, sized, rows = contexts(labels, table), titles(table), []
    for (context, layer), some in table.groupby(["context", "layer"], sort=False):
        prices = some.set_index("degradation")["price"]
        rows.append({"Context": names[context], "Layer": layer} | {
            title: number(prices[name]) for name, title in sized.items() if name in prices})
    return save_table(labels, table, "passport", "What a loss charges: the perceptual term of an image with one thing wrong "
                      f"by that of low-dose noise of the same MSE ({MSE:g} of images in [0, 1]; from the "
                      "low-dose noise as it is on, which costs 1 by definition: as large as in practice, beside that noise "
                      "scaled to the same MSE; sizes are means over patients). What is degraded is noise-free where scans "
                      "are simulated, else the NDCT. Geometric means over test patients, a window of one slice each; the "
                      "CSV has intervals, sizes, and the price in the total loss, with the λ whose Ψ is "
                      f"{labels.target_psi:g} for low-dose noise of the MSE {MSE:g}", pd.DataFrame(rows).fillna("–"))


def correlations(predicted: pd.DataFrame) -> dict[str, RankCorrelation]:
    """By degradation, the rank correlation over layers of its price and the error of the network."""
    return {name: rank_correlation(some["price"].to_numpy(), some["error"].to_numpy())
            for name, some in predicted.groupby("degradation", sort=False)}


@mpl.rc_context(STYLE)
def figure_errors(labels: Labels, predicted: pd.DataFrame) -> Path:
    """A panel for each degradation: what the trained network gets wrong against the price, a point for each layer, whose
    colour and marker are its block's.

    ``predicted``: of :func:`lib.stages.passport.predictions`. In the titles the rank correlation over layers, and its
    interval.
    """
    found = correlations(predicted)
    lines = -(-len(found) // 4)
    figure = new_figure(labels, 0.7 + 2.25 * lines)
    axes = figure.subplots(lines, 4, squeeze=False).ravel()
    for panel in axes:
        panel.set_axis_off()
    for panel, (name, correlation) in zip(axes, found.items(), strict=False):
        some = predicted[predicted["degradation"] == name]
        panel.set_axis_on()
        for block, points in some.groupby(some["layer"].str.split("_").str[0]):
            style = int(block.removeprefix("block")) - 1
            panel.plot(points["price"], points["error"], BLOCKS[style], color=FURTHER_COLOURS[style], markersize=4,
                       label=block)
        panel.set(xscale="log", title=f"{MEASURED.get(name) or SHOWN[name]}\n{_rho(correlation)}",
                  ylabel=some["measured"].iloc[0], xlabel="price")
        ticks = _ticks(some["price"].min() / 1.1, some["price"].max() * 1.1)
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
        panel.xaxis.set_minor_locator(NullLocator())
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=5)
    if any(np.isfinite(each.low) for each in found.values()):
        figure.suptitle(f"In brackets 95 % of ρ, layers drawn again: {ALIKE.removesuffix(' and p too small')}")
    return save_figure(labels, figure, "passport_errors")


def _rho(found: RankCorrelation) -> str:
    """'ρ = +0.52', and in a line of its own '[−0.10, +0.93]'; without the interval where there is none."""
    ends = [f"{value:+.2f}".replace("-", "−") for value in (found.estimate, found.low, found.high) if np.isfinite(value)]
    return f"ρ = {ends[0]}" + (f"\n[{ends[1]}, {ends[2]}]" if len(ends) > 1 else "") if ends else "ρ unknown"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis, three at most."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found: list[list[float]] = []
    round_ones = (1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    for steps in (*round_ones, *(tuple(np.arange(10, 100, step) / 10) for step in (5, 2, 1))):
        every = [step * 10.0**power for power in powers for step in steps]
        found.append([tick for tick in every if low <= tick <= high])
    decades = found[0][:: max(1, -(-len(found[0]) // 3))]
    return max([decades, *(ticks for ticks in found if len(ticks) <= 3)], key=len)


def summary(labels: Labels, table: pd.DataFrame) -> Mapping[str, str]:
    """For each context with an encoder, what its layers charge least and most for of what has one MSE, in words."""
    found, sized = {}, titles(table)
    for context, title in contexts(labels, table[table["context"] != PIXEL]).items():
        some = table[(table["context"] == context) & table["degradation"].isin(list(SHOWN)[: len(SHOWN) - PRACTICAL])]
        middle = np.exp(np.log(some["price"]).groupby(some["degradation"]).mean()).sort_values()
        ends = [f"{sized[name]} ({number(middle[name])})" for name in (middle.index[0], middle.index[-1])]
        found[context] = f"{title}: of one MSE, {ends[0]} is the cheapest and {ends[1]} the dearest (mean over the layers)."
    return found
