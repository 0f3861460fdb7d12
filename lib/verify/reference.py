"""The committed reference of a profile: what each of its runs found, and how far another one may lie from that.

Two files in ``references``: ``<profile>.csv`` has a row per quantity (and per claim, 'claim: ...') with reference and
tolerance for a run of the same seeds, both for a run of other seeds, and the value in each run; ``<profile>.json`` says of
what configuration they are and how each run was made. All values are kept, so that a run can be added without the folders
of the others.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lib.artifacts.files import write_csv, write_json
from lib.errors import StageError, StudyError
from lib.verify.quantities import floors, scales
from lib.verify.runs import FinishedRun, differences, read_run
from lib.verify.tolerances import RISK, tolerances

REFERENCES: Final = Path(__file__).resolve().parent / "references"
CLAIM, VERDICTS = "claim: ", "verdict"  # how a claim's row begins, and its family
COLUMNS: Final = ["quantity", "family", "reference", "tolerance", "reference_seeds", "tolerance_seeds"]
DIGITS: Final = 10  # significant ones, of stored values: more than any tolerance needs
RUN_FIELDS: Final = ("name", "seeds", "arithmetic", "commits", "versions", "seconds")


@dataclass(frozen=True)
class Reference:
    """Runs of one profile, configuration and code.

    ``runs`` say of each how it was made; ``values`` has a column per run and a row per quantity and claim, ``families`` its
    family. The first run's seeds are those of the reference.
    """

    profile: str
    configuration: dict[str, Any]
    code: dict[str, str]
    runs: list[dict[str, Any]]
    values: pd.DataFrame
    families: pd.Series

    @property
    def seeds(self) -> list[int]:
        return self.runs[0]["seeds"]

    @property
    def arithmetic(self) -> list[str]:
        """Names of the runs with the reference's seeds."""
        return [run["name"] for run in self.runs if run["seeds"] == self.seeds]

    @property
    def by_seeds(self) -> dict[str, list[str]]:
        """Names of the runs by their seeds."""
        found: dict[str, list[str]] = {}
        for run in self.runs:
            found.setdefault(json.dumps(run["seeds"]), []).append(run["name"])
        return found

    def numbers(self) -> pd.DataFrame:
        """The rows that are quantities, as numbers."""
        return self.values[self.families != VERDICTS].astype(float)

    def seed_means(self) -> pd.DataFrame:
        """The numbers by seeds: means of the runs of each."""
        values = self.numbers()
        return pd.DataFrame({seeds: values[names].mean(axis=1, skipna=False) for seeds, names in self.by_seeds.items()})

    def claims(self) -> pd.DataFrame:
        """The rows that are claims, by claim: the verdict in each run."""
        rows = self.values[self.families == VERDICTS]
        return rows.set_axis(rows.index.str.removeprefix(CLAIM))

    def table(self) -> pd.DataFrame:
        """:data:`COLUMNS`: what a run is compared with. A tolerance is empty where too few runs (fewer than two, or not all)
        know the quantity."""
        values = self.numbers()
        known = self._measured(values[self.arithmetic]).join(self._measured(self.seed_means()).add_suffix("_seeds"))
        known["tolerance_seeds"] = known["tolerance_seeds"].where(  # other seeds do not take other arithmetic away
            ~(known["tolerance_seeds"] < known["tolerance"]), known["tolerance"])
        claims = self.values[self.families == VERDICTS]
        majority = {f"reference{suffix}": claims[names].mode(axis=1)[0] for suffix, names in (
            ("", self.arithmetic), ("_seeds", list(self.values.columns)))}
        rows = pd.concat([known.astype(object), pd.DataFrame(majority, dtype=object)])
        return rows.assign(family=self.families).rename_axis("quantity").reset_index()[COLUMNS]

    def _measured(self, values: pd.DataFrame) -> pd.DataFrame:
        """Reference and tolerance of quantities from their values in repeated runs, a column each."""
        found = pd.DataFrame(np.nan, index=values.index, columns=["reference", "tolerance"])
        complete = values.dropna()
        if values.shape[1] and len(complete):
            families, means = self.families[complete.index].tolist(), complete.mean(axis=1)
            found.loc[complete.index, "reference"] = means
            if values.shape[1] > 1:
                found.loc[complete.index, "tolerance"] = tolerances(
                    complete.T.to_numpy(), families, scales(families, means.to_numpy()), floors(families, means.to_numpy()))
        return found

    def save(self, folder: Path = REFERENCES) -> None:
        """Write both files."""
        table = self.table().merge(self.values, left_on="quantity", right_index=True)
        digits = {"tolerance": 3, "tolerance_seeds": 3}
        written = table.apply(lambda column: column.map(lambda value: _written(value, digits.get(column.name, DIGITS))))
        write_csv(folder / f"{self.profile}.csv", written)
        write_json(folder / f"{self.profile}.json", {
            "profile": self.profile, "risk": RISK, "runs": self.runs, "code": self.code,
            "configuration": self.configuration})


