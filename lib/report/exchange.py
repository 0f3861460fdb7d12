"""S1: the figure and the table of the exchange rate of loss weights."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.report.curves import CONTEXTS, DEPTHS, OTHER, width_of
from lib.report.influence_tables import spread
from lib.report.labels import FURTHER_COLOURS, UNLEARNT, Labels
from lib.report.odds import SPARSE, odds, shares_on
from lib.report.style import STYLE, legend_below, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.words import number
from lib.stages.exchange import BATCH

RANGE: Final = (0.004, 0.99996)
WHERE: Final = {"output": "the output", "weights": "all weights"}


@mpl.rc_context(STYLE)
def figure_exchange(labels: Labels, table: pd.DataFrame, histories: Mapping[tuple[str, int], pd.DataFrame]) -> Path:
    """The share of the gradient against the share of the loss, with the pilot, at the output and at all weights, on axes of
    odds: a loss is a line parallel to the diagonal, and its distance from it is its exchange rate. Then the rate at the
    output on its way: with the untrained network, the pilot, over each epoch of its own training, and at its end.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.exchange.exchange_table`
    histories : mapping, of each training by experiment and seed: psi and gamma of each epoch
    """
    figure = new_figure(labels, 3.4)
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    known = _losses(labels, table)
    pilot = rates(table)["pilot"]
    for panel, letter, (where, title) in zip(axes, "ab", WHERE.items(), strict=False):
        _shares(panel, [(known[str(name)], row[where]) for name, row in pilot.iterrows()], labels.target_psi)
        panel.set(title=f"({letter}) pilot: Γ at {title}", xlabel="Ψ: share of the loss")
    axes[0].set_ylabel("Γ: share of the gradient")
    axes[1].tick_params(labelleft=False)
    _course(axes[2], table, histories, known)
    colours, lines = ({getattr(loss, what): getattr(loss, how) for loss in known.values()}
                      for what, how in (("context", "colour"), ("layers", "line")))
    handles = [Line2D([], [], color=colour, linewidth=3, label=context) for context, colour in colours.items()]
    handles += [Line2D([], [], color="0.2", linestyle=line, label=layers) for layers, line in lines.items()]
    handles += [Line2D([], [], color="0.4", linewidth=0.8, linestyle=":", label="Γ = Ψ"),
                Line2D([], [], color="0.7", linewidth=0.7, label=f"Ψ = {labels.target_psi:g}")]
    legend_below(figure, handles)
    return save_figure(labels, figure, "exchange")


class _Loss(NamedTuple):
    """How a layer and context are drawn: losses of one look alike, whatever else they differ in."""

    context: str
    layers: str
    colour: str
    line: str


def _losses(labels: Labels, table: pd.DataFrame) -> dict[str, _Loss]:
    further, colours, found = iter(FURTHER_COLOURS), dict(CONTEXTS), {}
    for name in dict.fromkeys(table["configuration"]):
        known = labels.experiments[name]
        context = known.context.removesuffix(UNLEARNT).rstrip("*")
        if context not in colours:
            colours[context] = next(further)
        line = DEPTHS.get(known.layers[0], OTHER) if len(known.layers) == 1 else OTHER
        found[name] = _Loss(known.context, " + ".join(known.layers), colours[context], line)
    return found


def rates(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By state, the exchange rates of each configuration (its rows), the geometric mean over seeds, at output, weights and
    last kernel (columns)."""
    one = table.drop_duplicates(["configuration", "seed", "state"])
    logs = np.log(one[[f"rate_{where}" for where in (*WHERE, "last")]].set_axis([*WHERE, "last"], axis=1))
    means = np.exp(logs.groupby([one["state"], one["configuration"]], sort=False).mean())
    return {state: means.loc[state] for state in one["state"].unique()}


def _shares(panel: Axes, rate: Iterable[tuple[_Loss, float]], target: float) -> None:
    """A line for each loss."""
    ends = odds(RANGE)
    panel.plot(ends, ends, color="0.4", linewidth=0.8, linestyle=":")
    panel.axvline(odds(target), color="0.7", linewidth=0.7)
    for loss, value in rate:
        panel.plot(ends, value * ends, color=loss.colour, linestyle=loss.line, linewidth=width_of(loss.colour))
        panel.plot(odds(target), value * odds(target), "o", color=loss.colour, markersize=3.5)
    panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (panel.xaxis, panel.yaxis):
        shares_on(axis, SPARSE)
    panel.tick_params(axis="x", rotation=90)


def _course(panel: Axes, table: pd.DataFrame, histories: Mapping[tuple[str, int], pd.DataFrame],
            known: Mapping[str, _Loss]) -> None:
    """A line for each training: its exchange rate at the output from the untrained network to its end."""
    key = ["configuration", "seed", "state"]
    one = table.drop_duplicates(key).set_index(key)["rate_output"]
    epochs = max((len(history) for history in histories.values()), default=0)
    for (name, seed), history in histories.items():
        if name in known:
            shares = history[["psi", "gamma"]].apply(pd.to_numeric)
            course = odds(shares["gamma"]) / odds(shares["psi"])
            ends = [one.get((name, seed, state), np.nan) for state in ("untrained", "pilot", "own")]
            places = [0, 1, *range(2, 2 + len(course)), 2 + epochs]
            panel.plot(places, [*ends[:2], *course, ends[2]], color=known[name].colour, linestyle=known[name].line,
                       linewidth=0.9, marker=".", markersize=3)
    panel.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
    panel.set(yscale="log", title="(c) exchange rate at the output", ylabel="odds of Γ / odds of Ψ")
    names = ["untrained", "pilot", *(f"epoch {n + 1}" for n in range(epochs)), "end"]
    panel.set_xticks(range(len(names)), names, rotation=90)


def exchange_shown(labels: Labels, table: pd.DataFrame) -> pd.DataFrame:
    """Save ``exchange.csv`` and return what one reads of it: a row per configuration and state, means over seeds [lowest,
    highest]."""
    target, rows = f"psi {labels.target_psi:g}", []
    for (state, name), some in table.groupby(["state", "configuration"], sort=False):
        at = dict(list(some.groupby("at")))
        here, half = at[target], at["gamma 0.5"]
        rows.append({
            "Loss": labels.experiments[name].label, "Network": state, "λ for the Ψ": _over_seeds(here["lambda"]),
            "Γ there": _over_seeds(here["gamma_output"], share_text),
            "Γ of the weights": _over_seeds(here["gamma_weights"], share_text),
            "Ψ of equal gradients": _over_seeds(half["psi_alg2"], share_text),
            "Rate, output": _over_seeds(some["rate_output"]),
            "Rate, weights": _over_seeds(some["rate_weights"]), "VQGAN's λ": _over_seeds(at["vqgan"]["lambda"])})
    return save_table(labels, table, "exchange", "What a weight is worth: λ at which Ψ (Algorithm 2) is "
                      f"{labels.target_psi:g}, the perceptual share Γ of the gradient there, at the output (EnCodec's "
                      f"balancer has Γ for its weight) and at all weights (of batches of {BATCH}); the Ψ at which both "
                      "gradients are equal at the output; the exchange rate, odds of Γ by odds of Ψ, which no λ changes; λ "
                      "as VQGAN would choose it. All networks on the same pairs: 'own' is what a training ended with, no "
                      "mean over its last epoch. Means over seeds [lowest, highest]", pd.DataFrame(rows))


def _over_seeds(values: pd.Series, text: Callable[[float], str] = number) -> str:
    return spread(values.mean(), values.min(), values.max(), text)


def share_text(value: float) -> str:
    """Three digits of what is left to 0 or 1: '0.9983', '0.0512'."""
    if not 0 < value < 1:
        return f"{value:g}"
    digits = 2 - int(np.floor(np.log10(min(value, 1 - value))))
    return f"{value:.{min(digits, 9)}f}"
