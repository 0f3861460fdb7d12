"""Three states of Psi, the third from the last training epoch; lambda -> training -> lambda*; ours beside the authors'."""

import numpy as np
import pandas as pd
import pytest

from lib.paper import published
from lib.perceptual import presets
from lib.report import influence_tables
from lib.report.labels import Labels
from lib.stages import calibrate
from lib.stages.influence import encoder_comparison, last_epochs, self_consistency, three_states
from lib.study.runs import Run

RATIOS = {"untrained": 1e-3, "pilot": 1e-6}  # mse / pl of E1; ten times that at the middle depth, a hundred at the deep one
USED = {"E1": 1e-5, "E2": 1e-3, "baseline": 0.1}


@pytest.fixture
def calibration() -> pd.DataFrame:
    """Of E1, E2, the baseline and the middle depth, by the letter of :func:`lib.stages.calibrate.calibrate`."""
    rows = []
    for name, factor in {"baseline": 100, "E1": 1, "E2": 100, "ImageNet middle": 10}.items():
        loss = (presets.paper("vgg16") | presets.middle("vgg16"))[name]
        what = {"experiment": name, "seed": 5, "context": "ImageNet", "phi": loss.layer_names[0], "target_psi": 0.95,
                "lambda_used": USED.get(name, np.nan)}
        rows += [calibrate.influence(what | {"state": state}, [ratio / 2, ratio * 3 / 2], [1 / factor] * 2)
                 for state, ratio in RATIOS.items()]
    return pd.DataFrame(rows, columns=calibrate.COLUMNS)


def history(mse: float, pl: float) -> pd.DataFrame:
    return pd.DataFrame({"epoch": [1, 2], "mse": [9.0, mse], "pl": [9.0, pl]})


@pytest.fixture
def histories() -> dict[Run, pd.DataFrame]:
    """E1's two seeds differ: MSE 1e-6 and 3e-6 at PL 1; E2's are alike, the control has no PL."""
    return {Run("mse", 5): history(1e-6, np.nan), Run("E1", 5): history(1e-6, 1.0), Run("E1", 6): history(3e-6, 1.0),
            Run("E2", 5): history(2e-6, 0.02), Run("E2", 6): history(2e-6, 0.02)}


def test_a_run_is_shown_by_its_last_epoch_and_how_far_it_went(study):
    runs = {Run("E1", seed): pd.DataFrame({"epoch": [1, 2], "mse": [9.0, 2e-4], "val_mse": [9.0, 1e-4], "psi": [0.1, 0.9],
                                           "moved": [0.01, 0.02 * seed]}) for seed in (5, 6)}
    runs[Run("mse", 5)] = runs["E1", 5].assign(psi=np.nan)
    last = last_epochs(runs)
    assert last["moved"].tolist() == [0.1, 0.12, 0.1] and last["epoch"].tolist() == [2, 2, 2]
    shown = influence_tables.training_table(Labels.of(study), last).set_index("Experiment")
    assert shown.loc["E1", "Weights moved"] == "0.11 [0.1, 0.12]" and shown.loc["mse", "Ψ, last epoch"] == "–"
    assert shown.loc["E1", "Pixel term, validation"] == "1e-4" and shown.loc["E1", "Epochs"] == "2"


def test_own_is_the_last_epochs_ratio_at_the_lambda_used(calibration, histories):
    states = three_states(calibration, histories)
    pd.testing.assert_frame_equal(states.iloc[:len(calibration)], calibration)
    own = states[states["state"] == "own"].set_index(["experiment", "seed"])
    assert own.index.tolist() == [("E1", 5), ("E1", 6), ("E2", 5), ("E2", 6)] and list(states) == calibrate.COLUMNS
    assert own["psi_alg2"].tolist() == pytest.approx([10 / 11, 10 / 13, 10 / 11, 10 / 11])
    assert own["lambda_exact"].tolist() == pytest.approx([1.9e-5, 5.7e-5, 1.9e-3, 1.9e-3])
    assert own["lambda_decade"].tolist() == [1e-5, 1e-4, 1e-3, 1e-3] and own["psi_eq5"].isna().all()
    assert own["phi"].unique().tolist() == ["block3_conv2", "block5_conv3"]