def known(folder: Path = REFERENCES) -> list[str]:
    """Profiles that have a reference."""
    return sorted(path.stem for path in folder.glob("*.json"))


def load(profile: str, folder: Path = REFERENCES) -> Reference:
    """The reference of a profile. Raises StudyError naming those that have one, StageError if it is damaged."""
    if profile not in known(folder):
        raise StudyError(f"profile {profile} has no reference to compare with", remedy=f"choose PROFILE from "
                         f"{', '.join(known(folder)) or 'none yet'}, or make one of several runs: python -m lib reference")
    try:
        header = json.loads((folder / f"{profile}.json").read_text(encoding="utf-8"))
        text = (folder / f"{profile}.csv").read_text(encoding="utf-8")
        table = pd.read_csv(io.StringIO(text), index_col="quantity", dtype=object, keep_default_na=False)
        names = [run["name"] for run in header["runs"]]
        values = table[names].where(table[names] != "", np.nan)
        found = Reference(profile, header["configuration"], header["code"], header["runs"], values, table["family"])
        found.numbers()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(profile, folder, type(error).__name__) from None
    if not text.endswith("\n") or found.claims().empty:  # a row without its end, or none of those that come last
        raise _damaged(profile, folder, "cut off")
    return found


def _damaged(profile: str, folder: Path, why: str) -> StageError:
    return StageError(f"the reference of {profile} cannot be read ({why}): {profile}.json or {profile}.csv", where=folder,
                      remedy="git checkout lib/verify/references brings it back")


def require_comparable(configuration: Mapping[str, Any], reference: Reference) -> None:
    """Raises StageError naming a field in which a configuration is another one than the reference's."""
    if other := differences(configuration, reference.configuration):
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise StageError(f"this run is not comparable with the reference of {reference.profile}: {other[0]}{more}",
                         remedy=f"verify a run of PROFILE={reference.profile} as it is, without SET, LAMBDA, DATA ...")


def build(profile: str, roots: Sequence[Path], folder: Path = REFERENCES, anew: bool = False) -> Reference:
    """Add runs to the reference of a profile, and write it.

    Parameters
    ----------
    profile : str
    roots : sequence of Path
        OUTPUT folders with a finished run of the profile each; a folder's name becomes that of the run.
    folder : Path
        Of the references.
    anew : bool
        Without the runs that are stored.

    Raises
    ------
    StageError
        A run is not finished, or was made with changes that are in no commit, partly with other arithmetic, of another
        configuration or by other code than the others, or is there already. One by other code that was made as one of the
        others, and gives its numbers to the last digit, is not added: the reference is of that code from then on.
    """
    reference = None if anew or profile not in known(folder) else load(profile, folder)
    for root in roots:
        reference = extended(reference, read_run(root, profile), profile)
    if reference is None:
        raise StudyError("no run to make a reference of", remedy="pass OUTPUT folders with a finished run each")
    reference.save(folder)
    return reference


