"""The section of the reproduction page that holds the run against the committed reference of its profile."""

from pathlib import Path

import pandas as pd

from lib.errors import PaperError
from lib.report.words import counted, number
from lib.site.blocks import Block, Prose, Table, plain
from lib.verify.comparison import ARITHMETIC, FAILING, REPRODUCED, compare, is_claim, kind_of
from lib.verify.reference import REFERENCES, known, load
from lib.verify.runs import read_run
from lib.verify.tolerances import caution

TITLE = "## Beside the reference"
HOW = ("`make verify` writes each number with its tolerance, which was measured from repeated runs, to `verify.csv`; "
       "REPRODUCING.md says how.")


def verified(root: Path, profile: str, references: Path = REFERENCES) -> list[Block]:
    """What :func:`lib.verify.comparison.compare` says of the run below ``root``, by kind of result, and what differs; one
    sentence where it cannot be compared."""
    if profile not in known(references):
        return [Prose(f"{TITLE}\n\nThe profile has no reference to be compared with.")]
    try:
        run, reference = read_run(root, profile), load(profile, references)
        table, kind = compare(run, reference), kind_of(run, reference)
    except PaperError as error:
        return [Prose(f"{TITLE}\n\nNot compared: {plain(error.what)}.")]
    if kind == ARITHMETIC:
        words, each, count = "the same seeds and other arithmetic", "run", len(reference.arithmetic)
    else:
        words, each, count = "other seeds", "set", len(reference.by_seeds)
    rests = f"Compared with runs of {words}: {counted(count, each)}{caution(count)}."
    blocks: list[Block] = [Prose(f"{TITLE}\n\n{_summary(table)} {rests} {HOW}"), _counts(table)]
    failing = table[table["verdict"].isin(FAILING)]
    if len(failing):
        blocks.append(Table("differs", "What is not reproduced", ("Quantity", "Verdict", "Reference", "Here", "Tolerance"),
                            tuple((each["quantity"], each["verdict"], *(_shown(each[name]) for name in (
                                "reference", "here", "tolerance"))) for each in failing.to_dict("records"))))
    return blocks


def _summary(table: pd.DataFrame) -> str:
    """How many numbers and verdicts are reproduced, in a sentence."""
    fine, claims = table["verdict"] == REPRODUCED, is_claim(table)
    return (f"**Of {counted(int((~claims).sum()), 'number')} {int((fine & ~claims).sum())} lie within their tolerance; of "
            f"{counted(int(claims.sum()), 'claim')} {int((fine & claims).sum())} have the verdict of the reference.**")


def _counts(table: pd.DataFrame) -> Table:
    kinds = table["quantity"].str.partition("/")[0].where(~is_claim(table), "verdicts of claims")
    counts = pd.crosstab(kinds, table["verdict"])
    rows = tuple((str(kind), *map(str, row)) for kind, row in zip(counts.index, counts.to_numpy(), strict=True))
    return Table("verified", "Numbers of this run by what they are and whether they lie within the tolerance",
                 ("Result", *map(str, counts.columns)), rows)


def _shown(value: object) -> str:
    if value is None or value == "" or pd.isna(value):
        return "–"
    return number(value) if isinstance(value, float) else str(value)
