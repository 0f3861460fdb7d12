"""Any layout gives the same pairs; nothing is paired by name; every unusable file is counted and explained."""

import re
import shutil
from collections import Counter

import pytest

from lib.data import workers
from lib.data.dicom.discovery import discover
from lib.data.dicom.identity import Problem, counts
from lib.data.dicom.pairing import PairKey, SeriesKey
from lib.errors import CohortError, DicomError
from tests import trees

LAYOUTS = {  # (full, quarter) folder, and the form of the file names
    "flat thickness": ("L067/full_1mm", "L067/quarter_1mm", "{mayo}"),
    "thickness and kernel": ("1mm B30/L067/full_1mm", "1mm B30/L067/quarter_1mm", "{mayo}"),
    "thickness only": ("1mm/L067/full_1mm", "1mm/L067/quarter_1mm", "{mayo}"),
    "fresh unzip": ("1mm B30/full_1mm/L067/full_1mm", "1mm B30/quarter_1mm/L067/quarter_1mm", "{mayo}"),
    "QD folders": ("1mm B30/FD_1mm/full_1mm/L067/full_1mm", "1mm B30/QD_1mm/quarter_1mm/L067/quarter_1mm", "{mayo}"),
    "FD and leaf": ("1mm B30/FD_1mm/L067/full_1mm", "1mm B30/QD_1mm/L067/quarter_1mm", "{mayo}"),
    "Training_Image_Data": (
        "Training_Image_Data/1mm B30/full_1mm/L067",
        "Training_Image_Data/1mm B30/quarter_1mm/L067",
        "{mayo}",
    ),
    "misspelt root": ("Traning_Image_Data/L067/full_1mm", "Traning_Image_Data/L067/quarter_1mm", "{mayo}"),
    "Training Set": ("Training Set/L067/full_1mm", "Training Set/L067/quarter_1mm", "{mayo}"),
    "sorted": ("L067/full_1mm_sorted", "L067/quarter_1mm_sorted", "{i:03d}.IMA"),
    "renamed": ("L067/full_1mm", "L067/quarter_1mm", "{i:04d}.dcm"),
    "no extension": ("L067/full_1mm", "L067/quarter_1mm", "IM{i}"),
    "no folders": (".", ".", "{mayo}"),
}
BARE = {"PatientName": "Anonymous", "ConvolutionKernel": None, "SliceThickness": None}


def both_doses(root, layout, z=(0.0, 0.8), **changes):
    full, quarter, name = LAYOUTS[layout]
    trees.mayo(root, full, dose="full", name=name, z=z, **changes)
    trees.mayo(root, quarter, dose="quarter", name=name, z=z, **changes)


def kinds(found) -> dict:
    return counts(found.problems)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pairs(tmp_path, layout):
    both_doses(tmp_path, layout)
    found = discover(tmp_path)
    assert found.collection == "mayo2016" and not found.problems and not found.ignored
    assert list(found.pairs) == [PairKey("L067", "B30", 1.0)]
    assert [z for z, _, _ in found.pairs["L067", "B30", 1.0, 1]] == [0.0, 0.8]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_suffice_when_the_headers_say_nothing(tmp_path, layout):
    both_doses(tmp_path, layout, **BARE)
    found = discover(tmp_path)
    assert list(found.pairs) == [PairKey("L067", "B30", 1.0)] and found.collection == "mayo2016"


def test_sharp_kernel_layout(tmp_path):
    keys = {"patient": "L506", "kernel": "D45", "thickness_mm": 3.0}
    for changes in ({}, BARE):
        root = tmp_path / str(len(changes))
        trees.mayo(
            root,
            "3mm D45/QD_3mm_sharp/quarter_3mm_sharp/L506/quarter_3mm_sharp",
            dose="quarter",
            name="{i}.IMA",
            **keys,
            **changes,
        )
        trees.mayo(
            root,
            "3mm D45/FD_3mm_sharp/full_3mm_sharp/L506/full_3mm_sharp",
            dose="full",
            name="{i}.IMA",
            **keys,
            **changes,
        )
        assert list(discover(root).pairs) == [PairKey("L506", "D45", 3.0)]


def test_headers_win_over_paths(tmp_path):
    trees.mayo(tmp_path, "L999/quarter_3mm_sharp", dose="full", name="L333_QD_3_SHARP_{i}.IMA")
    assert list(discover(tmp_path).series) == [SeriesKey("L067", "full", "B30", 1.0)]


def test_a_folder_inside_the_tree_is_enough(tmp_path):
    both_doses(tmp_path, "renamed", **BARE)
    assert list(discover(tmp_path / "L067").pairs) == [PairKey("L067", "B30", 1.0)]


