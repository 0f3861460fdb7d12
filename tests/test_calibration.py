"""Algorithm 2 in one pass, against the plain way; and the one setting that chooses lambda."""

import numpy as np
import pandas as pd
import pytest
from lib.perceptual.influence import mse_loss, perceptual_loss, psi_algorithm2, psi_eq5

from lib.data.patches import Patches
from lib.networks.vgg import encoder
from lib.paper import published
from lib.stages import calibrate
from lib.stages.calibrate import chosen_lambda
from lib.stages.train import load_unet, new_unet
from lib.study.config import load_study

LOSSES = {
    "untrained": pd.DataFrame({"mse": [0.02, 0.04], **{name: [3.0, 5.0] for name in published.CALIBRATED}}),
    "trained": pd.DataFrame({"mse": [1e-4, 3e-4], **{name: [0.1, 0.3] for name in published.CALIBRATED}}),
}


def test_one_pass_gives_what_one_configuration_at_a_time_gives(smoke_study):
    patches = Patches(smoke_study, "train")
    ldct, ndct = (patches.images(patches.index, dose) for dose in ("ldct", "ndct"))
    found = calibrate.pair_losses(smoke_study)
    for state, network in {"untrained": new_unet(smoke_study), "trained": load_unet(smoke_study, "mse")}.items():
        output = network(ldct)
        np.testing.assert_allclose(found[state]["mse"], mse_loss(output, ndct), rtol=1e-4)
        for name in published.CALIBRATED:
            features = encoder(smoke_study, published.EXPERIMENTS[name].context, smoke_study.phi(name))
            np.testing.assert_allclose(found[state][name], perceptual_loss(features(output), features(ndct)), rtol=2e-3)
    assert len(found["trained"]) == len(patches)


def test_the_table_holds_both_definitions_at_the_lambda_used(smoke_study):
    losses, table = calibrate.pair_losses(smoke_study), pd.read_csv(smoke_study.paths.calibrated)
    assert table.groupby("experiment").size().to_dict() == dict.fromkeys(["baseline", *published.CALIBRATED], 2)
    for row in table.itertuples():
        pairs = losses[row.state]
        column = "E2" if row.experiment == "baseline" else row.experiment
        assert row.psi_alg2 == pytest.approx(float(psi_algorithm2(pairs["mse"], pairs[column], row.lambda_used)))
        assert row.psi_eq5 == pytest.approx(float(psi_eq5(pairs["mse"], pairs[column], row.lambda_used)))
        assert psi_algorithm2(pairs["mse"], pairs[column], row.lambda_exact) == pytest.approx(0.95, abs=1e-12)
        assert row.lambda_used == (0.1 if row.experiment == "baseline" else
                                   table.set_index(["experiment", "state"])["lambda_decade"][row.experiment, "untrained"])


@pytest.mark.parametrize(("setting", "expected"), [
    ("untrained", 1e-1), ("untrained-exact", 19 * 0.06 / 8), ("trained", 1e-2), ("trained-exact", 19 * 4e-4 / 0.4),
    ("published", 1e-5), ("published-exact", 19 * 9.700160e-5 / 422.3484),
])
def test_lambda_setting_decides(monkeypatch, setting, expected):
    monkeypatch.setenv("LAMBDA", setting)
    study = load_study("smoke")
    assert chosen_lambda(study, "E1", LOSSES) == pytest.approx(expected, rel=1e-9)
    assert chosen_lambda(study, "baseline", LOSSES) == 0.1 and chosen_lambda(study, "mse", LOSSES) == 0.0


def test_calibration_trains_no_second_pilot(smoke_study, monkeypatch):
    monkeypatch.setattr(calibrate, "_measure", None)
    monkeypatch.setattr("lib.stages.train.Patches", None)
    assert set(calibrate.pair_losses(smoke_study)) == {"untrained", "trained"}
