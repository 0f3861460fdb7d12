"""S4: the atlas as a heat map and a table, and what other conventions do to lambda*."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lib.networks import carried
from lib.report.contexts import context_names, without_folders
from lib.report.exchange import share_text
from lib.report.exchange_claims import bounds_of_logs
from lib.report.labels import Labels
from lib.report.style import STYLE, Quantity, colours, ink, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.words import number
from lib.stages.atlas import KEY, LITERATURE
from lib.stages.conventions import BEFORE, ONE, SUM, UNIT
from lib.study.config import EDGE, RANDOM

STATES: Final = {"untrained": "untrained U-Net", "pilot": "pilot (MSE alone)"}
TICKS: Final = (0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)  # of Gamma
CONVENTIONS: Final = {
    SUM: "sum over elements", UNIT: "[0, 1]", "[0, 1], mean and SD": "[0, 1], mean and SD (torchvision)",
    "means subtracted": "means subtracted (Keras)", ONE: "one channel, the others 0", BEFORE: "before the ReLU"}
WHAT: Final = {EDGE: f"VGG-16 {carried.EDGE.label}", RANDOM: "Glorot's uniform kernels, biases 0, one draw for each seed"}


def with_contexts(labels: Labels, table: pd.DataFrame) -> Labels:
    """The labels of figures and tables that show contexts which no experiment has: what these are stands beside the rest."""
    further = [f"{name} = {text}" for name, text in WHAT.items() if name in set(table["context"])]
    return replace(labels, provenance=" | ".join([labels.provenance, *further]))


@mpl.rc_context(STYLE)
def figure_atlas(labels: Labels, table: pd.DataFrame) -> Path:
    """Heat maps of contexts by layers: log10 of lambda* with the untrained network and with the pilot, Gamma at the output
    there with both; geometric means over seeds. ``table``: of :func:`lib.stages.atlas.atlas_table`."""
    contexts = list(dict.fromkeys(table["context"]))
    figure = new_figure(labels, 1.1 + 4 * (0.32 + 0.22 * len(contexts)))
    panels, names = figure.subplots(4, 1, sharex=True), context_names(labels, contexts)
    lambdas, odds = (_grids(table, values) for values in (np.log10(table["lambda_exact"]), _log_odds(table["gamma_output"])))
    target = f"{labels.target_psi:g}"
    maps = [_heat(panel, grid, names, Normalize(*_limits(lambdas)), "lambda", "{:z.1f}".format)
            for panel, grid in zip(panels, lambdas.values(), strict=False)]
    low, high = _limits(odds)  # of Gamma as 1 / (1 - Gamma), whose logarithm tells .99 from .999
    maps += [_heat(panel, 1 + 10.0**grid, names, LogNorm(1 + 10**low, 1 + 10**high), "gamma",
                   lambda value: _four_digits(1 - 1 / value)) for panel, grid in zip(panels[2:], odds.values(), strict=True)]
    titles = [f"{what}, {text}" for what in (rf"log$_{{10}}$ λ* for Ψ = {target}", f"Γ at the output where Ψ = {target}")
              for text in STATES.values()]
    for panel, letter, title in zip(panels, "abcd", titles, strict=True):
        panel.set_title(f"({letter}) {title}")
    figure.colorbar(maps[0], ax=panels[:2], label=r"log$_{10}$ λ*", aspect=14)
    bar = figure.colorbar(maps[2], ax=panels[2:], label="Γ", aspect=14)
    shown = [tick for tick in TICKS if 1 + 10**low <= 1 / (1 - tick) <= 1 + 10**high]
    bar.ax.yaxis.set_major_locator(FixedLocator([1 / (1 - tick) for tick in shown]))
    bar.ax.yaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in shown]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    return save_figure(labels, figure, "psi_atlas", palette=False)


def _log_odds(values: pd.Series) -> pd.Series:
    return np.log10(values / (1 - values))


def _four_digits(value: float) -> str:
    """A share for a cell; more digits where it is nearer to 1."""
    return f"{value:.4f}" if value < 0.99985 else share_text(value)


def _grids(table: pd.DataFrame, values: pd.Series) -> dict[str, pd.DataFrame]:
    """By state: contexts by layers, the mean over seeds; a layer that a VGG lacks is empty."""
    means = values.groupby([table[name] for name in KEY], sort=False).mean().unstack("layer")
    order = sorted(means.columns)  # block1_conv1 ... block5_conv4
    rows = list(dict.fromkeys(table["context"]))
    return {state: means.xs(state, level="state").loc[rows, order] for state in STATES}


def _limits(grids: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    return (min(float(np.nanmin(grid.to_numpy())) for grid in grids.values()),
            max(float(np.nanmax(grid.to_numpy())) for grid in grids.values()))


def _heat(panel: Axes, grid: pd.DataFrame, names: Mapping[str, str], norm: Normalize, quantity: Quantity,
          text: Callable[[float], str]) -> AxesImage:
    """A heat map with its numbers in the cells."""
    values = grid.to_numpy(float)
    drawn = panel.imshow(np.ma.masked_invalid(values), cmap=colours(quantity), norm=norm, aspect="auto",
                         interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            panel.text(column, row, text(value).replace("-", "−"), ha="center", va="center", size=7,
                       color=ink(drawn.cmap(float(norm(value)))))
    panel.set_xticks(range(grid.shape[1]), [str(each).replace("_", "\n") for each in grid.columns], size=7)
    panel.set_yticks(range(grid.shape[0]), [textwrap.fill(names[str(each)], 24) for each in grid.index], size=7)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    return drawn


def atlas_shown(labels: Labels, table: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    """Save ``psi_atlas.csv`` and return what one reads of it: a row per context and layer, means over seeds, lambda* with
    its interval. ``patients``: of :func:`lib.stages.atlas.by_patient`."""
    contexts = list(dict.fromkeys(table["context"]))
    names, rows = context_names(labels, contexts), []
    for (context, layer), some in table.groupby(["context", "layer"], sort=False):
        row = {"Context": names[context], "ϕ": layer}
        for state in STATES:
            here = some[some["state"] == state]
            row[f"λ*, {state}"] = _with_interval(here["lambda_exact"], logs_of(patients["lambda"], context, layer, state))
        for state in STATES:
            row[f"Γ there, {state}"] = share_text(_mean_share(some.loc[some["state"] == state, "gamma_output"]))
        for state in STATES:
            literature = some.loc[some["state"] == state, "psi_alg2_literature"]
            row[f"Ψ at λ = {LITERATURE:g}, {state}"] = share_text(_mean_share(literature))
        rows.append(row)
    return save_table(labels, _public(table), "psi_atlas", "The atlas: λ* at which Ψ (Algorithm 2) is "
                      f"{labels.target_psi:g} at each convolution (after its ReLU; grey in three channels, [0, 255], no "
                      "means subtracted, means over elements), the share Γ of the gradient at the output there, and Ψ at "
                      "the literature's λ. Means over seeds of logarithms; λ* with its 95 % interval over patients and "
                      "seeds, where there are enough",
                      pd.DataFrame(rows))


def _public(table: pd.DataFrame) -> pd.DataFrame:
    """A table for a file: its contexts without a user's folders."""
    return table.assign(context=table["context"].map(without_folders(table["context"])))