def test_simulated_tree_with_all_four_series(tmp_path):
    for kernel in ("B30", "D45"):
        for thickness in (1.0, 3.0):
            trees.simulated(tmp_path, kernel=kernel, thickness_mm=thickness)
    found = discover(tmp_path)
    assert found.collection == "simulated" and not found.problems
    assert {key: len(value) for key, value in found.pairs.items()} == {
        PairKey("SIM01", k, t): 3 for k in ("B30", "D45") for t in (1.0, 3.0)
    }


def test_tcia_layout(tmp_path):
    trees.tcia(tmp_path, "L004")
    trees.tcia(tmp_path, "N012")
    found = discover(tmp_path)
    assert found.collection == "tcia" and not found.problems
    assert list(found.pairs) == [PairKey("L004", "B30", 3.0), PairKey("N012", "B30", 3.0)]


def test_tcia_dose_from_folders_and_chest_is_a_tenth(tmp_path):
    for path in trees.tcia(tmp_path, "C002"):
        trees.edit(path, SeriesDescription=None, PatientName="", PatientID="")
    found = discover(tmp_path)
    assert found.collection == "tcia" and list(found.pairs) == [PairKey("C002", "B30", 3.0)]
    assert kinds(found) == {"tenth dose": 2}


def test_tcia_l097_is_not_mayos_misprint(tmp_path):
    trees.tcia(tmp_path, "L097")
    assert list(discover(tmp_path).pairs) == [PairKey("L097", "B30", 3.0)]


def test_a_rewritten_patient_name_in_mayos_folders_is_still_mayo(tmp_path):
    both_doses(tmp_path, "renamed", PatientName="L067", PatientID="L067")
    assert discover(tmp_path).collection == "mayo2016"


def test_two_collections_in_one_folder_are_refused(tmp_path):
    both_doses(tmp_path / "mayo", "fresh unzip")
    trees.tcia(tmp_path / "tcia")
    with pytest.raises(CohortError, match="mayo2016 .4 files.* and tcia .4 files.*one as DATA="):
        discover(tmp_path)
    shutil.rmtree(tmp_path / "tcia")
    trees.simulated(tmp_path / "sim")
    with pytest.raises(CohortError, match="mayo2016.*simulated"):
        discover(tmp_path)


def test_order_is_by_z_whatever_names_and_instances_say(tmp_path):
    z = [2.0, -1.5, 0.5]
    for dose, name in (("full", "{i}.IMA"), ("quarter", "{i}.IMA")):
        for i, path in enumerate(trees.mayo(tmp_path, f"L067/{dose}_1mm", dose=dose, z=z, name=name)):
            trees.edit(path, InstanceNumber=i + 1)
    found = discover(tmp_path)
    for slices in found.series.values():
        assert [(z, path.name) for z, path in slices] == [(-1.5, "2.IMA"), (0.5, "3.IMA"), (2.0, "1.IMA")]


def test_pairs_are_made_by_z_never_by_name(tmp_path):
    trees.mayo(tmp_path, "L067/full_1mm", dose="full", z=[0.0, 0.8], name="{i}.IMA")
    trees.mayo(tmp_path, "L067/quarter_1mm", dose="quarter", z=[0.8, 0.004], name="{i}.IMA")
    pairs = discover(tmp_path).pairs["L067", "B30", 1.0, 1]
    assert [(full.name, quarter.name) for _, full, quarter in pairs] == [("1.IMA", "2.IMA"), ("2.IMA", "1.IMA")]


def test_l097_is_read_as_l096(tmp_path):
    both_doses(tmp_path, "flat thickness", patient="L097")
    found = discover(tmp_path)
    assert list(found.pairs) == [PairKey("L096", "B30", 1.0)]
    assert kinds(found) == {"alias": 4} and "L096" in found.problems[0].what


def test_no_partner_slice_is_left_out_and_named(tmp_path):
    trees.mayo(tmp_path, "L067/full_1mm", dose="full", z=[0.0, 0.8, 1.6])
    lonely = trees.mayo(tmp_path, "L067/quarter_1mm", dose="quarter", z=[0.0, 0.8, 2.4])[2]
    found = discover(tmp_path)
    assert len(found.pairs["L067", "B30", 1.0, 1]) == 2 and kinds(found) == {"no partner": 2}
    assert found.problems[1].file == lonely and "z = 2.4 mm" in found.problems[1].what


def test_challenge_test_case_is_unpaired_and_counted(tmp_path):
    both_doses(tmp_path, "flat thickness")
    trees.mayo(tmp_path, "L008/quarter_1mm", patient="L008", dose="quarter", z=(0, 1, 2))
    found = discover(tmp_path)
    assert list(found.pairs) == [PairKey("L067", "B30", 1.0)] and kinds(found) == {"no partner": 3}
    assert len(found.series["L008", "quarter", "B30", 1.0, 1]) == 3 and len(found.problems) == 1


