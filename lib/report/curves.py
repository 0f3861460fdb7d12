"""Figure 2, perceptual influence against lambda, and the training curves."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.perceptual import presets
from lib.perceptual.psi import psi, psi_algorithm2
from lib.report.labels import FURTHER_COLOURS, Labels
from lib.report.style import STYLE, legend_below, new_figure, save_figure
from lib.stages.calibrate import terms
from lib.stages.influence import authors

LAMBDAS: Final = np.logspace(-8, 0, 321)  # the paper's axis and a decade below it, for our shallow layer
CONTEXTS: Final = {"ImageNet": "#0072b2", "Medical": "#d55e00"}
DEPTHS: Final = {presets.SHALLOW: "-", presets.MIDDLE: "-."} | dict.fromkeys(presets.LAST_CONVOLUTION.values(), "--")
OTHER: Final = ":"  # layers of a user's own losses
STATES: Final = {
    "untrained": "(a) untrained U-Net, Algorithm 2 as printed", "pilot": "(b) pilot: U-Net trained with MSE alone",
    "own": "(c) own: each experiment's U-Net, last epoch",
    "authors": "(d) the authors' own, epoch 10: VGG-19,\nblock3_conv2 and block5_conv4, ImageNet and Medical",
}


@mpl.rc_context(STYLE)
def figure2(labels: Labels, states: pd.DataFrame, losses: Mapping[str, pd.DataFrame]) -> Path:
    """Figure 2: Psi by Algorithm 2 as a function of lambda, a panel per state of the network and one of the authors'
    published losses; colour is the context, line style the depth, a hollow marker the lambda used in training. Lines of
    one context are wider than the next one's, so that equal curves are both seen.

    Parameters
    ----------
    states : DataFrame, of :func:`lib.stages.influence.three_states`; 'own' is the mean over seeds
    losses : mapping, of :func:`lib.stages.calibrate.pair_losses`: how far Eq. 5 is off is said in words, it would be a
        second curve beside each
    """
    figure = new_figure(labels, 6.0)
    colours = CONTEXTS | dict(zip([each for each in states["context"].unique() if each not in CONTEXTS], FURTHER_COLOURS,
                                  strict=False))
    every = pd.concat([states, authors()], ignore_index=True)
    for panel, (state, title) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, STATES.items(), strict=True):
        rows = every[every["state"] == state].groupby("experiment", sort=False).agg(
            {"context": "first", "phi": "first", "mse": "mean", "pl": "mean", "lambda_used": "first"})
        _influence(panel, labels, rows, colours)
        panel.set_title(title)
        if gap := _largest_gap(losses.get(state), rows.index):
            panel.text(0.985, 0.03, f"Eq. 5 differs\nby {gap:.3f} at most", transform=panel.transAxes, ha="right")
    for panel in figure.axes[2:]:
        panel.set_xlabel("weight λ of the perceptual loss")
    for panel in figure.axes[::2]:
        panel.set_ylabel("perceptual influence Ψ(λ, ϕ, c)")
    handles = _legend(labels, states, colours)
    legend_below(figure, handles)
    return save_figure(labels, figure, "fig2")


def _influence(panel: Axes, labels: Labels, rows: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """The curves of one state. Markers are hollow and of falling size: one that covers another leaves it visible."""
    panel.axhline(labels.target_psi, color="0.6", linewidth=0.7, zorder=1)
    for place, (name, row) in enumerate(rows.iterrows()):
        colour = colours[row["context"]]
        panel.plot(LAMBDAS, psi_algorithm2([row["mse"]], [row["pl"]], LAMBDAS), color=colour, linestyle=dashes(row["phi"]),
                   linewidth=width_of(colour))
        if row["lambda_used"] > 0:
            influence = psi_algorithm2([row["mse"]], [row["pl"]], row["lambda_used"])
            panel.plot(row["lambda_used"], influence, labels.experiments[name].marker, color=colour, markerfacecolor="none",
                       markeredgewidth=1.2, markersize=max(10 - 0.8 * place, 5), zorder=5, clip_on=False)
    panel.set(xscale="log", xlim=(LAMBDAS[0], LAMBDAS[-1]), ylim=(-0.02, 1.06), xticks=np.logspace(-8, 0, 5))


def width_of(colour: str) -> float:
    """The width of a context's lines: the first one's shows beside those that cover it."""
    return 2.3 if colour == CONTEXTS["ImageNet"] else 1.1


def dashes(phi: str) -> str:
    """The line style of a layer, by its depth."""
    return DEPTHS.get(phi, OTHER)


def _largest_gap(losses: pd.DataFrame | None, names: Iterable[str]) -> float:
    """By how much Eq. 5, a mean of ratios, and Algorithm 2, a ratio of means, differ at most; 0 without losses of pairs."""
    if losses is None:
        return 0.0
    pairs = [terms(losses, name) for name in names if name in losses]
    return max((float(np.abs(psi(*pair, LAMBDAS) - psi_algorithm2(*pair, LAMBDAS)).max()) for pair in pairs), default=0.0)


def _legend(labels: Labels, states: pd.DataFrame, colours: Mapping[str, str]) -> list[Line2D]:
    """Contexts, depths, and the experiments' markers."""
    known = {each["context"]: labels.experiments[each["experiment"]].context for _, each in states.iterrows()}
    handles = [Line2D([], [], color=colours[context], linewidth=3, label=name) for context, name in known.items()]
    handles.append(Line2D([], [], color="0.6", linewidth=0.7, label=f"Ψ = {labels.target_psi:g}"))
    phis = sorted(states["phi"].unique(), key=lambda phi: (phi not in DEPTHS, phi))
    handles += [Line2D([], [], color="0.2", linestyle=dashes(phi), label=phi) for phi in phis]
    used = states[states["lambda_used"] > 0].drop_duplicates("experiment")
    handles += [Line2D([], [], color=colours[each["context"]], linestyle="none", marker=labels.experiments[name].marker,
                       markerfacecolor="none", markeredgewidth=1.2, label=f"λ of {name}")
                for name, (_, each) in zip(used["experiment"], used.iterrows(), strict=True)]
    return handles


