"""S2: what a lambda that moves does, beside one that stays: figure, table and claims."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from lib.report.influence_tables import spread
from lib.report.labels import FURTHER_COLOURS, Labels
from lib.report.odds import odds, shares_on
from lib.report.style import STYLE, legend_below, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.verdicts import compared, frame, row
from lib.report.words import number

FIXED: Final = "0.95"  # what the others are compared with: the target, and no rule
WORDS: Final = {FIXED: "fixed, from the pilot", "untrained": "fixed, from the untrained network", "psi-held": "Ψ held",
                "gamma-held": "Γ held", "ramp": "ramp", "epoch-ratio": "follows the epoch's losses (after Marcos 2022)"}
ASKED: Final = {"ssim": "SSIM", "psnr": "PSNR"}
MARKERS: Final = "osD^vP*"


def _colours(changes: Sequence[str]) -> dict[str, str]:
    return {change: "#000000" if change == FIXED else FURTHER_COLOURS[place % len(FURTHER_COLOURS)]
            for place, change in enumerate(changes)}


@mpl.rc_context(STYLE)
def figure_rules(labels: Labels, table: pd.DataFrame, logs: Mapping[tuple[str, str, int], pd.DataFrame],
                 margin: float) -> Path:
    """A row for each loss: lambda relative to the fixed one of the seed, Psi and Gamma (means over the epoch so far, on axes
    of odds) along the steps, a line for each seed; and the mean SSIM over the test slices beside the fixed lambda's of the
    same seed, a point for each seed, with a band where two count as equal.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.sweep.sweep_table`
    logs : mapping, by configuration, change and seed: ``log.csv`` of the training
    margin : float, in SSIM
    """
    losses, colours = list(dict.fromkeys(table["configuration"])), _colours(list(dict.fromkeys(table["change"])))
    figure = new_figure(labels, 0.9 + 1.75 * len(losses))
    axes = figure.subplots(len(losses), 4, squeeze=False, width_ratios=(1, 1, 1, 1.1))
    for line, loss in zip(axes, losses, strict=True):
        for (name, change, seed), log in logs.items():
            if name == loss:
                fixed = logs[loss, FIXED, seed]["lambda"].iloc[0]
                for panel, values in zip(line, (log["lambda"] / fixed, odds(log["psi"]), odds(log["gamma"])), strict=False):
                    marker = MARKERS[list(colours).index(change) % len(MARKERS)]
                    panel.plot(log["step"], values, color=colours[change], linewidth=0.9, marker=marker, markersize=3.5,
                               markevery=[-1], clip_on=False)
        _limits(line)
        line[0].set_ylabel(textwrap.fill(labels.experiments[loss].label, 24))
        _scores(line[3], table[table["configuration"] == loss], colours, margin)
    for panel, title in zip(axes[0], ("λ / fixed λ", "Ψ, epoch so far", "Γ at the output, epoch so far",
                                            "SSIM − fixed λ's"), strict=True):
        panel.set_title(title)
    for panel in axes[-1, :3]:
        panel.set_xlabel("step")
    handles = [Line2D([], [], color=colour, marker=MARKERS[place % len(MARKERS)], markersize=3.5,
                      label=WORDS.get(change, change)) for place, (change, colour) in enumerate(colours.items())]
    legend_below(figure, handles)
    return save_figure(labels, figure, "rules")


def _limits(line: Sequence[Axes]) -> None:
    """At least a factor of ten on the axis of lambda, of twenty in odds: what moves less is steady."""
    for panel, least in zip(line[:3], (10, 20, 20), strict=True):
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        wider = max(1.0, np.sqrt(least * low / high))
        panel.set_ylim(low / wider, high * wider)
    line[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    line[0].yaxis.set_minor_formatter(NullFormatter())
    line[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for panel in line[1:3]:
        shares_on(panel.yaxis)


def _scores(panel: Axes, table: pd.DataFrame, colours: Mapping[str, str], margin: float) -> None:
    scores = table.pivot_table("ssim", "seed", "change")
    panel.axhspan(-margin, margin, color="0.9", linewidth=0)
    for place, (change, colour) in enumerate(colours.items()):
        if change in scores and FIXED in scores:
            values = scores[change] - scores[FIXED]
            panel.plot([place] * len(values), values, MARKERS[place % len(MARKERS)], color=colour, markersize=3.5)
            panel.hlines(values.mean(), place - 0.3, place + 0.3, color=colour, linewidth=1.2)
    panel.set(xticks=[], ylim=(min(panel.get_ylim()[0], -2 * margin), max(panel.get_ylim()[1], 2 * margin)))


def rules_shown(labels: Labels, table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Save ``rules.csv`` and return what one reads of it: a row for each loss and rule, means over seeds [low, high].
    ``steps``: of a training."""
    rows = []
    for (loss, change), some in table.groupby(["configuration", "change"], sort=False):
        cells = {title: spread(*(getattr(some[column], what)() for what in ("mean", "min", "max"))) for title, column in (
            ("λ after an epoch", "lambda_first"), ("λ at the end", "lambda_last"), ("Ψ, last epoch", "psi_end"),
            ("Γ, last epoch", "gamma_end"), ("SSIM", "ssim"), ("PSNR", "psnr"), ("NRMSE", "nrmse"))}
        missing = ", ".join(sorted(set(some["missing"]) - {""})) or "–"
        rows.append({"Loss": loss, "λ": WORDS.get(change, change), **cells,
                     "s an epoch": number(some["seconds_per_epoch"].mean()), "Missing": missing})
    return save_table(labels, table, "rules", f"A λ that moves, after {steps} steps from the same start. Means over "
                      "seeds [lowest, highest]", pd.DataFrame(rows))


def rules_claims(metrics: pd.DataFrame, table: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Whether a loss is better with a lambda that is chosen or moved in another way than with the pilot's, fixed.

    Parameters
    ----------
    metrics : DataFrame, a row per slice and training, where ``experiment`` is the arm's name
    table : DataFrame, of :func:`lib.stages.sweep.sweep_table`
    margin : float, in SSIM, under which two count as equal
    """
    rows = []
    for loss, change in table[["configuration", "change"]].drop_duplicates().itertuples(index=False):
        if change == FIXED:
            continue
        for metric, unit in ASKED.items():
            found = compared(metrics, f"{loss}-{change}", f"{loss}-{FIXED}", metric)
            rows.append(row(f"{loss}, λ {WORDS.get(change, change)}: better than fixed from the pilot in {unit}", "S2", unit,
                            found.bounds, margin=margin if metric == "ssim" else 0.0, p_patients=found.p,
                            patients=found.patients, seeds=found.seeds, note=found.few))
    return frame(rows)


