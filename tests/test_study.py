"""Profiles, choices from the environment, and what is refused."""

import pytest
import yaml

from lib.artifacts.cache import digest
from lib.errors import StudyError
from lib.paper import published
from lib.study.choices import portable
from lib.study.config import load_study, profiles
from lib.study.paths import PROFILES
from lib.study.runs import Run
from lib.study.sections import Split


def test_every_profile_is_valid_and_paper_is_table_2(monkeypatch, tmp_path):
    assert profiles() == ["smoke", "demo", "paper", "real"]
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("paper")
    settings = study.training.model_dump() | {"channels": study.unet.channels, "seed": study.seed}
    assert [settings[name] for name, _, _ in published.TABLE_2] == [value for _, _, value in published.TABLE_2]
    assert study.cohort.split is None and not study.compute.deterministic
    assert study.unet.output_bias == "zero" and study.calibration.state == "published"
    layers = {name: study.configurations[name].layer_names for name in ("E1", "E2", "mse")}
    assert layers == {"E1": ("block3_conv2",), "E2": ("block5_conv4",), "mse": ()}


def test_demo_is_the_default_and_splits_7_1_8():
    study = load_study()
    assert study.profile == "demo" and study.simulated
    assert [len(part) for part in study.cohort.split.parts().values()] == [7, 1, 8]
    assert study.configurations["E4"].layer_names == ("block5_conv3",)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("PROFILE", "dmeo", "PROFILE=dmeo is not a profile: choose one of smoke, demo, paper"),
    ("DATA", "/no/such/folder", "DATA=/no/such/folder does not exist; pass a folder"),
    ("VGG19_WEIGHTS", "/no/such.h5", "VGG19_WEIGHTS=/no/such.h5 does not exist; pass a file"),
    ("ENCODER", "resnet", "ENCODER=resnet is not an encoder; choose one of vgg16, vgg19"),
    ("LAMBDA", "exact", "LAMBDA=exact is not a choice; choose published, untrained or pilot"),
])
def test_wrong_choices_are_named_with_the_right_ones(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(StudyError, match=message):
        load_study()


def test_paper_profile_without_data_says_what_to_pass():
    with pytest.raises(StudyError, match="pass DATA=folder"):
        load_study("paper")


@pytest.mark.parametrize(("text", "state", "rule"), [
    ("published", "published", "decade"), ("pilot-exact", "pilot", "exact"), ("untrained-decade", "untrained", "decade"),
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
    assert study.simulated and study.cohort.simulation is None and study.cohort.split.test[0] == "SIM09"


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


def test_seeds_are_so_many_from_the_first(monkeypatch):
    monkeypatch.setenv("SEEDS", "3")
    assert load_study("smoke").seeds == (5, 6, 7)
    for wrong in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("SEEDS", wrong)
        with pytest.raises(StudyError, match=f"SEEDS={wrong} is no number of seeds"):
            load_study("smoke")


def test_the_pilots_own_fields_are_those_of_training(monkeypatch):
    monkeypatch.setenv("SET", "pilot.lr=5e-4 pilot.epochs=3")
    study = load_study("smoke")
    pilot, arm = study.training_of(study.pilot_run), study.training_of(Run("E1", 5))
    assert (pilot.lr, pilot.epochs, pilot.start) == (5e-4, 3, "scratch") and arm == study.training and arm.start == "pilot"
    for wrong, message in (("pilot.lr=-1", "pilot.lr: .*greater than 0"), ("pilot.speed=2", "pilot.speed: .*not permitted")):
        monkeypatch.setenv("SET", wrong)
        with pytest.raises(StudyError, match=message):
            load_study("smoke")
    monkeypatch.setenv("SET", "training.start=scratch")
    assert load_study("demo").pilots() == [] and load_study("demo").pilot_run == Run("mse", 5)


def test_how_many_stages_run_at_once_is_the_profiles_and_changes_no_result(monkeypatch):
    one = load_study("smoke")
    monkeypatch.setenv("SET", "jobs=3")
    assert (one.jobs, load_study("smoke").jobs, load_study("demo").jobs) == (1, 3, 3)
    assert digest(load_study("smoke")) == digest(one)


def test_set_changes_any_field(monkeypatch):
    monkeypatch.setenv("SET", "training.batch=8 compute.precision=mixed_bfloat16 cohort.simulation.seed=7 seeds=[6,5] "
                       "training.lr=2e-3 cohort.split.test=[SIM04] training.max_patches.train=8")
    study = load_study("smoke")
    assert (study.training.batch, study.compute.precision, study.cohort.simulation.seed) == (8, "mixed_bfloat16", 7)
    assert study.seeds == (6, 5) and study.training.max_patches == {"train": 8, "validation": 8}
    assert study.training.lr == 2e-3 and study.cohort.split.test == ("SIM04",)


@pytest.mark.parametrize(("text", "message"), [
    ("training.bacth=8", "field training.bacth: .*not permitted"),
    ("trianing.batch=8", "field trianing: .*not permitted"),
    ("batch=8", "field batch: .*not permitted"),
    ("training.lr.a=1", "field training.lr: .*valid number"),
    ("training.batch=zero", "field training.batch: "),
    ("training.batch", "SET: training.batch is no field=value; for example"),
    ("=8", "SET: =8 is no field=value"),
    ("training..batch=8", "is no field=value"),
    ("training.lr=[", "the value is not YAML"),
    ("training.lr=${", "the value is not YAML"),
    ("training=8", "field training: "),
])
def test_set_refuses_what_is_no_field_or_no_value(monkeypatch, text, message):
    monkeypatch.setenv("SET", f"seeds=[5] {text}")
    with pytest.raises(StudyError, match=message) as caught:
        load_study("smoke")
    assert "\n" not in str(caught.value)


def own(tmp_path, monkeypatch, text):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("EXPERIMENTS", str(path))
    return load_study("smoke")


def test_experiments_of_the_users_own(tmp_path, monkeypatch):
    study = own(tmp_path, monkeypatch, """
losses:
  several: {layers: {block2_conv2: 1, block4_conv3: 0.5}, distance: l1, lambda: {psi: 0.9}}
  fixed: {layers: [block1_conv1], lambda: 0.01}
seeds: [5, 6]
""")
    assert study.experiments == ("mse", "baseline", "E1", "E2", "E3", "E4", "several", "fixed")
    several = study.configurations["several"]
    assert several.layers == (("block2_conv2", 1.0), ("block4_conv3", 0.5)) and several.distance == "l1"
    assert several.encoder == "vgg16" and several.lambda_.psi == 0.9 and study.configurations["fixed"].lambda_.value == 0.01
    assert len(study.runs()) == 16 and str(study.runs()[-1]) == "fixed, seed 6"
    study = own(tmp_path, monkeypatch, "experiments: [E1, mse]")
    assert study.experiments == ("E1", "mse") and study.seeds == (5,)


@pytest.mark.parametrize(("text", "message"), [
    ("loses: {}", "own.yaml: there is no field loses, choose from losses, experiments, seeds"),
    ("- a", "expected a mapping"),
    ("", "expected a mapping"),
    ("losses: {x: [", "not YAML"),
    ("losses: [x]", "losses: expected a mapping of names"),
    ("losses: {a/b: {layers: [block1_conv1]}}", "a/b is no name"),
    ("losses: {ldct: {layers: [block1_conv1]}}", "ldct is no name"),
    ("losses: {x: {layer: [block1_conv1]}}", "layer: no field of a loss, choose from"),
    ("losses: {x: {layers: []}}", "profile smoke: losses.x.layers: name at least one"),
    ("losses: {x: {layers: 5}}", "losses.x"),
    ("losses: {x: {layers: [block1_conv1], pixel_weight: heavy}}", "losses.x"),
    ("losses: {x: {layers: [block1_conv1], encoder: vgg11}}", "losses.x.encoder: vgg11"),
    ("losses: {x: {layers: [block1_conv1], lambda: much}}", "lambda: 'much', expected a number"),
    ("experiments: [E9]", "E9 is no loss"),
    ("experiments: []", "expected at least one"),
    ("seeds: [5, 5]", "seeds: expected at least one, each once"),
    ("seeds: [five]", "field seeds"),
])
def test_experiments_that_cannot_be_are_one_line(tmp_path, monkeypatch, text, message):
    with pytest.raises(StudyError, match=message) as caught:
        own(tmp_path, monkeypatch, text)
    assert "\n" not in str(caught.value)


def test_choices_travel_with_absolute_paths(tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text("seeds: [7]", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    taken = portable({"EXPERIMENTS": "own.yaml", "LAMBDA": "pilot", "SET": "", "HOME": "/elsewhere"})
    assert taken["EXPERIMENTS"] == str(tmp_path / "own.yaml") and taken["LAMBDA"] == "pilot"
    assert taken["SET"] is None and taken["DATA"] is None and "HOME" not in taken


@pytest.mark.parametrize(("content", "message"), [
    ("patient,subset\nM\u00fcller,train\n".encode("latin-1"), "is no text in UTF-8; save it as CSV in UTF-8"),
    ("patient,subset\nA,train\n".encode("utf-16"), "is no text in UTF-8"),
    (b"patient,subset\n" + b"A" * 200_000 + b",train\n", "no table"),
    (b"patient,subset\nSIM01,train\nSIM01,train\nSIM02,validation\nSIM03,test\n", "stand more than once in train"),
])
def test_a_split_that_cannot_be_read_is_one_line(content, message, monkeypatch, tmp_path):
    (tmp_path / "split.csv").write_bytes(content)
    monkeypatch.setenv("SPLIT", str(tmp_path / "split.csv"))
    with pytest.raises(StudyError, match=message):
        load_study("smoke")


@pytest.mark.parametrize(("name", "value", "message"), [
    ("SET", "training.batch=1e23", "field training.batch: .*exceeded maximum size"),
    ("SET", f"training.batch={10**23}", "field training.batch: .*less than or equal to 4096"),
    ("SET", "training.epochs=1000000000000", "field training.epochs: .*less than 2147483648"),
    ("SET", "training.lr=.inf", "field training.lr: .*finite number"),
    ("SET", "training.beta_1=.nan", "field training.beta_1: .*(finite number|less than 1)"),
    ("SET", "training.beta_2=7", "field training.beta_2: .*less than 1"),
    ("SET", "training.patch_size=1", "field training.patch_size: .*multiple of 16"),
    ("SET", "training.patch_size=40", "field training.patch_size: .*multiple of 16"),
    ("SET", "unet.channels=1e9", "field unet.channels: .*less than or equal to 1024"),
    ("SET", "cohort.simulation=null", "reads real scans: pass DATA=folder"),
    ("SET", "cohort=null", "field cohort: .*valid dictionary"),
    ("SET", "seed=-1", "field seed: .*not permitted"),
    ("SET", "seeds=[-1]", "field seeds.0: .*greater than or equal to 0"),
    ("SET", "cohort.split_seed=-1", "field cohort.split_seed: .*greater than or equal to 0"),
    ("SET", "cohort.simulation.seed=-1", "field cohort.simulation.seed: .*greater than or equal to 0"),
    ("DATA", "~nouser", "DATA=~nouser does not exist; pass a folder"),
    ("DATA", "/" + "a/" * 3000, "does not exist; pass a folder"),
    ("SPLIT", "/" + "long" * 100, "does not exist; pass a file"),
    ("OUTPUT", "~nouser", "OUTPUT=~nouser is no folder .*; pass the path of one"),
])
def test_values_beyond_all_bounds_are_one_line(name, value, message, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(StudyError, match=message) as caught:
        load_study("smoke").paths.of("smoke")
    assert "\n" not in str(caught.value)