@mpl.rc_context(STYLE)
def figure_training(labels: Labels, histories: Mapping[tuple[str, int], pd.DataFrame]) -> Path:
    """The loss after each epoch and its two terms on one scale, and Psi: training above, validation below, a line per seed.

    ``histories``: by experiment and seed, columns epoch, total, mse, psi and the same as val_*; psi may be empty. The
    perceptual term is lambda times the perceptual loss, Psi times the total: perceptual losses alone have no common scale.
    """
    figure = new_figure(labels, 4.6)
    axes = figure.subplots(2, 4, sharex=True)
    for panel in axes[:, :3].flat[1:]:
        panel.sharey(axes[0, 0])
    for panel in axes[:, 1:3].flat:
        panel.tick_params(labelleft=False)
    axes[1, 3].sharey(axes[0, 3])
    shown = [labels.experiments[name] for name in dict.fromkeys(name for name, _ in histories)]
    for line, (prefix, subset) in zip(axes, (("", "training"), ("val_", "validation")), strict=True):
        for (name, _), history in histories.items():
            numbers = history.apply(pd.to_numeric)
            psi_ = numbers[f"{prefix}psi"]
            for panel, values in zip(line, (numbers[f"{prefix}total"], numbers[f"{prefix}mse"],
                                            psi_ * numbers[f"{prefix}total"], psi_), strict=True):
                panel.plot(history["epoch"], values, color=labels.experiments[name].colour, linewidth=1.0, alpha=0.8,
                           marker=labels.experiments[name].marker, markersize=2.5)
        line[0].set_ylabel(f"{subset} loss")
        line[0].set_yscale("log")
        line[3].axhline(labels.target_psi, color="0.4", linewidth=0.8, linestyle="--")
    pixel = ", ".join(dict.fromkeys(each.pixel for each in shown))
    for panel, title in zip(axes[0], ("total loss (Eq. 4)", pixel, "λ × perceptual loss", "Ψ"), strict=True):
        panel.set_title(title)
    for panel in axes[1]:
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    handles = [Line2D([], [], color=each.colour, marker=each.marker, markersize=4, label=each.label) for each in shown]
    handles.append(Line2D([], [], color="0.4", linewidth=0.8, linestyle="--", label=f"Ψ = {labels.target_psi:g}"))
    legend_below(figure, handles)
    return save_figure(labels, figure, "fig_training")
