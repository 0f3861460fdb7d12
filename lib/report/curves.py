"""Figure 2: perceptual influence against lambda."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.paper import published
from lib.perceptual.psi import psi, psi_algorithm2
from lib.report.figures import DASHED, STYLE, legend_columns, new_figure, save_figure
from lib.report.labels import ExperimentLabel, Labels

LAMBDAS: Final = np.logspace(-7, 0, 281)  # the paper's axis


@mpl.rc_context(STYLE)
def figure2(labels: Labels, calibration: pd.DataFrame, losses: Mapping[str, pd.DataFrame]) -> Path:
    """Figure 2: Psi as a function of lambda; (a) untrained U-Net, (b) pilot (:func:`lib.stages.calibrate.pair_losses`), (c)
    the authors' losses. The baseline has the layer of E2: as in the paper its lambda is a line, no curve of its own."""
    figure = new_figure(labels, 3.2)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    names = [name for name in calibration["experiment"].unique() if name != "baseline"]
    titles = {"untrained": "(a) untrained U-Net", "pilot": "(b) pilot (U-Net with MSE only)"}
    for panel, (state, title) in zip(axes, titles.items(), strict=False):
        panel.set_title(title)
        table = calibration[calibration["state"] == state].set_index("experiment")
        for place, name in enumerate(name for name in names if state in losses and name in losses[state]):
            pixel, pl = losses[state].get(f"{name} pixel", losses[state]["mse"]), losses[state][name]
            colour = labels.experiments[name].colour
            panel.plot(LAMBDAS, psi_algorithm2(pixel, pl, LAMBDAS), color=colour)
            panel.plot(LAMBDAS, psi(pixel, pl, LAMBDAS), color=colour, linestyle=DASHED, linewidth=0.9)
            _chosen(panel, labels.experiments[name], place, table.loc[name, "lambda_used"], table.loc[name, "psi_alg2"])
    axes[2].set_title("(c) authors' losses, epoch 10")
    for place, name in enumerate(published.CALIBRATED):
        last, chosen = published.PUBLISHED_LOSSES[name][10], published.LAMBDAS[name]
        axes[2].plot(LAMBDAS, psi_algorithm2(last.mse, last.pl, LAMBDAS), color=labels.experiments[name].colour)
        _chosen(axes[2], labels.experiments[name], place, chosen, float(psi_algorithm2(last.mse, last.pl, chosen)))
    baseline = {"color": labels.experiments["baseline"].colour, "linestyle": "-."}
    for panel in axes:
        panel.axhline(labels.target_psi, color="0.5", linewidth=0.7)
        panel.axvline(published.LAMBDAS["baseline"], **baseline, linewidth=1.1, zorder=1)
        panel.set(xscale="log", xlim=(1e-7, 1), ylim=(-0.02, 1.04), xlabel="λ", xticks=[1e-7, 1e-5, 1e-3, 1e-1])
    axes[0].set_ylabel("perceptual influence Ψ(λ, ϕ, c)")
    drawn = [labels.experiments[name] for name in dict.fromkeys((*published.CALIBRATED, *names))]
    handles = [Line2D([], [], color=each.colour, marker=each.marker, markeredgecolor="black", markersize=5, label=each.label)
               for each in drawn]
    handles += [Line2D([], [], color="0.2", marker="h", linestyle="none", label="marker: λ used in training"),
                Line2D([], [], color="0.2", label="Algorithm 2"),
                Line2D([], [], color="0.2", linestyle=DASHED, linewidth=0.9, label="Eq. 5"),
                Line2D([], [], color="0.5", linewidth=0.7, label=f"Ψ = {labels.target_psi:g}"),
                Line2D([], [], **baseline, label="baseline's λ = 0.1")]
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(handles))
    return save_figure(labels, figure, "fig2")


def _chosen(panel: Axes, style: ExperimentLabel, place: int, lambda_: float, influence: float) -> None:
    panel.plot(lambda_, influence, style.marker, color=style.colour, markeredgecolor="black", markeredgewidth=0.6,
               markersize=max(8.5 - 1.2 * place, 3), zorder=5, clip_on=False)  # equal ones stay visible