def test_doses_at_other_places_are_one_problem_a_series(tmp_path):
    trees.mayo(tmp_path, "full", dose="full", z=[0.0, 0.8])
    trees.mayo(tmp_path, "quarter", dose="quarter", z=[0.4, 1.2])
    found = discover(tmp_path)
    assert not found.pairs and len(found.problems) == 2 and "no slice is at the same z" in found.problems[0].what


def test_two_slices_at_one_z_leave_the_series_out(tmp_path):
    both_doses(tmp_path, "flat thickness")
    both_doses(tmp_path, "flat thickness", patient="L096")
    extra = trees.mayo(tmp_path, "again", z=[0.8], name="x.IMA", hu=trees.image(99))[0]
    found = discover(tmp_path)
    clash = [problem for problem in found.problems if problem.kind == "same z"]
    assert extra in [problem.file for problem in clash] and "z = 0.8 mm" in clash[0].what
    assert sum(problem.count for problem in clash) == 3 and len(clash) == 3, "the series' other slice, too"
    assert SeriesKey("L067", "full", "B30", 1.0) not in found.series
    assert list(found.pairs) == [PairKey("L096", "B30", 1.0)]


def test_only_series_with_two_slices_at_one_z_is_an_error(tmp_path):
    trees.mayo(tmp_path, "a", z=[0.8, 0.8])
    with pytest.raises(CohortError, match="2 different slices at z = 0.8 mm"):
        discover(tmp_path)


def test_the_same_file_twice_is_kept_once(tmp_path):
    both_doses(tmp_path, "flat thickness")
    shutil.copytree(tmp_path / "L067", tmp_path / "backup" / "L067")
    found = discover(tmp_path)
    assert len(found.pairs["L067", "B30", 1.0, 1]) == 2 and kinds(found) == {"copy": 4}


def test_other_matrix_size_in_one_series(tmp_path):
    paths = trees.mayo(tmp_path, "L067/full_1mm", z=[0.0, 0.8, 1.6])
    trees.mayo(tmp_path, "L067/full_1mm", z=[2.4], name="odd.IMA", hu=trees.image(1, rows=7, columns=9))
    found = discover(tmp_path)
    assert [path for _, path in found.series["L067", "full", "B30", 1.0, 1]] == paths
    assert found.problems[0].kind == "odd geometry" and found.problems[0].file.name == "odd.IMA"
    assert "24 x 20 and 7 x 9 pixels" in found.problems[0].what


def test_doses_of_other_matrix_sizes_are_not_paired(tmp_path):
    trees.mayo(tmp_path, "full", dose="full")
    for path in trees.mayo(tmp_path, "quarter", dose="quarter"):
        trees.edit(path, Rows=6, Columns=80)
    found = discover(tmp_path)
    assert not found.pairs and "24 x 20 and 6 x 80 pixels" in found.problems[0].what


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept", "ImagePositionPatient"])
def test_missing_header_field_is_a_problem_with_the_file(tmp_path, name):
    both_doses(tmp_path, "flat thickness", z=(0.0, 0.8, 1.6))
    path = min(tmp_path.rglob("*_QD_*.IMA"))
    trees.edit(path, **{name: None})
    found = discover(tmp_path)
    assert len(found.pairs["L067", "B30", 1.0, 1]) == 2 and kinds(found) == {"no partner": 1, "unreadable": 1}
    problem = found.problems[0]
    assert problem.file == path and name in problem.what and problem.remedy and path.name not in problem.what


def test_truncated_file_and_a_dcm_that_is_none_are_problems(tmp_path):
    both_doses(tmp_path, "flat thickness")
    path = min(tmp_path.rglob("*.IMA"))
    path.write_bytes(path.read_bytes()[:-200])
    (tmp_path / "report.dcm").write_text("not DICOM")
    found = discover(tmp_path)
    texts = {problem.file.name: problem.what for problem in found.problems if problem.kind == "unreadable"}
    assert texts["report.dcm"].startswith("not a DICOM file") and texts[path.name].startswith("truncated")


def test_clutter_is_counted_by_kind_without_names(tmp_path):
    both_doses(tmp_path, "flat thickness")
    for name in (
        ".DS_Store",
        "L067/.DS_Store",
        "Thumbs.db",
        "LICENSE",
        "a.csv",
        "b.csv",
        "c.npz",
        "report.Jane Doe",
        "DICOMDIR",
        "L067/._x.IMA",
    ):
        (tmp_path / name).write_bytes(b"clutter")
    found = discover(tmp_path)
    assert not found.problems and len(found.pairs["L067", "B30", 1.0, 1]) == 2
    assert found.ignored == {
        ".DS_Store": 2, "Thumbs.db": 1, "file without extension": 1, ".csv": 2, ".npz": 1, "other file": 1, "DICOMDIR": 1,
        "macOS resource fork": 1,
    }  # fmt: skip


