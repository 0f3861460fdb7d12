"""A picture of what Psi is: where in a training step it arises, what calibration does to it, and how it hangs on lambda."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch

from lib.perceptual.psi import lambda_star, psi_algorithm2
from lib.report.curves import CONTEXTS, dashes, width_of
from lib.report.exchange import share_text
from lib.report.labels import FURTHER_COLOURS, GIVEN, Labels
from lib.report.style import MM, STYLE, ink, legend_below, minus, new_figure, save_figure
from lib.report.words import number

STATE: Final = "pilot"  # the network whose losses are shown, as in S1
TERMS: Final = {"pixel": "#404040", "perceptual": "#5fcbaa"}  # of the total loss; apart in lightness, too
PLAIN: Final = "#e8e8e8"  # of what is no loss
STEP_MM: Final = (180.0, 42.0)  # of the drawing of a training step


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Psi before and after calibration, of the mean losses of the pilots of all seeds.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.calibrate.calibrate`

    Returns
    -------
    DataFrame
        By experiment: context, phi, mse, pl, target_psi, lambda_star (Algorithm 2 gives target_psi there), psi_one (at
        lambda 1), psi_star (at lambda_star), and whether an experiment trains with it.
    """
    means = table[table["state"] == STATE].groupby("experiment", sort=False).agg(
        {"context": "first", "phi": "first", "mse": "mean", "pl": "mean", "target_psi": "first", "lambda_used": "first"})
    found = means.assign(trained=means.pop("lambda_used").notna())
    rows = [([row.mse], [row.pl], row.target_psi) for row in found.itertuples()]
    found["lambda_star"] = [lambda_star(*row) for row in rows]
    found["psi_one"] = [float(psi_algorithm2(mse, pl, 1.0)) for mse, pl, _ in rows]
    found["psi_star"] = [float(psi_algorithm2(mse, pl, lambda_)) for (mse, pl, _), lambda_ in zip(
        rows, found["lambda_star"], strict=True)]
    return found


@mpl.rc_context(STYLE)
def figure_psi(labels: Labels, table: pd.DataFrame) -> Path:
    """What Psi is: (a) a training step, whose loss has two terms; (b) the terms' shares with lambda 1 and (c) with lambda*,
    a bar for each experiment that is calibrated (where none is: for each with a perceptual term); (d) Psi along lambda for
    every layer and context. Of the pilot's losses.

    ``table``: of :func:`lib.stages.calibrate.calibrate`, with a perceptual loss at least.
    """
    found = shares(table)
    trained = list(found.index[found["trained"]])
    shown = found.loc[[name for name in trained if not labels.experiments[name].lambda_rule.startswith(GIVEN)] or trained]
    colours = CONTEXTS | dict(zip([each for each in found["context"].unique() if each not in CONTEXTS], FURTHER_COLOURS,
                                  strict=False))
    tall, flat = STEP_MM[1] * MM + 0.1, max(2.3, 0.7 + 0.28 * len(shown))
    figure = new_figure(labels, tall + flat + 0.75)
    above, below = figure.subfigures(2, 1, height_ratios=(tall, flat + 0.75))
    _step(above.subplots(), ", ".join(dict.fromkeys(labels.experiments[name].pixel for name in shown.index)))
    below.suptitle(f"Below: losses of the {STATE}, a U-Net trained with MSE alone; means over all training pairs")
    before, after, curves = below.subplots(1, 3, width_ratios=(1, 1, 1.5))
    _bars(before, shown["psi_one"], [f"Ψ = {share_text(value)}" for value in shown["psi_one"]])
    _bars(after, shown["psi_star"], [f"λ* = {minus(number(value))}" for value in shown["lambda_star"]])
    before.set_yticks(range(len(shown)), [labels.experiments[name].short for name in shown.index])
    after.set_yticks([])
    targets = ", ".join(f"{value:g}" for value in dict.fromkeys(shown["target_psi"]))
    before.set_title("(b) before: λ = 1")
    after.set_title(f"(c) calibrated: λ = λ*, Ψ = {targets}")
    _curves(curves, labels, found, list(shown.index), colours)
    handles = [Patch(color=colour, label=f"{name} term") for name, colour in TERMS.items()]
    handles += [Line2D([], [], color=colours[context], linewidth=3, label=labels.experiments[name].context)
                for name, context in found["context"].drop_duplicates().items()]
    handles += [Line2D([], [], color="0.2", linestyle=dashes(phi), label=phi) for phi in sorted(found["phi"].unique())]
    handles.append(Line2D([], [], color="0.6", linewidth=0.7, label=f"Ψ = {labels.target_psi:g}"))
    handles += [Line2D([], [], label=f"λ* of {name}", **_marker(labels, name, colours[row["context"]]))
                for name, row in shown.iterrows()]
    legend_below(below, handles)
    return save_figure(labels, figure, "fig_psi")


def _bars(panel: Axes, psi: pd.Series, texts: Iterable[str]) -> None:
    """The shares of both terms: they fill a bar. The first loss stands above."""
    places = np.arange(len(psi))
    panel.barh(places, 1 - psi, color=TERMS["pixel"], height=0.72)
    panel.barh(places, psi, left=1 - psi, color=TERMS["perceptual"], height=0.72)
    for place, text in zip(places, texts, strict=True):
        panel.text(0.52, place, text, ha="center", va="center", color=ink(TERMS["perceptual"]))
    panel.set(xlim=(0, 1), ylim=(len(psi) - 0.5, -0.5), xlabel="share of the total loss")
    panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)


