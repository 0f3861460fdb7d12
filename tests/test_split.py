"""No patient in two subsets, whoever divides them: the user, the paper or the seed."""

from itertools import chain

import pandas as pd
import pytest

from lib.data.patients import pseudonym
from lib.data.split import describe, patients, random_split, remarks, split_pairs
from lib.errors import CohortError, StudyError
from lib.paper import published
from lib.study import load_study


def split_table(*patients):
    return pd.DataFrame({"patient": list(patients), "index": range(len(patients))})


def test_split_divides_by_patient():
    split = {"train": ["A"], "validation": ["B"], "test": ["C"]}
    parts = split_pairs(split_table("A", "B", "C", "A"), split)
    assert remarks("ABC", split) == []
    assert {name: part["patient"].tolist() for name, part in parts.items()} == {
        "train": ["A", "A"],
        "validation": ["B"],
        "test": ["C"],
    }


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": ["A", "B"], "validation": ["B"], "test": ["C"]}, "patient B is in both train and validation"),
        ({"train": ["A", "L096"], "validation": ["B"], "test": ["L097"]}, "L096 is in both train and test"),
        ({"train": ["A"], "validation": ["B"], "test": ["Z"]}, "no pairs for test"),
        ({"train": ["A"], "validation": [], "test": ["C"]}, "no pairs for validation"),
    ],
)
def test_leakage_and_empty_subsets_are_errors(split, message):
    with pytest.raises(CohortError, match=message):
        split_pairs(split_table("A", "B", "C", "L096"), split)


def test_a_split_of_other_subsets_is_a_wrong_argument():
    with pytest.raises(ValueError, match="expected train, validation, test"):
        split_pairs(split_table("A", "B"), {"train": ["A"], "test": ["B"]})


def test_patients_on_one_side_only_are_remarked():
    split = {"train": ["A", "Q"], "validation": ["B"], "test": ["C"]}
    assert sum(map(len, split_pairs(split_table("A", "B", "C", "D"), split).values())) == 3
    found = remarks("ABCD", split)
    assert len(found) == 2 and "no pairs of Q" in found[0] and "D are in the data" in found[1]


def test_split_accepts_l097_for_l096():
    split = {"train": ["A"], "validation": ["B"], "test": ["L097"]}
    assert split_pairs(split_table("A", "B", "L096"), split)["test"]["patient"].tolist() == ["L096"]
    assert remarks(["A", "B", "L096"], split) == ["split: L097 is read as L096 (a misprint in the paper)"]


def test_without_a_split_mayo_gets_the_papers_and_others_the_seeds():
    present = [f"C{number:03d}" for number in range(10)]
    papers = {name: list(part) for name, part in published.SPLIT.items()}
    assert patients(None, 3, published.SPLIT["test"], "mayo2016") == papers
    assert patients(None, 3, present, "tcia") == random_split(present, 3)
    own = {"train": ["A"], "validation": ["B"], "test": ["C"]}
    assert patients(own, 3, present, "mayo2016") == own and describe(own, 3, "tcia") == "split of the profile or of SPLIT"
    assert describe(None, 3, "tcia") == "patients divided at random, seed 3"
    assert describe(None, 3, "mayo2016") == "the paper's split"


def test_random_split_divides_each_anatomy_alike_and_forgets_the_order_of_files():
    present = [f"{letter}{number:03d}" for letter in "CLN" for number in range(20)]
    parts = random_split(present, 5)
    assert {name: len(part) for name, part in parts.items()} == {"train": 42, "validation": 6, "test": 12}
    for name, count in {"train": 14, "validation": 2, "test": 4}.items():
        assert pd.Series(parts[name]).str[0].value_counts().tolist() == [count] * 3
    assert sorted(chain.from_iterable(parts.values())) == present
    assert random_split(present[::-1] + present, 5) == parts and random_split(present, 6) != parts


@pytest.mark.parametrize("count", [3, 4, 5])
def test_few_patients_still_fill_every_subset(count):
    parts = random_split([f"P0000000{number}" for number in range(count)], 1)
    assert all(parts.values()) and sum(map(len, parts.values())) == count


def test_two_patients_cannot_be_divided():
    with pytest.raises(CohortError, match=r"2 patient\(s\) with pairs \(A, B\) cannot be divided"):
        random_split(["A", "B", "A"], 1)


def test_a_users_file_holds_identifiers_that_no_output_gets(tmp_path, monkeypatch):
    file = tmp_path / "split.csv"
    file.write_text("patient,subset\nL004,train\nDoe^Jane,validation\nPdeadbeef,test\n", encoding="utf-8")
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.setenv("SPLIT", str(file))
    study = load_study("demo")
    assert study.cohort.split.parts() == {"train": ["L004"], "validation": [pseudonym("Doe^Jane")], "test": ["Pdeadbeef"]}
    assert "Doe" not in study.model_dump_json()


@pytest.mark.parametrize("text", ["patient;subset\nA;train\n", "patient,subset\nA,training\n", "patient,subset\nA\n"])
def test_a_split_file_that_is_none_is_one_clear_line(tmp_path, monkeypatch, text):
    file = tmp_path / "split.csv"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SPLIT", str(file))
    with pytest.raises(StudyError, match="line 2: expected the columns patient,subset"):
        load_study("smoke")
