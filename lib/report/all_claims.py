"""Every claim of the paper and of the supplement in one table."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from lib.report.labels import Labels
from lib.report.tables import save_table
from lib.report.verdicts import COLUMNS
from lib.report.words import number

FIRST: Final = ["claim", "paper", "estimate", "low", "high", "verdict"]


def all_claims(labels: Labels, tables: Iterable[Path], new: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Save ``claims.csv`` and return it as one reads it.

    Parameters
    ----------
    tables : iterable of paths, of ``claims.csv`` and each ``claims_S<n>.csv`` (:data:`lib.report.verdicts.COLUMNS`)
    new : mapping, further tables by what they are of

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
    return save_table(labels, claims, "claims", "Every claim of the paper and of this supplement, and what became of it",
                      shown)


def tally_by_question(claims: pd.DataFrame) -> list[str]:
    """A line for each question: how many claims stand, fall, are undecided; ``claims`` as one reads them."""
    counts = claims.groupby("Question", sort=False)["Verdict"].value_counts().unstack(fill_value=0)
    return [f"{question}: " + ", ".join(f"{row.get(name, 0)} {word}" for name, word in (
        ("stands", "stand"), ("falls", "fall"), ("undecided", "undecided"))) for question, row in counts.iterrows()]