def extended(reference: Reference | None, run: FinishedRun, profile: str) -> Reference:
    """A reference with one more run; without one, that of this run. Raises StageError as :func:`build`."""
    def wrong(what: str, remedy: str) -> StageError:
        return StageError(what, where=run.name, remedy=remedy)

    if any("+" in commit or commit == "unknown" for commit in run.commits):
        raise wrong(f"was made by code that is in no commit ({', '.join(run.commits)})", "commit it, and run it again")
    if len(run.arithmetic) > 1:
        raise wrong("parts of it were made with different arithmetic", "run it in a new folder on one machine")
    value = pd.Series({each.name: float(_written(each.value, DIGITS)) for each in run.quantities}, dtype=object)
    claims = {CLAIM + claim: verdict for claim, verdict in run.claims.items()}
    value = pd.concat([value, pd.Series(claims, dtype=object)])
    family = pd.Series({each.name: each.family for each in run.quantities} | dict.fromkeys(claims, VERDICTS))
    made = {name: value for name, value in asdict(run).items() if name in RUN_FIELDS} | {
        "seeds": list(run.seeds), "arithmetic": run.arithmetic[0], "seconds": round(run.seconds)}
    if reference is None:
        return Reference(profile, run.configuration, run.code, [made], value.to_frame(run.name), family)
    if other := differences(run.configuration, reference.configuration):
        raise wrong(f"is of another configuration than the reference's runs: {other[0]}", "run the profile as it is")
    other = [kind for kind, code in run.code.items() if code != reference.code.get(kind)]
    same = _same(reference, made, value)
    if other and run.commits not in [each["commits"] for each in reference.runs]:  # of one commit, the code is the same
        if same:
            return _of_code(reference, run, same)
        raise wrong(f"is of other code than the reference's runs: {', '.join(other)}",
                    "first add one that was made as one of them and gives its numbers again, or run all of them with this "
                    "code, and make the reference anew (--anew)")
    if run.name in reference.values:
        raise wrong("is in the reference already", "give the folder of another run another name")
    if same:
        raise wrong(f"says nothing that {same} does not: the same seeds, arithmetic and numbers",
                    "change one of them for a repetition")
    families = pd.concat([reference.families, family[~family.index.isin(reference.families.index)]])
    numbers, claims = (families.index[(families == VERDICTS) == which] for which in (False, True))
    order = [*sorted(numbers), *claims]
    values = reference.values.join(value.to_frame(run.name), how="outer").loc[order]
    return Reference(profile, reference.configuration, reference.code, [*reference.runs, made], values, families[order])


def _of_code(reference: Reference, run: FinishedRun, same: str) -> Reference:
    """The reference for the code of a run that gave all numbers of ``same`` again: what changed has changed no result."""
    runs = [each | ({"again_at": sorted({*each.get("again_at", ()), *run.commits})} if each["name"] == same else {})
            for each in reference.runs]
    return replace(reference, code=run.code, runs=runs)


def _same(reference: Reference, made: Mapping[str, Any], value: pd.Series) -> str | None:
    """The run that was made as this one, with the same numbers, if there is one."""
    alike = [run["name"] for run in reference.runs
             if all(run[name] == made[name] for name in ("seeds", "arithmetic", "versions"))]
    return next((name for name in alike if _plain(reference.values[name]) == _plain(value)), None)


def _plain(values: pd.Series) -> dict[str, float | str]:
    """Numbers as numbers, however they were written; verdicts as they are."""
    return {name: str(value) if name.startswith(CLAIM) else float(value) for name, value in values.dropna().items()}


def _written(value: Any, digits: int) -> Any:
    """As a table holds it: so many significant digits, empty for what is not there."""
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else f"{float(value):.{digits}g}"
