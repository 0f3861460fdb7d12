"""A comparison as records that others read: ``codecheck.yml``, an RO-Crate and the claims as JSON.

``codecheck.yml`` is for a CODECHECK (Nuest and Eglen 2021, F1000Research 10:253): the author's part is filled in, that of
the person who checks is left empty, and kept once it is there. ``ro-crate-metadata.json`` follows the Process Run Crate
profile 0.5: each stage is an action with its software, inputs and results.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import yaml
from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from lib import REPOSITORY
from lib.artifacts.files import file_sha256, write_json, write_text
from lib.artifacts.provenance import ARITHMETIC, worded
from lib.errors import OutputError
from lib.report.words import listed
from lib.verify.comparison import is_claim
from lib.verify.descriptions import described, media_type, result_files
from lib.verify.reference import CLAIM
from lib.verify.runs import FinishedRun

SPECIFICATION: Final = "https://codecheck.org.uk/spec/config/1.0/"
PROCESS: Final = "https://w3id.org/ro/wfrun/process/0.5"
TERMS: Final = "https://w3id.org/ro/terms/workflow-run/context"  # of that profile: environment, sha256
LICENSE: Final = "https://spdx.org/licenses/MIT"
BY_THE_CHECKER: Final = {"codechecker": [{"name": "", "ORCID": ""}], "report": "", "certificate": "", "repository": ""}
OURS: Final = ("version", "paper", "manifest", "summary", "check_time")  # written anew each time; what else is there stays
CODECHECK, CRATE, CLAIMS = "codecheck.yml", "ro-crate-metadata.json", "claims.json"


def by_the_checker(root: Path) -> dict[str, Any]:
    """What whoever checks a run filled in, empty where nobody did. Raises OutputError: that file is no codecheck.yml."""
    path, filled = root / CODECHECK, dict(BY_THE_CHECKER)
    if path.is_file():
        try:
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            filled |= {name: value for name, value in before.items() if value and name not in OURS}
        except (yaml.YAMLError, AttributeError, TypeError, ValueError):
            raise OutputError("is there, and is no codecheck.yml", where=path, remedy="move it away") from None
    return filled


def write_codecheck(root: Path, figures: Path, run: FinishedRun, summary: str) -> Path:
    """Write ``codecheck.yml`` at an OUTPUT folder's root: which files a check should look at, and what this one found.

    Raises OutputError where a file of that name is no codecheck.yml.
    """
    path, filled = root / CODECHECK, by_the_checker(root)
    shown = [each for each in result_files(figures, _written(run)) if each.suffix in (".csv", ".png")]
    text = yaml.safe_dump(
        {"version": SPECIFICATION, "paper": _paper(),
         "manifest": [{"file": each.relative_to(root).as_posix(), "comment": described(each)} for each in shown],
         **filled, "summary": summary, "check_time": _time(datetime.now(UTC).timestamp())},
        sort_keys=False, allow_unicode=True, width=120)
    write_text(path, "# For who checks this run: codechecker, report, certificate and repository are yours to fill in.\n"
                     f"# Each `make verify` writes {listed(OURS)} anew, and keeps the rest.\n---\n{text}")
    return path


def write_claims(figures: Path, table: pd.DataFrame) -> Path:
    """Write ``claims.json`` beside ``claims.csv``: of each claim the numbers of this run, and both verdicts."""
    numbers = pd.read_csv(figures / "claims.csv")
    rows = table[is_claim(table)].set_index("quantity")
    found = []
    for row in numbers.to_dict("records"):
        judged = rows.loc[CLAIM + row["claim"]]
        found.append({name: None if pd.isna(value) else value for name, value in row.items() if name != "provenance"}
                     | {"verdict_of_the_reference": judged["reference"] or None, "reproduced": judged["verdict"]})
    write_json(path := figures / CLAIMS, {"provenance": numbers["provenance"].iloc[0], "claims": found})
    return path


def write_crate(figures: Path, run: FinishedRun, provenance: str) -> Path:
    """Write ``ro-crate-metadata.json`` for a folder of figures and tables: what was run, on what, from what, and which file
    is which figure or table. Files outside that folder are told by name and checksum, a user's own by checksum."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)
    root = crate.root_dataset
    root["name"], root["description"], root["license"] = f"Results of {figures.name}", provenance, {"@id": LICENSE}
    root["conformsTo"] = crate.add(ContextEntity(crate, PROCESS, {
        "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}))
    crate.add(ContextEntity(crate, LICENSE, {"@type": "CreativeWork", "name": "MIT License"}))
    for path in [*result_files(figures, _written(run)), figures / CLAIMS]:
        if path.is_file():
            crate.add_file(path, path.name, properties=_file_properties(path))
    software, variables = _software(crate, run), _variables(crate, run)
    made: dict[str, Any] = {}
    actions = [_action(crate, stage, software, variables, made) for stage in run.stages]
    root["mentions"] = actions
    made_of = crate.metadata.generate()
    write_json(path := figures / CRATE, made_of | {"@graph": [_compacted(each) for each in made_of["@graph"]]})
    return path


def _written(run: FinishedRun) -> Iterable[str]:
    return (Path(output).name for stage in run.stages for output in stage["outputs"])


def _compacted(entity: dict[str, Any]) -> dict[str, Any]:
    """One value stands without brackets, as RO-Crate 1.1 recommends."""
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in entity.items()}


def _paper() -> dict[str, Any]:
    """Of CITATION.cff, as a codecheck.yml has it."""
    paper = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    return {"title": paper["title"], "reference": f"https://doi.org/{paper['doi']}" if "doi" in paper else "",
            "authors": [{"name": f"{each['given-names']} {each['family-names']}"} for each in paper["authors"]]}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _file_properties(path: Path) -> dict[str, Any]:
    return {"name": described(path), "encodingFormat": media_type(path), "contentSize": str(path.stat().st_size),
            "sha256": file_sha256(path)}


def _software(crate: ROCrate, run: FinishedRun) -> ContextEntity:
    """The software at its commit, with the packages that results depend on."""
    needs = [crate.add(ContextEntity(crate, f"#{name}", {"@type": "SoftwareApplication", "name": name, "version": version}))
             for name, version in run.versions.items()]
    return crate.add(ContextEntity(crate, "#software", {
        "@type": "SoftwareApplication", "name": "Perceptual Influence: a reproduction that reruns itself",
        "description": "python -m lib paper", "softwareVersion": ", ".join(run.commits),
        "softwareRequirements": [{"@id": each.id} for each in needs]}))


def _variables(crate: ROCrate, run: FinishedRun) -> dict[tuple[str, str], ContextEntity]:
    """The variables that chose the arithmetic, by name and value."""
    pairs = dict.fromkeys(pair for each in run.arithmetic for pair in _set(each))
    return {(name, value): crate.add(ContextEntity(crate, f"#variable-{place}", {
        "@type": "PropertyValue", "name": name, "value": value})) for place, (name, value) in enumerate(pairs, start=1)}


def _set(arithmetic: dict[str, Any]) -> list[tuple[str, str]]:
    """Of an arithmetic what somebody can set again: the variables, not the processor."""
    return [(name, str(value)) for name, value in arithmetic.items() if name in ARITHMETIC]


def _action(crate: ROCrate, stage: dict[str, Any], software: ContextEntity, variables: dict[tuple[str, str], ContextEntity],
            made: dict[str, Any]) -> ContextEntity:
    """A stage. ``made`` has what earlier ones wrote, by name, and gets what this one did."""
    inputs = [made.get(name) or _outside(crate, name, checksum, ours="/" in name)  # a user's own has no folder there
              for name, checksum in stage["inputs"].items() if name != "notebook" and checksum]
    outputs = {name: _result(crate, name, kept[2]) for name, kept in stage["outputs"].items()}
    made.update({_name(name): each for name, each in outputs.items()})
    used = [variables[pair] for each in stage["arithmetic"] for pair in _set(each)]
    return crate.add_action(software, f"#{stage['step']}", inputs, list(outputs.values()), {
        "@type": "CreateAction", "name": stage["step"], "startTime": _time(stage["ended"] - stage["seconds"]),
        "endTime": _time(stage["ended"]), "actionStatus": "http://schema.org/CompletedActionStatus",
        "description": "; ".join(worded(each) for each in stage["arithmetic"]),
        **({"environment": [{"@id": each.id} for each in _once(used)]} if used else {})})


def _once(entities: Iterable[ContextEntity]) -> list[ContextEntity]:
    return list({each.id: each for each in entities}.values())


def _name(output: str) -> str:
    """An output as an input of a later stage has it: '../metrics.csv' (from the stamps' folder) becomes 'metrics.csv'."""
    return output.removeprefix("../") if output.startswith("../") and not output.startswith("../../") else Path(output).name


def _result(crate: ROCrate, output: str, checksum: str) -> Any:
    """The entity of an output: a file of the crate, or one outside it."""
    if output.startswith("../../") and (inside := crate.get(Path(output).name)):
        return inside
    return _outside(crate, _name(output), checksum, ours=True)


def _outside(crate: ROCrate, name: str, checksum: str, ours: bool = False) -> ContextEntity:
    """A file or folder that is not in the crate; a user's own has no name."""
    identifier = f"#{name if ours else checksum[:16]}"
    return crate.get(identifier) or crate.add(ContextEntity(crate, identifier, {
        "@type": "CreativeWork", "name": name if ours else "an input of this run", "sha256": checksum}))
