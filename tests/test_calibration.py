"""Algorithm 2 in one pass, against the plain way; which setting chooses lambda; and no lambda of another calibration."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lib.artifacts.cache import Step
from lib.errors import StageError, StudyError
from lib.paper import published
from lib.perceptual.configuration import LambdaRule
from lib.perceptual.losses import distance
from lib.perceptual.psi import psi, psi_algorithm2
from lib.report.labels import Labels
from lib.stages import calibrate, inputs
from lib.stages.calibrate import chosen_lambda, lambda_used
from lib.stages.train import load_unet, new_unet
from lib.study import load_study

PAPER = tuple(published.PUBLISHED_LOSSES)
LOSSES = {
    "untrained": pd.DataFrame({"mse": [0.02, 0.04], **{name: [3.0, 5.0] for name in PAPER}}),
    "pilot": pd.DataFrame({"mse": [1e-4, 3e-4], **{name: [0.1, 0.3] for name in PAPER}}),
}


def of(study, experiment: str) -> float:
    return chosen_lambda(experiment, study.lambda_rule(study.configurations[experiment]), LOSSES)


def test_one_pass_gives_what_one_configuration_at_a_time_gives(smoke_study):
    patches = inputs.patches(smoke_study, "train", 5)
    ldct, ndct = (patches.images(patches.index, dose) for dose in ("ldct", "ndct"))
    found = calibrate.pair_losses(smoke_study)
    networks = {"untrained": new_unet(smoke_study.unet, 5, patches),
                "pilot": load_unet(smoke_study.unet, smoke_study.paths.weights(smoke_study.pilot_run))}
    for state, network in networks.items():
        output = network(ldct)
        np.testing.assert_allclose(found[state]["mse"], distance(output, ndct), rtol=1e-4)
        for name, loss in smoke_study.calibrated.items():
            features = inputs.encoder(smoke_study.weights, loss.encoding, *loss.layer_names)
            np.testing.assert_allclose(found[state][name], distance(features(output), features(ndct)), rtol=2e-3)
    assert len(found["pilot"]) == len(patches)


def test_the_table_holds_both_definitions_at_the_lambda_used(smoke_study):
    losses, table = calibrate.pair_losses(smoke_study), pd.read_csv(smoke_study.paths.calibrated)
    middle = ["ImageNet middle", "Medical middle"]
    assert table.groupby("experiment").size().to_dict() == dict.fromkeys(["baseline", *PAPER, *middle], 2)
    nobodys = table[table["experiment"].isin(middle)]
    assert nobodys[["lambda_used", "psi_eq5", "psi_alg2"]].isna().all(axis=None) and (nobodys["lambda_exact"] > 0).all()
    assert set(nobodys["phi"]) == {"block4_conv3"}
    assert set(table["seed"]) == {5}
    for row in table.itertuples():
        pairs = losses[row.state]
        assert psi_algorithm2(pairs["mse"], pairs[row.experiment], row.lambda_exact) == pytest.approx(0.95, abs=1e-12)
        if row.experiment in middle:
            continue
        assert row.psi_alg2 == pytest.approx(float(psi_algorithm2(pairs["mse"], pairs[row.experiment], row.lambda_used)))
        assert row.psi_eq5 == pytest.approx(float(psi(pairs["mse"], pairs[row.experiment], row.lambda_used)))
        assert row.lambda_used == (0.1 if row.experiment == "baseline" else
                                   table.set_index(["experiment", "state"])["lambda_decade"][row.experiment, "untrained"])


@pytest.mark.parametrize(("setting", "expected"), [
    ("untrained", 1e-1), ("untrained-exact", 19 * 0.06 / 8), ("pilot", 1e-2), ("pilot-exact", 19 * 4e-4 / 0.4),
    ("published", 1e-5), ("published-exact", 19 * 9.700160e-5 / 422.3484),
])
def test_lambda_setting_decides(monkeypatch, setting, expected):
    monkeypatch.setenv("LAMBDA", setting)
    study = load_study("smoke")
    assert of(study, "E1") == pytest.approx(expected, rel=1e-9)
    assert of(study, "baseline") == 0.1 and of(study, "mse") == 0.0


@pytest.mark.parametrize(("rule", "expected"), [
    (2e-3, 2e-3), ({"psi": 0.5, "state": "pilot", "rounding": "exact"}, 1e-3), ({"state": "pilot"}, 1e-2),
])
def test_a_loss_may_bring_its_own_rule(study, rule, expected):
    mine = {"layers": "block3_conv2", "lambda": rule}
    study = type(study)(**study.model_dump() | {"losses": {"mine": mine}})
    losses = {state: table.assign(mine=table["E1"]) for state, table in LOSSES.items()}
    found = chosen_lambda("mine", study.lambda_rule(study.configurations["mine"]), losses)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("psi_", "rounding", "expected"), [
    (0.95, "decade", 1e-5), (0.5, "decade", 1e-7), (0.5, "exact", 9.700160e-5 / 422.3484)])
def test_a_published_lambda_is_of_the_psi_that_is_asked_for(psi_, rounding, expected):
    """Table 2's are for 0.95; others follow from the losses of the authors' own networks, 2.3e-7 for 0.5."""
    assert chosen_lambda("E1", LambdaRule(None, psi_, "published", rounding), {}) == pytest.approx(expected, rel=1e-9)


def test_a_lambda_that_nobody_published_is_refused(study):
    mine = {"losses": {"mine": {"layers": "block3_conv2"}}, "experiments": ["mse", "mine"]}
    study = type(study)(**study.model_dump() | mine)
    published_ones = study.model_copy(update={"calibration": study.calibration.model_copy(update={"state": "published"})})
    with pytest.raises(StudyError, match="losses.mine.lambda: the paper has no lambda for mine; give a number"):
        of(published_ones, "mine")


def test_published_lambdas_are_for_the_authors_encoders(tmp_path, monkeypatch):
    """The Medical encoder that is fine-tuned here is calibrated on the pilot; one that the user brings counts as theirs."""
    (tmp_path / "medical.weights.h5").write_bytes(b"")
    monkeypatch.setenv("DATA", str(tmp_path))
    study = load_study("paper")
    assert [of(study, name) for name in PAPER] == [1e-5, 1e-2, 1e-2, 1e-2], "of the pilot: 19 * 4e-4 / 0.4 = 1.9e-2"
    labels = Labels.of(study)
    assert "λ: published (E1, E2); pilot U-Net, decade (E3, E4) |" in labels.provenance
    assert [labels.experiments[name].lambda_rule for name in ("baseline", "E1", "E3")] == [
        "given", "published", "pilot U-Net, decade"]
    monkeypatch.setenv("MEDICAL_WEIGHTS", str(tmp_path / "medical.weights.h5"))
    brought = load_study("paper")
    assert [of(brought, name) for name in PAPER] == [published.LAMBDAS[name] for name in PAPER]
    assert "λ: published |" in Labels.of(brought).provenance


@pytest.mark.parametrize(("experiments", "middle"), [
    (("mse", "E1"), ["ImageNet middle"]), (("E4",), ["Medical middle"]), (("mse",), []),
])
def test_the_middle_depth_is_measured_in_the_contexts_of_the_study(study, experiments, middle):
    found = study.model_copy(update={"experiments": experiments}).calibrated
    assert list(found) == [*(name for name in experiments if name != "mse"), *middle]


def test_every_pilot_is_measured_and_the_first_chooses_lambda(study, monkeypatch):
    two = study.model_copy(update={"seeds": (5, 6), "experiments": ("mse", "E1"), "losses": {},
                                   "calibration": study.calibration.model_copy(update={"state": "pilot", "rule": "exact"})})
    pairs = pd.DataFrame({"mse": [1e-4, 3e-4], "E1": [10.0, 30.0], "ImageNet middle": [1.0, 1.0]})
    monkeypatch.setattr(calibrate, "pair_losses", lambda study, seed: {
        "untrained": pairs, "pilot": pairs.assign(E1=pairs["E1"] * seed)})
    monkeypatch.setattr(calibrate, "calibration_step", lambda study: Step(
        "calibration", study.paths.calibrated.with_suffix(".json"), set(), {}, {}, [study.paths.calibrated]))
    table = calibrate.calibrate(two).set_index(["experiment", "state", "seed"]).sort_index()
    exact = table["lambda_exact"]["E1", "pilot"]
    assert exact[5] == pytest.approx(19 * 1e-5 / 5) and exact[6] == pytest.approx(19 * 1e-5 / 6)
    assert (table["lambda_used"]["E1"] == exact[5]).all() and table["psi_alg2"]["E1", "pilot", 6] > 0.95
    scratch = two.model_copy(update={"training": study.training.model_copy(update={"start": "scratch"})})
    assert two.measured_seeds == [5, 6] and scratch.measured_seeds == [5]


def test_calibration_measures_nothing_twice(smoke_study, monkeypatch):
    monkeypatch.setattr(calibrate, "_measure", None)
    assert set(calibrate.pair_losses(smoke_study)) == {"untrained", "pilot"}


def test_without_a_pilot_it_says_where_to_get_one(study):
    with pytest.raises(StageError, match="the pilot, the network with MSE alone, is not trained; run notebook 02"):
        calibrate.pair_losses(study)


@pytest.mark.parametrize(("section", "changed"), [
    ("calibration", {"state": "pilot"}), ("calibration", {"target_psi": 0.9}), ("training", {"lr": 5e-4}),
])
def test_a_lambda_of_another_calibration_is_refused(smoke_study, section, changed):
    """`python -m lib train E1` after a change of LAMBDA once trained with the old one, silently."""
    other = smoke_study.model_copy(update={section: getattr(smoke_study, section).model_copy(update=changed)})
    assert lambda_used(smoke_study, "E1") > 0
    with pytest.raises(StageError, match="calibration.csv: this calibration was made with other .*run notebook 02"):
        lambda_used(other, "E1")
    assert lambda_used(other, "baseline") == 0.1 and lambda_used(other, "mse") == 0.0, "they need none"


def test_a_calibration_of_another_pilot_is_refused(smoke, tmp_path):
    for name in ("volumes", "medical", "calibration", "training"):
        shutil.copytree(smoke / "artifacts" / "smoke" / name, tmp_path / "artifacts" / "smoke" / name)
    study = load_study("smoke")
    assert lambda_used(study, "E1") > 0
    shutil.copy(study.paths.weights(study.runs()[1]), study.paths.weights(study.pilot_run))
    with pytest.raises(StageError, match="made with other settings"):
        lambda_used(study, "E1")
