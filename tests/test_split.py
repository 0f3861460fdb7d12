"""No patient in two subsets, whoever divides them: the user, the paper or the seed."""

import pandas as pd
import pytest

from lib.data.patients import pseudonym
from lib.data.split import describe, patients, random_split, split_pairs
from lib.errors import CohortError, StudyError
from lib.paper import published
from lib.study.config import Cohort, load_study


def split_table(*patients):
    return pd.DataFrame({"patient": list(patients), "index": range(len(patients))})


def test_split_divides_by_patient():
    parts = split_pairs(
        split_table("A", "B", "C", "A"), {"train": ["A"], "validation": ["B"], "test": ["C"]}, warn=pytest.fail
    )
    assert {name: part["patient"].tolist() for name, part in parts.items()} == {
        "train": ["A", "A"],
        "validation": ["B"],
        "test": ["C"],
    }


@pytest.mark.parametrize(
    "split, message",
    [
        ({"train": ["A", "B"], "validation": ["B"], "test": ["C"]}, "patient B is in both train and validation"),
        ({"train": ["A", "L096"], "validation": ["B"], "test": ["L097"]}, "L096 is in both train and test"),
        ({"train": ["A"], "validation": ["B"], "test": ["Z"]}, "no pairs for test"),
        ({"train": ["A"], "validation": [], "test": ["C"]}, "no pairs for validation"),
        ({"train": ["A"], "test": ["C"]}, "expected train, validation, test"),
    ],
)
def test_leakage_and_empty_subsets_are_errors(split, message):
    with pytest.raises(CohortError, match=message):
        split_pairs(split_table("A", "B", "C", "L096"), split, warn=lambda text: None)


def test_split_warns_of_patients_on_one_side_only():
    told = []
    parts = split_pairs(
        split_table("A", "B", "C", "D"), {"train": ["A", "Q"], "validation": ["B"], "test": ["C"]}, warn=told.append
    )
    assert sum(map(len, parts.values())) == 3
    assert len(told) == 2 and "Q" in told[0] and "D" in told[1]


def test_split_accepts_l097_for_l096():
    told = []
    parts = split_pairs(
        split_table("A", "B", "L096"), {"train": ["A"], "validation": ["B"], "test": ["L097"]}, warn=told.append
    )
    assert parts["test"]["patient"].tolist() == ["L096"] and "L096" in told[0]


def test_without_a_split_mayo_gets_the_papers_and_others_the_seeds():
    cohort, present = Cohort(split_seed=3), [f"C{number:03d}" for number in range(10)]
    assert patients(cohort, published.SPLIT["test"], "mayo2016") == {name: list(part) for name, part in published.SPLIT.items()}
    assert patients(cohort, present, "tcia") == random_split(present, 3)
    assert describe(cohort, "tcia") == "patients divided at random, seed 3"
    assert describe(cohort, "mayo2016") == "the paper's split"


def test_random_split_divides_each_anatomy_alike_and_forgets_the_order_of_files():
    present = [f"{letter}{number:03d}" for letter in "CLN" for number in range(20)]
    parts = random_split(present, 5)
    assert {name: len(part) for name, part in parts.items()} == {"train": 42, "validation": 6, "test": 12}
    for name, count in {"train": 14, "validation": 2, "test": 4}.items():
        assert pd.Series(parts[name]).str[0].value_counts().tolist() == [count] * 3
    assert sorted(sum(parts.values(), [])) == present
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
