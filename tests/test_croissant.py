"""Croissant metadata of a simulated cohort: what MLCommons' specification asks for, of what is there."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml

from lib import REPOSITORY
from lib.artifacts.files import file_sha256
from lib.errors import CohortError
from lib.simulation.anatomy import ORGANS
from lib.simulation.cohort import simulate
from lib.simulation.croissant import CROISSANT, describe, metadata
from lib.study.paths import Paths

CITATION = REPOSITORY / "CITATION.cff"
REQUIRED = {"@context", "@type", "conformsTo", "name", "description", "license", "version", "datePublished", "citeAs",
            "creator", "distribution", "recordSet"}  # the specification's, but for `url`: the cohort has none


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Two patients of two slabs."""
    out = tmp_path_factory.mktemp("cohort")
    simulate(out, patients=2, slices=5, size=33, seed=8, slabs=2)
    describe(out, CITATION)
    return out


@pytest.fixture(scope="module")
def known(cohort) -> dict:
    return json.loads((cohort / CROISSANT).read_text(encoding="utf-8"))


def by_id(entries: list[dict]) -> dict[str, dict]:
    found = {entry["@id"]: entry for entry in entries}
    assert len(found) == len(entries), "each has a name of its own"
    return found


def test_the_required_fields_are_there_and_agree_with_the_citation(known):
    cited = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    assert known.keys() >= REQUIRED and all(known[name] for name in REQUIRED)
    assert known["@type"] == "sc:Dataset" and known["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert known["version"] == cited["version"] and known["license"].endswith(f"/{cited['license']}")
    assert known["datePublished"] == str(cited["date-released"])
    assert [each["name"] for each in known["creator"]] == [each["name"] for each in cited["authors"]]
    assert cited["preferred-citation"]["title"] in known["citeAs"] and "Sijbers, Jan" in known["citeAs"]


def test_every_word_with_a_prefix_has_its_context(known):
    text = json.dumps({name: value for name, value in known.items() if name != "@context"})
    assert set(re.findall(r'"(\w+):\w+"', text)) <= set(known["@context"])


def test_files_are_those_of_the_folder(known, cohort):
    found = by_id(known["distribution"])
    for entry in found.values():
        if entry["@type"] == "cr:FileObject":
            assert entry["sha256"] == file_sha256(cohort / entry["contentUrl"])
    sets = {name: set(cohort.glob(entry["includes"])) for name, entry in found.items()
            if entry["@type"] == "cr:FileSet"}
    with (cohort / "contents.csv").open(encoding="utf-8", newline="") as stream:
        listed = {(cohort / "patients" / row["file"]).resolve() for row in csv.DictReader(stream)}
    assert sets["images"] == {path for path in listed if path.suffix == ".IMA"} and len(sets["masks"]) == 2


def test_fields_of_tables_are_their_columns(known, cohort):
    records = by_id(known["recordSet"])
    for name in ("contents", "noise"):
        header = (cohort / f"{name}.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert [each["source"]["extract"]["column"] for each in records[name]["field"]] == header
        assert {each["source"]["fileObject"]["@id"] for each in records[name]["field"]} == {f"{name}.csv"}
    for records_of in records.values():
        fields = by_id(records_of["field"])
        assert records_of.get("key", {"@id": next(iter(fields))})["@id"] in fields
        assert all(set(row) == set(fields) for row in records_of.get("data", []))


def test_patterns_find_patient_dose_kernel_and_thickness_in_every_path(known, cohort):
    """As Croissant's reader does it: from the beginning of the path below the folder."""
    fields = {each["name"]: re.compile(each["source"]["transform"]["regex"])
              for each in by_id(known["recordSet"])["slices"]["field"]}
    paths = [path.relative_to(cohort).as_posix() for path in cohort.rglob("*.IMA")]
    found = {tuple(pattern.match(path)[1] for pattern in fields.values()) for path in paths}
    assert list(fields) == ["patient", "dose", "kernel", "thickness_mm"]
    assert found == {(patient, dose, kernel, thickness) for patient in ("SIM01", "SIM02") for dose in ("full", "quarter")
                     for kernel in ("B30", "D45") for thickness in ("1", "3")}


def test_patients_and_organs_are_those_of_the_simulation(known):
    records = by_id(known["recordSet"])
    assert records["patients"]["data"] == [{"patients/patient": "SIM01", "patients/seed": 8001},
                                           {"patients/patient": "SIM02", "patients/seed": 8002}]
    assert [row["organs/organ"] for row in records["organs"]["data"]] == list(ORGANS)


def test_equal_cohorts_have_equal_metadata(cohort, known):
    assert metadata(cohort, CITATION) == known
    assert "2 simulated abdomens, 2 slab(s) of 5 thin slices each, 33 x 33 pixels" in known["description"]


def test_it_lies_where_the_study_says():
    assert Paths(Path("a"), "smoke").croissant.name == CROISSANT


def test_a_folder_without_a_cohort_is_named(tmp_path):
    with pytest.raises(CohortError, match="no simulated cohort"):
        describe(tmp_path, CITATION)
    (tmp_path / "contents.csv").write_text("file,sha256\n", encoding="utf-8")
    with pytest.raises(CohortError, match="no stamp of a patient"):
        describe(tmp_path, CITATION)
    assert not (tmp_path / CROISSANT).exists()


def test_a_column_that_is_not_known_is_named(cohort, tmp_path):
    for name in ("patients", "contents.csv"):
        (tmp_path / name).symlink_to(cohort / name)
    (tmp_path / "noise.csv").write_text("quantity,unheard\n", encoding="utf-8")
    with pytest.raises(CohortError, match="unheard"):
        metadata(tmp_path, CITATION)
