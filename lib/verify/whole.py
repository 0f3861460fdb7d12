"""``make verify``: did this run reproduce the reference of its profile? The answer, and the records of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lib.artifacts.files import write_csv
from lib.errors import StageError
from lib.report.words import counted, listed
from lib.study.again import make_paper
from lib.study.paths import Paths
from lib.verify import records
from lib.verify.comparison import ARITHMETIC, DIFFERS, FAILING, MISSING, REPRODUCED, compare, is_claim, kind_of, reproduced
from lib.verify.reference import CLAIM, REFERENCES, load, require_comparable
from lib.verify.runs import DECISIVE_STAGES, FinishedRun, code_here, configuration, read_run
from lib.verify.tolerances import caution
from lib.workflow.make import due
from lib.workflow.stages import REAL_ANATOMY, Stage

SHOWN: Final = 20  # rows that a summary has room for
ORDER: Final = {DIFFERS: 0, MISSING: 1}  # of rows in it; the others follow


@dataclass(frozen=True)
class Verified:
    """What came out of a comparison."""

    profile: str
    kind: str  # 'arithmetic' or 'seeds': what differs between this run and those of the reference
    runs: int  # of the reference that tell the tolerance: runs of the same seeds, or sets of seeds
    table: pd.DataFrame  # of lib.verify.comparison.compare
    code: list[str]  # kinds of results whose code is another one than the reference's
    files: list[Path]  # that were written

    @property
    def reproduced(self) -> bool:
        """Whether nothing differs or is missing."""
        return reproduced(self.table)

    def counts(self, claims: bool = False) -> dict[str, int]:
        """How many numbers, or claims, have which verdict; the most frequent first."""
        return self.table.loc[is_claim(self.table) == claims, "verdict"].value_counts().to_dict()

    def as_dict(self) -> dict[str, Any]:
        """The same for programs (`--json`)."""
        failing = self.table[self.table["verdict"].isin(FAILING)]
        return {"profile": self.profile, "reproduced": self.reproduced, "compared_by": self.kind, "repetitions": self.runs,
                "numbers": self.counts(), "claims": self.counts(claims=True), "other_code": self.code,
                "failing": failing.astype(object).where(failing.notna(), None).to_dict("records"),
                "files": [str(path) for path in self.files]}

    def summary(self) -> str:
        """One sentence: whether it reproduced, and by what it was judged."""
        numbers, claims = (self.counts(claims) for claims in (False, True))
        tolerance, of = ("the same seeds, other arithmetic", "run") if self.kind == ARITHMETIC else ("other seeds", "set")
        return (f"{self.profile}: {'reproduced' if self.reproduced else 'NOT reproduced'}. {_counted(numbers, 'number')}; "
                f"{_counted(claims, 'claim')}. Tolerances of {tolerance}, from {counted(self.runs, of)}"
                f"{caution(self.runs)}.")

    def lines(self) -> list[str]:
        """The summary for a terminal: what differs first, then the claims, then where all of it is."""
        found = []
        for claims, title in ((False, "Numbers"), (True, "Claims")):
            rows = self.table[(is_claim(self.table) == claims) & (self.table["verdict"] != REPRODUCED)].to_dict("records")
            rows.sort(key=lambda row: (ORDER.get(row["verdict"], len(ORDER)), -_times(row)))
            if rows:
                found += ["", f"{title} that are not reproduced:", *map(_line, rows[:SHOWN])]
                found += [f"  ... and {len(rows) - SHOWN} more"] * (len(rows) > SHOWN)
        if self.code:
            found += ["", f"The code that makes {listed(self.code)} has changed since the reference was made; "
                          + ("no number shows it." if self.reproduced else "that may be why.")]
        return [*found, "", self.summary(), *(f"  {path}" for path in self.files)]


def verify(paths: Paths, waves: Sequence[Sequence[Stage]], references: Path = REFERENCES) -> Verified:
    """Compare a finished run with the reference of its profile; write ``verify.csv`` and the records.

    Parameters
    ----------
    paths : Paths
        Of the run's study.
    waves : sequence
        Its stages (:func:`lib.workflow.stages.stages`), all of which should be up to date.
    references : Path
        Folder of the references.

    Raises
    ------
    StudyError
        The profile has no reference.
    StageError
        The run is not finished or out of date, or of another configuration than the reference.
    OutputError
        A ``codecheck.yml`` at the study's OUTPUT folder is something else; nothing is written.
    """
    reference = load(paths.profile, references)
    if asked := [stage.made_from() for wave in waves for stage in wave if stage.name in DECISIVE_STAGES]:
        scans = {name: reference.configuration[name] for name in ("scans",) if name in reference.configuration}
        require_comparable(configuration(*asked) | scans, reference)  # before somebody runs it for that
    if late := [stage for stage in due(waves) if stage.name != REAL_ANATOMY]:
        raise StageError(f"{counted(len(late), 'stage')} of {paths.profile} not there or out of date: {late[0].name}"
                         + " and others" * (len(late) > 1), remedy=f"{make_paper(paths.profile, paths.root)} first; of a "
                         "run with SET=seeds=[6] give that to verify, too")
    records.by_the_checker(paths.root)  # whether it is one, before anything is written
    run = read_run(paths.root, paths.profile)
    kind, table = kind_of(run, reference), compare(run, reference)
    here = code_here(list(run.code))
    found = Verified(paths.profile, kind, len(reference.arithmetic if kind == ARITHMETIC else reference.by_seeds), table,
                     [name for name in run.code if here[name] != reference.code.get(name)], [])
    found.files.append(path := paths.artifacts / "verify.csv")
    write_csv(path, table)
    found.files.extend(_records(paths.root, paths.figures, run, found))
    return found


def _records(root: Path, figures: Path, run: FinishedRun, found: Verified) -> list[Path]:
    provenance = pd.read_csv(figures / "claims.csv", usecols=["provenance"])["provenance"].iloc[0]
    claims = records.write_claims(figures, found.table)
    return [records.write_codecheck(root, figures, run, f"{found.summary()} {provenance}"), claims,
            records.write_crate(figures, run, provenance)]


def _counted(counts: dict[str, int], what: str) -> str:
    return f"{counted(sum(counts.values()), what)}: " + ", ".join(
        f"{count} {'differ' if verdict == DIFFERS and count > 1 else verdict}" for verdict, count in counts.items())


def _times(row: dict[str, Any]) -> float:
    """How many tolerances a number lies off the reference; 0 where that means nothing."""
    if row["verdict"] != DIFFERS or row["quantity"].startswith(CLAIM):
        return 0.0
    return abs(row["here"] - row["reference"]) / row["tolerance"]


def _line(row: dict[str, Any]) -> str:
    name = row["quantity"].removeprefix(CLAIM)
    numbers = "" if row["quantity"].startswith(CLAIM) else f" ± {row['tolerance']:.2g}"
    numbers += f" ({times:.3g} times as far)" if (times := _times(row)) else ""
    here, reference = (f"{value:.7g}" if isinstance(value, float) else value or "none" for value in (
        row["here"], row["reference"]))
    return f"  {row['verdict']:<20} {name}: here {here}, reference {reference}{numbers}"