def test_projection_folder_is_skipped_with_one_warning(tmp_path):
    both_doses(tmp_path, "flat thickness")
    for i in range(3):
        trees.projection(tmp_path / "L067" / "full_DICOM-CT-PD" / f"L067_FD_1_1.CT.{i}.dcm")
    found = discover(tmp_path)
    assert found.ignored == {"projection data": 3} and len(found.pairs["L067", "B30", 1.0, 1]) == 2
    assert [(p.kind, p.count) for p in found.problems] == [
        ("other image", 3)
    ] and "3 file(s) skipped" in found.problems[0].what


def test_other_modalities_are_skipped_with_one_warning_each(tmp_path):
    trees.simulated(tmp_path)
    for i in range(2):
        trees.one(tmp_path / f"report{i}.dcm", Modality="SR")
    found = discover(tmp_path)
    assert found.ignored == {"modality SR": 2} and len(found.problems) == 1


@pytest.mark.parametrize("make", ["missing", "empty", "clutter", "file", "zip", "projections"])
def test_empty_or_wrong_folder_fails_at_once(tmp_path, make):
    root = tmp_path / "data"
    expected = {
        "missing": "does not exist", "file": "is a file", "empty": "found no files", "clutter": "found 2 .csv",
        "zip": "unzip the archives first", "projections": "2 projection data",
    }[make]  # fmt: skip
    if make != "missing":
        root.write_text("") if make == "file" else root.mkdir()
    for i in range(2):
        if make in ("clutter", "zip"):
            (root / f"{i}.{'csv' if make == 'clutter' else 'zip'}").write_text("x")
        elif make == "projections":
            trees.projection(root / f"{i}.dcm")
    with pytest.raises(CohortError, match=re.escape(expected)) as error:
        discover(root)
    assert str(root) in str(error.value) and "DATA=" in str(error.value) and "\n" not in str(error.value)


def test_unknown_data_counts_as_normal_dose_with_a_warning(tmp_path):
    trees.foreign(tmp_path)
    found = discover(tmp_path)
    (key,) = found.series
    assert found.collection == "other" and key.dose == "full" and re.fullmatch("P[0-9a-f]{8}", key.patient)
    assert kinds(found) == {"dose assumed": 2, "no partner": 2} and len(found.problems) == 2
    assert "Doe" not in repr([problem.what for problem in found.problems])


def test_unknown_data_with_dose_folders_is_paired(tmp_path):
    trees.foreign(tmp_path, "hospital/LDCT")
    trees.foreign(tmp_path, "hospital/NDCT")
    found = discover(tmp_path)
    assert [len(pairs) for pairs in found.pairs.values()] == [2] and not found.problems


def test_a_lumbar_folder_does_not_make_a_mayo_patient(tmp_path):
    trees.foreign(tmp_path, "L123")
    assert discover(tmp_path).collection == "other"


def test_slices_of_a_paired_collection_without_dose_are_left_out(tmp_path):
    trees.tcia(tmp_path, "L004")
    for i, path in enumerate(trees.tcia(tmp_path, "L096")[:2]):
        path.rename(tmp_path / f"{i}.dcm")
        trees.edit(tmp_path / f"{i}.dcm", SeriesDescription=None)
    assert kinds(discover(tmp_path)) == {"no dose": 2, "no partner": 2}


def test_symbolic_links_are_followed_once(tmp_path):
    both_doses(tmp_path / "disk", "flat thickness")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "L067").symlink_to(tmp_path / "disk" / "L067")
    (tmp_path / "disk" / "L067" / "loop").symlink_to(tmp_path / "disk" / "L067")
    found = discover(tmp_path / "data")
    assert Counter(len(slices) for slices in found.series.values()) == {2: 2} and not found.problems


def test_processes_give_the_same_result(tmp_path, monkeypatch):
    both_doses(tmp_path, "flat thickness", z=[i * 0.8 for i in range(40)])
    (tmp_path / "bad.dcm").write_text("no")
    trees.one(tmp_path / "other.dcm", Modality="MR")
    monkeypatch.setattr(workers, "POOL_FROM", 1)
    one, two = discover(tmp_path), discover(tmp_path, jobs=2)
    assert one.series == two.series and one.pairs == two.pairs and one.problems == two.problems
    assert one.ignored == two.ignored == {"modality MR": 1} and kinds(two) == {"unreadable": 1, "other image": 1}


def test_a_problem_keeps_the_parts_of_its_error(tmp_path):
    error = DicomError("two; parts", where=tmp_path, remedy="do this; or that")
    problem = Problem(tmp_path, error.code, error.what, error.remedy)
    assert (problem.kind, problem.what, problem.remedy) == ("unreadable", "two; parts", "do this; or that")
    assert str(problem) == str(error) == f"{tmp_path}: two; parts; do this; or that"