def test_own_psi_is_the_one_that_the_training_logged(smoke_study):
    """Psi of the history is accumulated over the epoch's steps, by Algorithm 2."""
    histories = {run: pd.read_csv(smoke_study.paths.history(run)) for run in smoke_study.runs()}
    states = three_states(calibrate.load_calibration(smoke_study), histories)
    own = states[states["state"] == "own"]
    assert own["experiment"].tolist() == ["baseline", *published.CALIBRATED]
    logged = [histories[Run(row.experiment, row.seed)]["psi"].iloc[-1] for row in own.itertuples()]
    np.testing.assert_allclose(own["psi_alg2"], logged, rtol=1e-5)  # float32 sums of few steps
    pd.testing.assert_frame_equal(pd.read_csv(smoke_study.paths.influence), states, check_dtype=False)


def test_lambda_used_and_lambda_after_training(calibration, histories):
    found = self_consistency(three_states(calibration, histories)).set_index(["state", "experiment"])
    assert found.index.tolist() == [("own", "E1"), ("own", "E2"), *(("authors", name) for name in published.CALIBRATED)]
    e1 = found.loc["own", "E1"]
    assert e1[["lambda_star_low", "lambda_star", "lambda_star_high"]].tolist() == pytest.approx([1.9e-5, 3.8e-5, 5.7e-5])
    assert e1["psi"] == pytest.approx(10 / 12) and e1["seeds"] == 2 and e1["decades"] == pytest.approx(np.log10(3.8))
    assert found["decades"]["own", "E2"] == pytest.approx(np.log10(1.9))
    theirs = found.loc["authors"]
    assert theirs["lambda_star"].tolist() == pytest.approx([4.36e-6, 4.60e-3, 1.87e-5, 2.54e-4], rel=2e-3)
    assert theirs["psi"].round(3).tolist() == [0.978, 0.976, 0.910, 0.882]
    assert (theirs["decades"].abs() < 0.5).all(), "rounding to decades gives the paper's lambdas"


def test_our_depths_beside_the_authors(calibration, histories):
    frame = encoder_comparison(three_states(calibration, histories)).set_index(["context", "state"])
    assert frame.index.tolist() == [*(("ImageNet", state) for state in ("pilot", "own", "authors")), ("Medical", "authors")]
    lambdas = frame[["lambda_shallow", "lambda_middle", "lambda_deep"]]
    np.testing.assert_allclose(lambdas.loc["ImageNet", "pilot"], [1.9e-5, 1.9e-4, 1.9e-3])
    np.testing.assert_allclose(lambdas.loc["ImageNet", "own"], [3.8e-5, np.nan, 1.9e-3])
    assert frame["pl_ratio"]["ImageNet", "pilot"] == pytest.approx(100)
    assert frame["pl_ratio"]["ImageNet", "authors"] == pytest.approx(422.3484 / 0.5127434)
    assert frame["lambda_ratio"]["ImageNet", "own"] == pytest.approx(0.02)
    assert frame["decades_deep"]["ImageNet", "pilot"] == pytest.approx(np.log10(1.9e-3 / 4.602e-3), abs=1e-3)
    assert encoder_comparison(calibration)["state"].tolist() == ["pilot", "authors", "authors"], "before any training"


def test_the_tables_say_whose_network_it_is(study, calibration, histories):
    labels, states = Labels.of(study), three_states(calibration, histories)
    shown = influence_tables.self_consistency_table(labels, self_consistency(states))
    assert shown["λ* after training"].tolist()[:3] == ["3.8e-5 [1.9e-5, 5.7e-5]", "0.0019", "4.36e-6"]
    assert shown["Network"].tolist() == ["own"] * 2 + ["own, the authors'"] * 4
    shown = influence_tables.encoder_comparison_table(labels, encoder_comparison(states))
    assert shown["Context"].tolist() == ["ImageNet*", "ImageNet*", "ImageNet", "Medical"]
    assert shown["ϕ"].iloc[0] == "block3_conv2, block4_conv3, block5_conv3" and shown["PL middle"].iloc[1] == "–"
    shown = influence_tables.calibration_table(labels, states)
    assert shown["State"].unique().tolist() == ["untrained", "pilot", "own"] and "Seed" in shown
    assert shown.loc[shown["Experiment"] == "ImageNet middle", "λ used"].tolist() == ["–", "–"]
