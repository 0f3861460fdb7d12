"""A run beside the reference: number by number under the tolerances, and claim by claim.

A number is *reproduced* if it lies no further from the reference than the tolerance, *differs* if it does, is *missing* if
this run has none, and *not in the reference* if no tolerance is known for it. A claim is *reproduced* if its verdict is
that of every run of the reference; *undecided* if these disagree themselves, or if the verdict is another one while all
its numbers are reproduced and none of *stands* and *falls* has become the other (its bound lies within the tolerance); else
it *differs*, and it may be *missing* or *not in the reference* as a number may.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from lib.errors import StageError
from lib.verify.reference import CLAIM, VERDICTS, Reference, require_comparable
from lib.verify.runs import FinishedRun

COLUMNS: Final = ["quantity", "reference", "here", "tolerance", "verdict"]
REPRODUCED, DIFFERS, MISSING, NEW, UNDECIDED = "reproduced", "differs", "missing", "not in the reference", "undecided"
FAILING: Final = (DIFFERS, MISSING)
ARITHMETIC, SEEDS = "arithmetic", "seeds"


def kind_of(run: FinishedRun, reference: Reference) -> str:
    """How a run repeats those of the reference: 'arithmetic' (the same seeds) or 'seeds' (others).

    Raises
    ------
    StageError
        It does not: another configuration; or so few runs of that kind are known that there is no tolerance.
    """
    require_comparable(run.configuration, reference)
    kind = ARITHMETIC if list(run.seeds) == reference.seeds else SEEDS
    count = len(reference.arithmetic if kind == ARITHMETIC else reference.by_seeds)
    if count < 2:
        raise StageError(f"the reference of {reference.profile} has no run that was repeated with other {kind}, so that no "
                         "tolerance is known", remedy="add one: python -m lib reference FOLDER")
    return kind


def compare(run: FinishedRun, reference: Reference) -> pd.DataFrame:
    """:data:`COLUMNS`, a row per quantity and then per claim ('claim: ...'), whose reference and here are verdicts.

    Raises StageError as :func:`kind_of`.
    """
    kind = kind_of(run, reference)
    table, suffix = reference.table(), "" if kind == ARITHMETIC else "_seeds"
    table = table[table["family"] != VERDICTS].set_index("quantity")
    expected = table[[f"reference{suffix}", f"tolerance{suffix}"]].astype(float).set_axis(["reference", "tolerance"], axis=1)
    here = pd.Series({each.name: each.value for each in run.quantities}, dtype=float, name="here")
    numbers = expected.join(here, how="outer").sort_index().rename_axis("quantity").reset_index()
    numbers["verdict"] = _judged(numbers)
    known = dict.fromkeys([*reference.claims().index, *run.claims])
    claims = [_claim(claim, run, reference, kind, numbers) for claim in known]
    return pd.concat([numbers[COLUMNS].astype(object), pd.DataFrame(claims, columns=COLUMNS, dtype=object)],
                     ignore_index=True)


def reproduced(table: pd.DataFrame) -> bool:
    """Whether nothing of a comparison differs or is missing."""
    return not table["verdict"].isin(FAILING).any()


def is_claim(table: pd.DataFrame) -> pd.Series:
    """Which rows of a comparison are claims."""
    return table["quantity"].str.startswith(CLAIM)


def _judged(numbers: pd.DataFrame) -> np.ndarray:
    known, there = numbers["tolerance"].notna(), numbers["here"].notna()
    near = (numbers["here"] - numbers["reference"]).abs() <= numbers["tolerance"]
    return np.select([~known, ~there, near], [NEW, MISSING, REPRODUCED], DIFFERS)


def _claim(claim: str, run: FinishedRun, reference: Reference, kind: str, numbers: pd.DataFrame) -> Mapping[str, Any]:
    row = {"quantity": CLAIM + claim, "reference": "", "here": run.claims.get(claim, ""), "tolerance": ""}
    theirs = reference.claims()
    if claim not in theirs.index:
        return row | {"verdict": NEW}
    known = theirs.loc[claim, reference.arithmetic if kind == ARITHMETIC else list(theirs.columns)].dropna()
    row["reference"] = counted(known)
    if claim not in run.claims:
        return row | {"verdict": MISSING if known.size else NEW}
    if known.nunique() != 1:
        return row | {"verdict": UNDECIDED if known.size else NEW}
    if known.iloc[0] == row["here"]:
        return row | {"verdict": REPRODUCED}
    own = numbers.loc[numbers["quantity"].str.rpartition("/")[0] == f"claims/{claim}", "verdict"]
    opposite = {known.iloc[0], row["here"]} == {"stands", "falls"}
    return row | {"verdict": UNDECIDED if own.size and (own == REPRODUCED).all() and not opposite else DIFFERS}


def counted(verdicts: pd.Series) -> str:
    """'stands', of runs that disagree 'stands (6 runs), undecided (2 runs)'."""
    counts = verdicts.value_counts()
    return counts.index[0] if len(counts) == 1 else ", ".join(
        f"{name} ({count} run{'s' * (count > 1)})" for name, count in counts.items())
