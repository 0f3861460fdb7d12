"""S8: photographs at twice their resolution, with three lambdas: figure, table and claims."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
import skimage
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.report.influence_tables import spread
from lib.report.labels import Labels
from lib.report.style import STYLE, new_figure, picture, save_figure
from lib.report.tables import save_table
from lib.report.verdicts import compared, frame, row
from lib.report.words import number
from lib.stages.other_images import ARMS, BICUBIC, GAMMA, MSE, PSI

WORDS: Final = {"target": "target", BICUBIC: "bicubic", MSE: "MSE, λ = 0", GAMMA: "Γ = 0.5",
                PSI: PSI.replace("psi ", "Ψ = ")}
COLOURS: Final = {MSE: "#000000", GAMMA: "#0072b2", PSI: "#d55e00"}
ZOOM: Final = 64  # pixels of the example that are shown
PARTS: Final = ("commit ", "config ", "ImageNet")  # of a provenance line, that hold for photographs, too


def of_photographs(labels: Labels) -> Labels:
    """The labels of a study for what was made from photographs: its cohort plays no part."""
    profile, *parts = labels.provenance.split(" | ")
    kept = [part for part in parts if part.startswith(PARTS)]
    what = f"photographs of scikit-image {skimage.__version__}, no CT; half resolution SIMULATED"
    return replace(labels, provenance=" | ".join([profile, what, *kept]), simulated=True)


@mpl.rc_context(STYLE)
def figure_other_images(labels: Labels, scores: pd.DataFrame, courses: pd.DataFrame,
                        examples: Mapping[str, np.ndarray]) -> Path:
    """The middle of one test photograph after each arm; what each arm gains over bicubic interpolation, a point for each
    photograph and seed; and the share of the perceptual term along the training, a line for each seed.

    Parameters
    ----------
    scores, courses, examples : of :class:`lib.stages.other_images.Found`
    """
    figure = new_figure(labels, 4.0)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    for panel, (name, image) in zip(above.subplots(1, len(examples)), examples.items(), strict=True):
        top, left = ((side - min(side, ZOOM)) // 2 for side in image.shape[:2])
        picture(panel, image[top : top + ZOOM, left : left + ZOOM], (0, 1), WORDS[name], interpolation="nearest")
    axes = below.subplots(1, 4)
    base = scores[scores["experiment"] == BICUBIC].set_index("patient")
    for panel, (column, title) in zip(axes, {"psnr": "PSNR", "pl_db": "features"}.items(), strict=False):
        _gains(panel, scores, base, column)
        panel.set(title=f"{title}, over bicubic", ylabel="dB")
    for panel, column, title in zip(axes[2:], ("psi", "gamma"), ("Ψ", "Γ"), strict=True):
        for (arm, _), some in courses[courses["experiment"] != MSE].groupby(["experiment", "seed"]):
            panel.plot(some["epoch"], some[column], color=COLOURS[arm], marker=".", linewidth=0.9)
        panel.set(title=f"{title} in the log of fit", xlabel="epoch", ylim=(0, 1.02),
                  xticks=range(1, int(courses["epoch"].max()) + 1))
    handles = [Line2D([], [], color=colour, marker="o", markersize=3, label=WORDS[arm]) for arm, colour in COLOURS.items()]
    below.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return save_figure(labels, figure, "other_images")


def _gains(panel: Axes, scores: pd.DataFrame, base: pd.DataFrame, column: str) -> None:
    for place, arm in enumerate(ARMS):
        some = scores[scores["experiment"] == arm]
        gains = some[column].to_numpy() - base.loc[some["patient"], column].to_numpy()
        panel.plot(np.full(len(gains), place), gains, "o", color=COLOURS[arm], markersize=3, fillstyle="none")
        panel.hlines(gains.mean(), place - 0.3, place + 0.3, color=COLOURS[arm])
    panel.axhline(0, color="0.6", linewidth=0.7, linestyle=":")
    panel.set(xticks=[], xlim=(-0.6, len(ARMS) - 0.4))


def other_images_shown(labels: Labels, scores: pd.DataFrame, worth: pd.DataFrame) -> pd.DataFrame:
    """Save ``other_images.csv``, a row for each arm, seed and photograph with lambda as every trade counts it, and return
    what one reads of it: a row for each arm, means over photographs and seeds [lowest, highest seed]."""
    keys = ["experiment", "seed", "lambda"]
    table = scores.merge(worth, "left", keys).rename(columns={"experiment": "arm", "patient": "photograph"})
    rows = []
    for arm, some in table.groupby("arm", sort=False):
        seeds = some.groupby("seed", dropna=False).mean(numeric_only=True)
        cells: dict[str, Any] = {title: _over(seeds[column]) for title, column in (
            ("λ", "lambda"), ("Ψ", "psi_alg2"), ("Γ", "gamma_output"), ("Γ of the weights", "gamma_weights"),
            ("PSNR (dB)", "psnr"), ("SSIM", "ssim"), ("Features (dB)", "pl_db"), ("Shift (of 255)", "shift"),
            ("Detail", "detail"))}
        rows.append({"Arm": WORDS[str(arm)]} | cells)
    return save_table(
        labels, table, "other_images", "Photographs brought back from half their resolution by a small network, trained on "
        "MSE alone, then with each λ: λ as a share of loss and gradient with the network that it was calibrated on; image "
        "quality of the test photographs, which were chosen, not drawn; Features: the perceptual loss that is trained, as "
        "-10 log10; the shift of the mean in grey levels; energy of gradients by the target's. Means [lowest, highest seed]",
        pd.DataFrame(rows))


def _over(values: pd.Series) -> str:
    return "–" if values.isna().all() else spread(values.mean(), values.min(), values.max(), number)


def lint_shown(reports: Mapping[str, Sequence[str]]) -> str:
    """What lint said of each variant, as a list in Markdown."""
    lines = []
    for name, findings in reports.items():
        lines += [f"- **{name}**", *(f"  - {each}" for each in findings or ["nothing found"])]
    return "\n".join(lines)


def other_images_claims(scores: pd.DataFrame, margin: float) -> pd.DataFrame:
    """What the choice of lambda does, over photographs and seeds: beside MSE alone, and the two conventions against each
    other.

    ``margin`` : in SSIM, under which two count as equal
    """
    asked = [("ssim", "SSIM"), ("psnr", "PSNR"), ("pl_db", "dB of the features")]
    rows = []
    for first, other in ((GAMMA, MSE), (PSI, MSE), (GAMMA, PSI)):
        for metric, unit in asked:
            found = compared(scores, first, other, metric)
            claim = f"photographs, {WORDS[first]} against {WORDS[other]}: better in {unit}"
            rows.append(row(claim, "S8", unit, found.bounds, margin=margin if metric == "ssim" else 0.0, p_patients=found.p,
                            patients=found.patients, seeds=found.seeds, note=found.few.replace("patient", "photograph")))
    return frame(rows)
