"""S3: Table 1 of the paper with the columns that it should have had: figure, table, sentences."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lib.perceptual import TARGET_PSI
from lib.report.labels import Labels
from lib.report.odds import odds, shares_on
from lib.report.preset_claims import BETTER
from lib.report.style import STYLE, legend_below, minus, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.words import counted, listed, number
from lib.study.preset_grid import CONTROL, PAPERS

CONFIDENCE: Final = {"high": "#08306b", "medium": "#2171b5", "low": "#6baed6", "very low": "#bdd7e7"}
TICKS: Final = (1e-10, 1e-8, 1e-6, 1e-4, 0.01, 0.5, 0.99, 0.9999, 0.999999, 0.99999999)
ROW: Final = 0.24  # inches
SHARES: Final = {"psi": "Ψ: share of the loss", "gamma": "Γ: share of the gradient"}


@mpl.rc_context(STYLE)
def figure_presets(labels: Labels, table: pd.DataFrame, margin: float) -> Path:
    """A line for each preset: Psi and Gamma from the pilot (open) to the end of its own training (filled), on axes of odds,
    a triangle at the right end where there is no pixel term; and the mean SSIM over the test slices beside that of MSE
    trained as long, with a band where two count as equal. The colour is how sure the preset is, an asterisk a network that
    stands in for its own: its numbers are not the preset's.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.presets.preset_table`
    margin : float, in SSIM
    """
    control = table.set_index("preset")["ssim"].get(CONTROL, np.nan)
    shown = table[table["preset"] != CONTROL].reset_index(drop=True)
    figure = new_figure(labels, 1.25 + ROW * len(shown))
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(1.25, 1.25, 1))
    for panel, (share, title) in zip(axes, SHARES.items(), strict=False):
        _shares(panel, shown, share)
        panel.set_title(title)
        panel.axvline(float(odds(labels.target_psi if share == "psi" else 0.5)), color="0.7", linewidth=0.7, zorder=0)
    axes[2].axvspan(-margin, margin, color="0.9", linewidth=0, zorder=0)
    axes[2].axvline(0, color="0.5", linewidth=0.7, zorder=0)
    axes[2].scatter(shown["ssim"] - control, shown.index, c=_colours(shown), marker="D", s=16, edgecolors="0.25",
                    linewidths=0.4)
    axes[2].xaxis.set_major_locator(MaxNLocator(3))
    axes[2].set_title("SSIM − that of\nMSE alone")
    papers = shown["reference"].str.startswith(PAPERS)
    names = shown["reference"].where(~papers, shown["preset"] + ", this paper") + _stars(shown)
    axes[0].set_yticks(shown.index, names + ", λ " + shown["lambda_used"].map(number).map(minus))
    axes[0].set_ylim(len(shown) - 0.5, -0.5)
    for panel in axes:
        panel.grid(axis="y", color="0.93", linewidth=0.6)
        panel.set_axisbelow(True)
        if papers.any() and not papers.all():
            panel.axhline(papers.idxmax() - 0.5, color="0.6", linewidth=0.6)
    there = [name for name in CONFIDENCE if name in set(shown["confidence"])]
    handles = [Line2D([], [], marker="o", linestyle="", color=CONFIDENCE[name], markeredgecolor="0.25", markeredgewidth=0.4,
                      label=f"confidence {name}") for name in there]
    handles += [Line2D([], [], marker="o", linestyle="", color="0.4", markerfacecolor="white",
                       label=start_word(labels)),
                Line2D([], [], marker="o", linestyle="", color="0.4", label="after its training"),
                Line2D([], [], marker=">", linestyle="", color="0.4", label="no pixel term")]
    if (shown["encoder_here"] != "").any():
        handles.append(Line2D([], [], marker="$*$", linestyle="", color="0.25",
                              label="another network: confidence in the loss, not in its numbers"))
    legend_below(figure, handles)
    return save_figure(labels, figure, "presets")


def start_word(labels: Labels) -> str:
    """The network of the state 'pilot': where trainings start from scratch, it is the control."""
    return "pilot" if labels.settings["start"] == "pilot" else "MSE alone, trained"


def _stars(table: pd.DataFrame) -> pd.Series:
    return (table["encoder_here"] != "").map({True: "*", False: ""})


def _colours(table: pd.DataFrame) -> list[str]:
    return [CONFIDENCE[name] for name in table["confidence"]]


def _shares(panel: Axes, table: pd.DataFrame, share: str) -> None:
    both = table[[f"{share}_start", f"{share}_end"]].to_numpy(float)
    inside = (both > 0) & (both < 1)
    finite = odds(both[inside.all(axis=1)])
    ends = (finite.min() / 5, finite.max() * 20) if finite.size else (1e-2, 1e4)
    panel.set(xscale="log", xlim=(min(ends[0], 0.2), max(ends[1], 100)))
    for place, ((start, end), sound, colour) in enumerate(zip(both, inside.all(axis=1), _colours(table), strict=True)):
        if sound:
            panel.plot(odds([start, end]), [place, place], color="0.6", linewidth=1.0)
            panel.plot(odds(start), place, "o", color="0.4", markerfacecolor="white", markersize=4.5)
            panel.plot(odds(end), place, "o", color=colour, markersize=4.5, markeredgecolor="0.25", markeredgewidth=0.4)
        else:
            panel.plot(0.97, place, ">", color=colour, markersize=5, markeredgecolor="0.25", markeredgewidth=0.4,
                       transform=panel.get_yaxis_transform())
    shares_on(panel.xaxis, [share for share in TICKS if panel.get_xlim()[0] <= odds(share) <= panel.get_xlim()[1]])
    panel.tick_params(axis="x", rotation=60)


def presets_shown(labels: Labels, table: pd.DataFrame) -> pd.DataFrame:
    """Save ``presets.csv`` and return what one reads of it: a row for each preset."""
    shown = pd.DataFrame({
        "System": table["reference"] + _stars(table),
        "Evidence": table["evidence"] + ", " + table["confidence"] + " confidence",
        "λ": table["lambda_used"].map(number), "λ* (Ψ = 0.95)": table["lambda_exact"].map(number),
        "Ψ": _from_to(table, "psi"), "Γ": _from_to(table, "gamma"), "SSIM": table["ssim"].map("{:.4f}".format),
        "PSNR": table["psnr"].map("{:.2f}".format), "NRMSE": table["nrmse"].map("{:.4f}".format),
        "s a step": table["seconds_per_step"].map(number),
        "Here": _notes(table, ("encoder_here", "assumed", "left_out"), ("", "assumed: ", "left out: "))})
    begin = ("the pilot and after training from there" if start_word(labels) == "pilot" else
             "the control, trained with MSE alone, and after each loss's own training from scratch")
    return save_table(labels, table, "presets", "Table 1 with the columns that it should have had: Ψ (Algorithm 2) and Γ "
                      "(at the output) at the λ of the training, of the literature's systems the published one, with "
                      f"{begin}; λ* for Ψ = 0.95 with the first of the two (beside MSE where there is no pixel term); test "
                      f"slices after {steps(table)}. *: another network stands in for "
                      "the preset's; the confidence is in the preset, not in its numbers here. Seconds of a step are those "
                      "of a training's fastest epoch, with its validation and what ran beside it: no benchmark. Means over "
                      f"{counted(int(table['seeds'].max()), 'seed')}", shown)


def steps(table: pd.DataFrame) -> str:
    """How long the trainings were."""
    return " or ".join(f"{each:,}" for each in sorted(set(table["steps"]))) + " steps each"


def _from_to(table: pd.DataFrame, share: str) -> list[str]:
    return [f"{share_text(start)} to {share_text(end)}" if start != end else share_text(start)
            for start, end in table[[f"{share}_start", f"{share}_end"]].itertuples(index=False)]


def share_text(share: float) -> str:
    """Three digits of what is left to 0 or 1: '0.91', '2.3e-7', '1 − 4e-6'."""
    if 1e-3 <= share <= 0.999 or share in (0, 1):
        return f"{share:.3g}"
    return number(share) if share < 0.5 else f"1 − {number(1 - share)}"


def _notes(table: pd.DataFrame, columns: tuple[str, ...], words: tuple[str, ...]) -> list[str]:
    return ["; ".join(word + text for word, text in zip(words, row, strict=True) if text) or "–"
            for row in table[list(columns)].itertuples(index=False)]


def answers(table: pd.DataFrame, claims: pd.DataFrame) -> list[str]:
    """Which influence the systems of the literature had, and what it bought, in sentences.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.presets.preset_table`
    claims : DataFrame, of :func:`lib.report.preset_claims.preset_claims`
    """
    theirs = table[~table["reference"].str.startswith(PAPERS)]
    mixed, no_pixel = theirs[theirs["pixel"] != "none"], theirs[theirs["pixel"] == "none"]
    found = []
    if len(mixed) > 1:
        by = mixed.set_index("reference")["psi_start"]
        low, high = by.idxmin(), by.idxmax()
        decades = np.log10(odds(by.max()) / odds(by.min()))
        found.append(f"At the published λ, with one and the same network, Ψ goes from {share_text(by.min())} ({low}) to "
                     f"{share_text(by.max())} ({high}): {decades:.1f} decades of odds; of {len(by)} systems "
                     f"{(by > 0.5).sum()} take more than half of the loss from features, {(by > TARGET_PSI).sum()} more "
                     f"than {TARGET_PSI:g}.")
    if len(no_pixel):
        names = listed(no_pixel["reference"].tolist())
        found.append(f"{names}: no pixel term, so that Ψ is 1 at any λ, and λ counts beside the adversarial term only, "
                     "which is left out here unless the table says otherwise.")
    gains = claims[claims["claim"].str.endswith(BETTER.format("SSIM"))]
    if len(gains):
        verdicts = gains["verdict"].value_counts()
        shared = " (systems of one loss share one)" if len(gains) < len(theirs) else ""
        found.append(f"After {steps(table)}, of {counted(len(gains), 'training')}{shared}: better than MSE alone in SSIM "
                     f"{listed([f'{word} for {verdicts.get(word, 0)}' for word in ('stands', 'falls')])}, and is undecided "
                     f"for {verdicts.get('undecided', 0)}.")
    stood = theirs.loc[theirs["encoder_here"] != "", "reference"]
    if len(stood):
        found.append(f"Another network stood in for that of {len(stood)} of {len(theirs)} systems (the table says which): "
                     "their numbers here are those of the stand-in.")
    return found
