"""Every claim of the paper and of the supplement in one table."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd

from lib.report.labels import Labels
from lib.report.style import STYLE, ink, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.verdicts import COLUMNS
from lib.report.words import listed, number, tallied

COLOURS: Final = {"stands": "#56b4e9", "undecided": "#d9d9d9", "falls": "#d55e00"}
ANALYSES: Final = tuple(f"S{number}" for number in range(1, 10))
TRAINED: Final = ("S2", "S3", "S5", "S7")  # which train networks of a grid
ON_TRAINING: Final = ("S1", "S3", "S4")  # whose lambda, Psi and Gamma are measured on training pairs
FIRST: Final = ["claim", "paper", "estimate", "low", "high", "verdict"]


def all_claims(labels: Labels, tables: Iterable[Path], new: Mapping[str, pd.DataFrame], steps: int) -> pd.DataFrame:
    """Save ``claims.csv`` and return it as one reads it.

    Parameters
    ----------
    tables : iterable of paths, of ``claims.csv`` and each ``claims_S<n>.csv`` (:data:`lib.report.verdicts.COLUMNS`)
    new : mapping, further tables by what they are of
    steps : int, of a training of a grid

    Returns
    -------
    DataFrame
        The paper's questions first, in the order of the tables.
    """
    frames = [pd.read_csv(path)[COLUMNS] for path in tables] + [table[COLUMNS] for table in new.values()]
    claims = pd.concat([each for each in frames if len(each)], ignore_index=True)
    claims = claims.astype({"patients": "Int64", "seeds": "Int64"})
    claims = claims[[*FIRST, *(name for name in COLUMNS if name not in FIRST)]]
    shown = pd.DataFrame({
        "Question": claims["question"], "Claim": claims["claim"], "Verdict": claims["verdict"],
        "Estimate [95 %]": [f"{number(each.estimate)}" + (f" [{number(each.low)}, {number(each.high)}]"
                                                          if each.low == each.low else "") for each in claims.itertuples()],
        "Unit": claims["unit"], "Paper": claims["paper"].map(number), "Note": claims["note"].fillna("").replace("", "–")})
    return save_table(labels, claims, "claims", _title(list(dict.fromkeys(claims["question"])), steps), shown)


def _title(questions: Sequence[str], steps: int) -> str:
    """Of which analyses the claims are, and what their numbers count."""
    made, calibrating, swept = ([each for each in questions if each in some] for some in (ANALYSES, ON_TRAINING, TRAINED))
    title = ("Every claim of the paper" + f" and of {listed(made)}" * bool(made) + ", and what became of it. Each interval "
             "covers 95 % by itself, and claims of one section share networks and patients: counts of them are no test. "
             "PSNR is in dB. The patients that the CSV counts are of the test")
    if calibrating:
        title += f", of the training where {listed(calibrating)} count{'s' * (len(calibrating) == 1)} λ, Ψ or Γ"
    title += ", photographs in S8, which has no scans, whatever cohort is named below" * ("S8" in made)
    if swept:
        title += f". {listed(swept)} rest{'s' * (len(swept) == 1)} on trainings of {steps:,} steps, not on the experiments'"
    return title


@mpl.rc_context(STYLE)
def figure_claims(labels: Labels, claims: pd.DataFrame) -> Path:
    """How many claims of each question stand, are undecided, fall: a bar for each question; ``claims`` as one reads them."""
    counts = claims.groupby("Question", sort=False)["Verdict"].value_counts().unstack(fill_value=0)
    order = sorted(counts.index, key=lambda question: ANALYSES.index(question) if question in ANALYSES else -1)
    counts = counts.reindex(order[::-1], columns=list(COLOURS), fill_value=0)
    figure = new_figure(labels, 0.9 + 0.24 * len(counts))
    panel, start = figure.subplots(), np.zeros(len(counts))
    for verdict, colour in COLOURS.items():
        bars = panel.barh(counts.index, counts[verdict], left=start, color=colour, label=verdict)
        panel.bar_label(bars, [str(count) if count else "" for count in counts[verdict]], label_type="center",
                        color=ink(colour))
        start += counts[verdict]
    panel.set_xlabel("number of claims")
    figure.legend(loc="outside lower center", ncols=len(COLOURS))
    return save_figure(labels, figure, "claims")


def tally_by_question(claims: pd.DataFrame) -> list[str]:
    """A line for each question: how many claims stand, fall, are undecided; ``claims`` as one reads them."""
    return [f"{question}: {tallied(of)}" for question, of in claims.groupby("Question", sort=False)["Verdict"]]
