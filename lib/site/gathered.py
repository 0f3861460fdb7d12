"""What a report is made from: the figures, tables, claims, notebooks and stamps that a run left. All of it is read here."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib import REPOSITORY
from lib.errors import StageError
from lib.report.captions import FIGURES
from lib.site.blocks import Picture, Table
from lib.site.tables import read_table
from lib.study.again import make_paper

ANSWER: Final = re.compile(r"^\*\*(\w+)\*\*, (.*)$")  # the head of a question in claims.md


@dataclass(frozen=True)
class Answer:
    """What ``claims.md`` says of a question beside its claims."""

    asks: str  # 'how Ψ varies with ϕ and c: 10 stand, 10 fall, 1 undecided; 3 seeds.'
    further: tuple[str, ...]  # sentences that are no claim's


@dataclass(frozen=True)
class Gathered:
    """A run, as far as readers are shown it."""

    profile: str
    simulated: bool  # whether the scans are the simulation's
    provenance: str  # the line that stands below every figure and table
    figures: Path  # the folder of figures and tables
    results: frozenset[Path]  # those there that this run wrote: others are another's
    claims: pd.DataFrame  # of the paper's questions, :data:`lib.report.verdicts.COLUMNS`
    answers: Mapping[str, Answer]  # by question
    scores: pd.DataFrame  # table3.csv
    notebooks: tuple[Path, ...]  # as they ran
    stamps: tuple[Mapping[str, Any], ...]  # of the stages, in their order
    stale: tuple[str, ...] = ()  # stages whose code, settings or inputs have changed since

    @property
    def commit(self) -> str:
        """Of the provenance line."""
        found = re.search(r"\| commit (\S+)", self.provenance)
        return found[1] if found else "unknown"

    def table(self, name: str) -> list[Table]:
        """The table of that name, or nothing where this run has none."""
        path = self.figures / f"{name}.md"
        return [_named(read_table(path), name, self.provenance)] if path in self.results else []

    def picture(self, name: str) -> list[Picture]:
        """The figure of that name with its caption, or nothing where this run has none."""
        path = self.figures / f"{name}.png"
        return [Picture(name, path, FIGURES[name].title, FIGURES[name].alt)] if path in self.results else []

    def supplement_claims(self, section: str) -> pd.DataFrame | None:
        """The claims of an analysis ('S1'), or None where it was not made."""
        path = self.figures / "supplement" / f"claims_{section}.csv"
        return pd.read_csv(path) if path in self.results else None

    @property
    def words(self) -> tuple[str, ...]:
        """The provenance line in its parts, 'unknown' ones left out."""
        return tuple(part.strip() for part in self.provenance.split(" | ") if part.strip())


def gather(profile: str, simulated: bool, figures: Path, results: Iterable[Path], notebooks: Iterable[Path],
           stamps: Iterable[Path], stale: Iterable[str] = ()) -> Gathered:
    """Read a finished run.

    Parameters
    ----------
    figures : Path, the folder with ``claims.csv``, ``table3.csv`` and all else that is shown
    results : iterable of Path, what the run wrote; of ``figures`` only that is shown
    notebooks, stamps : iterables of paths, in the order in which they are shown
    stale : iterable of str, names of stages that are out of date

    Raises
    ------
    StageError
        A table that every finished run has is not there.
    """
    for name in ("claims.csv", "claims.md", "table3.csv"):
        if not (figures / name).is_file():
            raise StageError(f"{profile} has no {name}", where=figures,
                             remedy=f"{make_paper(profile, figures.parents[1])} finishes it")
    claims = pd.read_csv(figures / "claims.csv")
    provenance = str(claims["provenance"].iloc[0]) if len(claims) else str(
        pd.read_csv(figures / "table3.csv")["provenance"].iloc[0])
    return Gathered(
        profile, simulated, provenance, figures, frozenset(results), claims,
        answers((figures / "claims.md").read_text(encoding="utf-8"), len(claims["question"].unique())),
        pd.read_csv(figures / "table3.csv"), tuple(notebooks),
        tuple(json.loads(path.read_text(encoding="utf-8")) for path in stamps), tuple(stale))


def answers(text: str, least: int = 0) -> dict[str, Answer]:
    """The questions of ``claims.md`` with what stands there beside the claims, whose lines have a verdict in bold.

    Raises ValueError if there are fewer than ``least``.
    """
    found: dict[str, Answer] = {}
    for part in re.split(r"\n(?=\*\*\w+\*\*, )", text):
        lines = part.strip().splitlines()
        if head := ANSWER.match(lines[0]) if lines else None:
            further = tuple(line[2:] for line in lines if line.startswith("- ") and not re.search(
                r": \*\*(stands|falls|undecided)\*\*", line))
            found[head[1]] = Answer(head[2], further)
    if len(found) < least:
        raise ValueError(f"claims.md: {len(found)} questions, expected {least}")
    return found


def commit_date(commit: str) -> str | None:
    """'2026-11-30' of a commit, or None where git does not know it."""
    name = commit.removesuffix("+changes")
    if not re.fullmatch(r"[0-9a-f]{7,40}", name):
        return None
    try:
        shown = subprocess.run(["git", "-C", str(REPOSITORY), "show", "-s", "--format=%cs", name], capture_output=True,
                               text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip() or None


def _named(table: Table, name: str, provenance: str) -> Table:
    """With its whole name, and its own provenance only where it differs from the run's."""
    return Table(name, table.title, table.columns, table.rows,
                 "" if table.provenance in (provenance, "") else table.provenance)
