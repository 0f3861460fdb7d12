"""Figure 2: perceptual influence against lambda. Apart from the other figures, since it alone computes Psi."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.paper import published
from lib.perceptual.influence import psi_algorithm2, psi_eq5
from lib.report.figures import STYLE, new_figure, save_figure
from lib.report.labels import COLOURS, MARKERS, experiment_label
from lib.study.config import Study

LAMBDAS: Final = np.logspace(-7, 0, 281)  # the paper's axis


@mpl.rc_context(STYLE)
def figure2(study: Study, calibration: pd.DataFrame, losses: dict[str, pd.DataFrame]) -> Path:
    """Figure 2: Psi as a function of lambda for E1 to E4; (a) untrained and (b) trained U-Net, (c) published losses.

    Args:
        calibration: a row an experiment and state, with lambda_used and psi_alg2.
        losses: by state ('untrained', 'trained'), a row a training pair: mse and the perceptual losses E1 to E4.
    """
    figure = new_figure(study, 3.2)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    titles = {"untrained": "(a) untrained U-Net", "trained": "(b) trained U-Net (MSE only)"}
    for panel, (state, title) in zip(axes, titles.items(), strict=False):
        panel.set_title(title)
        table = calibration[calibration["state"] == state].set_index("experiment")
        for name in [name for name in published.CALIBRATED if state in losses and name in losses[state]]:
            mse, pl = (losses[state][column].to_numpy(float) for column in ("mse", name))
            panel.plot(LAMBDAS, psi_algorithm2(mse, pl, LAMBDAS), color=COLOURS[name])
            panel.plot(LAMBDAS, psi_eq5(mse, pl, LAMBDAS), color=COLOURS[name], linestyle=(0, (2, 1.5)), linewidth=0.9)
            _chosen(panel, name, table.loc[name, "lambda_used"], table.loc[name, "psi_alg2"])
    axes[2].set_title("(c) authors' losses, epoch 10")
    for name in published.CALIBRATED:
        last, chosen = published.PUBLISHED_LOSSES[name][10], published.EXPERIMENTS[name].lambda_
        axes[2].plot(LAMBDAS, psi_algorithm2(last.mse, last.pl, LAMBDAS), color=COLOURS[name])
        _chosen(axes[2], name, chosen, float(psi_algorithm2(last.mse, last.pl, chosen)))
    for panel in axes:
        panel.axhline(study.calibration.target_psi, color="0.5", linewidth=0.7)
        panel.axvline(published.EXPERIMENTS["baseline"].lambda_, color=COLOURS["baseline"], linewidth=1.1, linestyle="-.",
                      zorder=1)
        panel.set(xscale="log", xlim=(LAMBDAS[0], LAMBDAS[-1]), ylim=(-0.02, 1.04), xlabel="λ")
        panel.set_xticks([1e-7, 1e-5, 1e-3, 1e-1])
    axes[0].set_ylabel("perceptual influence Ψ(λ, ϕ, c)")
    figure.legend(handles=_legend2(study), loc="outside lower center", ncols=3)
    return save_figure(study, figure, "fig2")


def _chosen(panel: Axes, name: str, lambda_: float, psi: float) -> None:
    panel.plot(lambda_, psi, MARKERS[name], color=COLOURS[name], markeredgecolor="black", markeredgewidth=0.6,
               markersize=8.5 - 1.2 * published.CALIBRATED.index(name), zorder=5, clip_on=False)  # equal ones stay visible


def _legend2(study: Study) -> list[Line2D]:
    curves = [Line2D([], [], color=COLOURS[name], marker=MARKERS[name], markeredgecolor="black", markersize=5,
                     label=experiment_label(study, name)) for name in published.CALIBRATED]
    return [
        *curves,
        Line2D([], [], color="0.2", marker="h", linestyle="none", label="marker: λ used in training"),
        Line2D([], [], color="0.2", label="Algorithm 2"),
        Line2D([], [], color="0.2", linestyle=(0, (2, 1.5)), linewidth=0.9, label="Eq. 5"),
        Line2D([], [], color="0.5", linewidth=0.7, label=f"Ψ = {study.calibration.target_psi:g}"),
        Line2D([], [], color=COLOURS["baseline"], linestyle="-.", label="baseline's λ = 0.1"),
    ]