def logs_of(values: pd.Series, *key: str) -> np.ndarray:
    """(patients, seeds) of patients of whom every seed has pairs; ``values`` and ``key`` as :func:`by_patient` has them."""
    return values.loc[key].unstack("seed").dropna().to_numpy()


def _mean_share(values: pd.Series) -> float:
    return float(1 / (1 + 10 ** -_log_odds(values).mean()))


def _with_interval(values: pd.Series, logs: np.ndarray) -> str:
    """The geometric mean over seeds, and as wide an interval about it as patients and seeds give the logarithm."""
    mean = float(10 ** np.log10(values).mean())
    (estimate, low, high), _ = bounds_of_logs(logs)
    interval = [number(mean * 10 ** (end - estimate)) for end in (low, high)]
    return number(mean) + ("" if np.isnan(low) or len(set(interval)) < 2 else f" [{interval[0]}, {interval[1]}]")


@mpl.rc_context(STYLE)
def figure_conventions(labels: Labels, factors: pd.DataFrame, patch_size: int) -> Path:
    """By how much each other convention multiplies lambda*, with the untrained network and with the pilot; geometric means
    over seeds. ``factors``: of :func:`lib.stages.atlas.convention_factors`; ``patch_size``: pixels, a side of the patches,
    on which a sum hangs."""
    logs = np.log10(factors["factor"]).groupby([factors[name] for name in ("state", "convention", "layer")]).mean()
    figure = new_figure(labels, 0.8 + 0.28 * len(CONVENTIONS))
    panels, layers = figure.subplots(1, 2, sharey=True), sorted(set(factors["layer"]))
    names = _named(patch_size)
    (name,) = context_names(labels, factors["context"].unique()).values()
    for panel, letter, (state, text) in zip(panels, "ab", STATES.items(), strict=True):
        grid = 10 ** logs.loc[state].unstack("layer").loc[list(CONVENTIONS), layers]
        drawn = _heat(panel, np.log10(grid), names, SymLogNorm(0.3, vmin=-5, vmax=5), "factor",
                      lambda value: number(float(f"{10**value:.2g}")))
        panel.set_yticks(range(len(grid)), names.values())
        panel.set_title(f"({letter}) {name}, {text}")
    bar = figure.colorbar(drawn, ax=panels, label="factor on λ*", aspect=14)
    bar.ax.yaxis.set_major_locator(FixedLocator([-5, -1, 0, 1, 5]))
    bar.ax.yaxis.set_major_formatter(FixedFormatter(["1e−5", "0.1", "1", "10", "1e5"]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    return save_figure(labels, figure, "conventions", palette=False)


def _named(patch_size: int) -> dict[str, str]:
    """The conventions, with the size of the patches whose elements are summed."""
    return CONVENTIONS | {SUM: f"{CONVENTIONS[SUM]} ({patch_size} × {patch_size} pixels)"}


def conventions_shown(labels: Labels, factors: pd.DataFrame, patients: pd.DataFrame, patch_size: int) -> pd.DataFrame:
    """Save ``conventions.csv`` and return what one reads of it: a row per convention and state, a column per layer;
    ``patients``: the factors by patient; ``patch_size``: as of :func:`figure_conventions`."""
    (name,) = context_names(labels, factors["context"].unique()).values()
    rows, title = [], (
        "By how much λ* is multiplied by another convention than the paper's (grey as three equal channels, [0, 255], no "
        f"means subtracted, after the ReLU, a mean over elements), {name} at one layer. Means over seeds of "
        "logarithms, 95 % intervals over patients and seeds. Grey as three channels is the first kernel summed over them: "
        "equal by construction")
    for (convention, state), some in factors.groupby(["convention", "state"], sort=False):
        row = {"Convention": _named(patch_size)[convention], "Network": state}
        for layer, here in some.groupby("layer", sort=False):
            row[str(layer)] = _with_interval(here["factor"], factor_logs(patients, convention, str(layer), state))
        known = some.drop_duplicates("layer")["algebra"].dropna()
        row["By algebra"] = ", ".join(dict.fromkeys(map(number, known))) + " without biases" * (convention == UNIT) or "–"
        rows.append(row)
    return save_table(labels, _public(factors), "conventions", title, pd.DataFrame(rows))


def factor_logs(patients: pd.DataFrame, convention: str, layer: str, state: str) -> np.ndarray:
    """log10 of the factors of one convention, layer and state by patient, (patients, seeds)."""
    some = patients[(patients["convention"] == convention) & (patients["layer"] == layer) & (patients["state"] == state)]
    return np.log10(some.pivot(index="patient", columns="seed", values="factor").dropna().to_numpy())