def _marker(labels: Labels, name: str, colour: str) -> dict[str, Any]:
    return {"marker": labels.experiments[name].marker, "color": colour, "markerfacecolor": "none", "markeredgewidth": 1.2,
            "linestyle": "none"}


def _curves(panel: Axes, labels: Labels, found: pd.DataFrame, shown: Sequence[str], colours: Mapping[str, str]) -> None:
    """Psi along lambda, and where it reaches the target: hollow markers are the experiments', as in Figure 2."""
    one = found.sort_values("trained", ascending=False, kind="stable").drop_duplicates(["context", "phi"])
    lowest, highest = np.log10(one["lambda_star"]).agg(["min", "max"])
    lambdas = np.logspace(min(-8, np.floor(lowest) - 1), max(0, np.ceil(highest) + 1), 321)
    panel.axhline(labels.target_psi, color="0.6", linewidth=0.7, zorder=1)
    for _, row in one.iterrows():
        colour = colours[row["context"]]
        panel.plot(lambdas, psi_algorithm2([row["mse"]], [row["pl"]], lambdas), color=colour, linestyle=dashes(row["phi"]),
                   linewidth=width_of(colour))
        panel.vlines(row["lambda_star"], 0, row["target_psi"], color=colour, linewidth=0.6, zorder=1)
    for place, name in enumerate(shown):
        row = found.loc[name]
        panel.plot(row["lambda_star"], row["target_psi"], **_marker(labels, name, colours[row["context"]]), zorder=5,
                   markersize=max(10 - 1.2 * place, 5))
    panel.set(xscale="log", xlim=(lambdas[0], lambdas[-1]), ylim=(0, 1.06), xlabel="λ", ylabel="Ψ(λ, ϕ, c)",
              title="(d) Ψ of a λ depends on layer ϕ and context c")


def _step(panel: Axes, pixel: str) -> None:
    """A training step as a flow from left to right, in millimetres of the page."""
    panel.set(xlim=(0, STEP_MM[0]), ylim=(0, STEP_MM[1]), aspect="equal")
    panel.set_axis_off()
    panel.set_title("(a) a training step: Ψ is the share of the perceptual term in the total loss", y=1.0, pad=2)
    upper, lower, middle = 29.0, 9.0, 19.0
    for x, y, width, text, colour in (
            (10, upper, 18, "LDCT", PLAIN), (37, upper, 18, "U-Net $f_θ$", PLAIN), (64, upper, 20, "prediction", PLAIN),
            (64, lower, 20, "NDCT target", PLAIN), (114, upper, 40, f"pixel term: {pixel}", TERMS["pixel"]),
            (97, lower, 24, "encoder ϕ\nof context c", PLAIN), (128, lower, 26, "perceptual\nloss PL", TERMS["perceptual"]),
            (167, middle, 22, "total loss", PLAIN)):
        _box(panel, x, y, width, text, colour)
    for x, y, text in ((148, lower, "× λ"), (148, middle, "+")):
        panel.text(x, y, text, ha="center", va="center", size=9,
                   bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": "0.2", "linewidth": 0.8})
    for start, end in (((19, upper), (28, upper)), ((46, upper), (54, upper)), ((74, upper), (94, upper)),
                       ((74, lower), (85, lower)), ((74, lower + 3), (94, upper - 3)), ((74, upper - 3), (85, lower + 3)),
                       ((109, lower), (115, lower)), ((141, lower), (144.3, lower)), ((151, middle), (156, middle)),
                       ((148, lower + 3.7), (148, middle - 3.2))):
        _arrow(panel, start, end)
    panel.plot([134, 148], [upper, upper], color="0.2", linewidth=0.8)
    _arrow(panel, (148, upper), (148, middle + 3.2))
    panel.plot([167, 167, 37], [middle + 4.5, 39, 39], color="0.2", linewidth=0.8, linestyle="--")
    _arrow(panel, (37, 39), (37, upper + 4.5), "--")
    panel.text(102, 37.9, "the gradient of the total loss moves θ; the encoder stays as it is", ha="center", va="top")
    named = "MSE" if pixel == "MSE" else "pixel"
    share = rf"$Ψ = \frac{{λ\,\mathrm{{PL}}}}{{\mathrm{{{named}}} + λ\,\mathrm{{PL}}}}$"
    panel.text(167, 6, share, ha="center", va="center", size=11)


def _box(panel: Axes, x: float, y: float, width: float, text: str, colour: str, height: float = 9.0) -> None:
    panel.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=1.5",
                                   facecolor=colour, edgecolor="0.2", linewidth=0.8))
    panel.text(x, y, text, ha="center", va="center", color=ink(colour), linespacing=1.1)


def _arrow(panel: Axes, start: tuple[float, float], end: tuple[float, float], line: str = "-") -> None:
    panel.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "linewidth": 0.8, "linestyle": line, "color": "0.2",
                                               "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7})
