"""Profiles, choices from the environment, and what is refused."""

import pytest
import yaml

from lib.errors import StudyError
from lib.paper import published
from lib.study.config import Split, load_study, profiles
from lib.study.paths import PROFILES


def test_every_profile_is_valid_and_paper_is_table_2(monkeypatch, tmp_path):
    assert profiles() == ["smoke", "demo", "paper"]
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("paper")
    settings = study.training.model_dump() | {"channels": study.unet.channels}
    assert {name: settings[name] for name, _, _ in published.TABLE_2} == {name: value for name, _, value in published.TABLE_2}
    assert study.cohort.split is None and not study.compute.deterministic
    assert study.unet.output_bias == "zero" and study.calibration.state == "published"
    assert [study.phi(name) for name in ("E1", "E2", "mse")] == ["block3_conv2", "block5_conv4", None]


def test_demo_is_the_default_and_splits_7_1_2():
    study = load_study()
    assert study.profile == "demo" and study.simulated
    assert [len(part) for part in study.cohort.split.parts().values()] == [7, 1, 2]
    assert study.phi("E4") == "block5_conv3"


@pytest.mark.parametrize(("name", "value", "message"), [
    ("PROFILE", "dmeo", "PROFILE=dmeo is not a profile: choose one of smoke, demo, paper"),
    ("DATA", "/no/such/folder", "DATA=/no/such/folder does not exist: pass a folder"),
    ("VGG19_WEIGHTS", "/no/such.h5", "VGG19_WEIGHTS=/no/such.h5 does not exist: pass a file"),
    ("ENCODER", "resnet", "ENCODER=resnet is not an encoder: choose one of vgg16, vgg19"),
    ("LAMBDA", "exact", "LAMBDA=exact is not a choice: published, untrained or trained"),
])
def test_wrong_choices_are_named_with_the_right_ones(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(StudyError, match=message):
        load_study()


def test_paper_profile_without_data_says_what_to_pass():
    with pytest.raises(StudyError, match="pass DATA=folder"):
        load_study("paper")


@pytest.mark.parametrize(("text", "state", "rule"), [
    ("published", "published", "decade"), ("trained-exact", "trained", "exact"), ("untrained-decade", "untrained", "decade"),
])
def test_lambda_setting(monkeypatch, text, state, rule):
    monkeypatch.setenv("LAMBDA", text)
    assert load_study().calibration.model_dump(include={"state", "rule"}) == {"state": state, "rule": rule}


def test_unknown_and_misspelt_keys_are_refused(monkeypatch, tmp_path):
    settings = yaml.safe_load((PROFILES / "smoke.yaml").read_text(encoding="utf-8"))
    settings["training"]["bacth"] = 3
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    monkeypatch.setattr("lib.study.config.PROFILES", tmp_path)
    with pytest.raises(StudyError, match=r"profile smoke, field training.bacth: .*not permitted"):
        load_study("smoke")


@pytest.mark.parametrize("test", ["L067", "L096", "L097"])
def test_a_patient_in_two_subsets_is_refused_under_any_name(test):
    with pytest.raises(ValueError, match="more than one subset"):
        Split(train=("L067", "L097"), validation=("L192",), test=(test, "L506"))


def test_data_replaces_the_simulated_cohort_and_its_split(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("demo")
    assert not study.simulated and study.cohort.split is None and study.data == tmp_path


def test_a_folder_of_our_own_simulation_stays_simulated_and_keeps_its_split(monkeypatch, tmp_path):
    (tmp_path / "contents.csv").write_text("file,sha256\n", encoding="utf-8")
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("demo")
    assert study.simulated and study.cohort.simulation is None and study.cohort.split.test == ("SIM09", "SIM10")


def test_insertion_reads_the_scans_of_data_and_makes_a_cohort_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("INSERT", "0.1")
    with pytest.raises(StudyError, match="INSERT needs normal-dose scans: pass DATA=folder"):
        load_study("demo")
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("demo")
    assert study.cohort.insertion.dose_fraction == 0.1 and study.cohort.split is None
    assert study.cohort.data == tmp_path and study.data == study.paths.inserted and not study.simulated
    monkeypatch.setenv("INSERT", "1.5")
    with pytest.raises(StudyError, match="cohort.insertion.dose_fraction: .*less than 1"):
        load_study("demo")


def test_set_changes_any_field_and_refuses_what_is_none(monkeypatch):
    monkeypatch.setenv("SET", "training.batch=8 compute.precision=mixed_bfloat16 cohort.simulation.seed=7")
    study = load_study("smoke")
    assert (study.training.batch, study.compute.precision, study.cohort.simulation.seed) == (8, "mixed_bfloat16", 7)
    for text, message in {"training.bacth=8": "field training.bacth: .*not permitted", "batch=8": "no section.field=value",
                          "training.batch": "no section.field=value", "training.lr=[": "the value is not YAML",
                          "training.lr.a=1": "no section.field=value",
                          "training.batch=zero": "field training.batch"}.items():
        monkeypatch.setenv("SET", text)
        with pytest.raises(StudyError, match=message):
            load_study("smoke")
