"""The analyses beyond the paper, on made-up numbers and on the smoke study."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.metrics.patients import over_patients_and_seeds
from lib.perceptual import psi_algorithm2
from lib.report import exchange
from lib.report.exchange import exchange_shown, rates
from lib.report.exchange_claims import exchange_claims
from lib.report.labels import Labels
from lib.report.sentences import sentence
from lib.stages.exchange import BATCHES, PAIRS, Measured, exchange_table, rates_by_patient
from lib.workflow.stages import stages
from lib.workflow.supplement import supplement

PATIENTS = ("A", "B", "C", "D")
RATES = {"E1": 4.0, "E2": 20.0, "E4": 12.0}


def made_up(rates: dict[str, float], noise: float = 0.0, seeds=(5, 6), patients=PATIENTS, states=("pilot",)) -> dict:
    """Two pairs of each patient and two batches a seed, with gradients that give each experiment its rate: at the weights
    the square of that at the output; ``noise`` on the logarithm of a patient's."""
    random, found = np.random.default_rng(2), {}
    for seed in seeds:
        pairs, batches = [], []
        for state in states:
            for name, rate in rates.items():
                for patient in np.repeat(patients, 2):
                    pixel, gradient = random.uniform(1, 2, 2)
                    other = 3 * rate * gradient * np.exp(noise * random.normal())
                    values = dict(zip(PAIRS, (pixel, 3 * pixel, gradient, other, 0.1), strict=True))
                    pairs.append({"state": state, "experiment": name, "patient": patient, **values})
                for norm in (1.0, 2.0):
                    values = dict(zip(BATCHES, (norm, 3 * rate**2 * norm, 0.1, norm, 3 * norm), strict=True))
                    batches.append({"state": state, "experiment": name, **values})
        found[seed] = Measured(pd.DataFrame(pairs), pd.DataFrame(batches))
    return found


def test_a_lambda_has_one_value_in_every_trade():
    table = exchange_table(made_up(RATES), {"E1": 2.0})
    assert {"configuration", "seed", "state", "lambda", "psi_eq5", "psi_alg2", "gamma_output", "gamma_weights"} <= set(table)
    assert len(table) == 2 * (8 + 7 + 7)  # seeds; E1 has a lambda that was used, too
    at = table[table["seed"] == 5].set_index(["configuration", "at"])
    for name, rate in RATES.items():
        row = at.loc[name, "psi 0.95"]
        assert row["lambda"] == pytest.approx(19 / 3) and row["psi_eq5"] == pytest.approx(0.95)
        assert row["gamma_output"] == pytest.approx(19 * rate / (1 + 19 * rate))
        assert row["gamma_weights"] == pytest.approx(19 * rate**2 / (1 + 19 * rate**2))
        assert row["gamma_last"] == pytest.approx(0.95) and row["rate_last"] == pytest.approx(1)
        assert at.loc[name, "gamma 0.5"]["psi_alg2"] == pytest.approx(1 / (1 + rate))
        assert at.loc[name, "vqgan"]["lambda"] == pytest.approx(1.5 / (4.5 + 1e-4))
    assert at.loc["E1", "used"]["psi_alg2"] == pytest.approx(6 / 7)
    assert rates(table)["pilot"].loc["E2"].tolist() == pytest.approx([20, 400, 1])


def test_a_target_of_ones_own_is_a_share_more(study, tmp_path):
    study = study.model_copy(update={"calibration": study.calibration.model_copy(update={"target_psi": 0.9})})
    table = exchange_table(made_up({"E1": 4.0}, seeds=(5,)), {}, 0.9)
    (row,) = exchange_shown(Labels.of(study).beside(tmp_path), table).to_dict("records")
    assert row["λ for the Ψ"] == "3" and row["Γ there"] == "0.9730"


def test_claims_say_how_far_shares_of_loss_and_gradient_are_apart():
    found = made_up(RATES, seeds=(5, 6, 7), states=("untrained", "pilot"))
    claims = exchange_claims(found, exchange_table(found, {}))
    assert len(claims) == 6 and set(claims["verdict"]) == {"falls"}
    same, output, weights = claims.iloc[:3].itertuples()
    assert same.estimate == pytest.approx(5) and same.note == "decided by one of 3: E2 against E1"
    assert (same.patients, same.seeds) == (4, 3)
    assert output.estimate == pytest.approx(20) and output.note == "decided by one of 3: E2"
    assert weights.estimate == pytest.approx(400) and pd.isna(weights.patients)
    assert "20 [20, 20]" in sentence(claims.iloc[1].to_dict())


@pytest.mark.parametrize(("rates_", "noise", "seeds", "patients", "verdict"), [
    ({"E1": 1.0, "E2": 0.9}, 0.0, (5, 6), PATIENTS, "stands"),
    ({"E1": 1.0, "E2": 0.1}, 0.0, (5, 6, 7), PATIENTS, "falls"),  # below 1 as above
    ({"E1": 1.0, "E2": 2.1}, 0.5, (5, 6), PATIENTS, "undecided"),
    ({"E1": 1.0, "E2": 9.0}, 0.0, (5,), PATIENTS, "undecided"),  # one seed
    ({"E1": 1.0, "E2": 9.0}, 0.0, (5, 6), PATIENTS[:2], "undecided"),  # two patients
])  # fmt: skip
def test_verdicts_of_the_rate(rates_, noise, seeds, patients, verdict):
    found = made_up(rates_, noise, seeds, patients)
    claims = exchange_claims(found, exchange_table(found, {})).iloc[:2]
    assert claims["verdict"].tolist() == [verdict] * 2
    assert claims["low"].isna().all() == (len(seeds) < 2 or len(patients) < 3)


def test_a_loss_that_is_nearer_but_less_sure_decides():
    """E2's rate is further from 1 than E1's on average and within the factor; E1's interval reaches beyond it."""
    found = made_up({"E1": 1.0, "E2": 1.5})
    for each in found.values():
        own = each.pairs["experiment"] == "E1"
        spread = each.pairs.loc[own, "patient"].map({"A": 0.2, "B": 0.6, "C": 1.6, "D": 5})
        each.pairs.loc[own, "perceptual_gradient"] *= spread
    claim = exchange_claims(found, exchange_table(found, {})).iloc[1]
    assert claim["verdict"] == "undecided" and claim["note"] == "decided by one of 2: E1"


def test_intervals_are_over_patients_and_seeds_of_the_logarithm():
    found = made_up({"E1": 3.0}, noise=0.2)
    logs = rates_by_patient(found, "pilot", "E1")
    assert logs.shape == (4, 2)
    low, high = np.exp(over_patients_and_seeds(logs).interval())
    claim = exchange_claims(found, exchange_table(found, {})).iloc[1]
    assert (claim["low"], claim["high"]) == pytest.approx((low, high)) and low < 3 < high


def test_a_study_without_a_perceptual_term_has_no_exchange_rate(study):
    plain = study.model_copy(update={"experiments": ("mse",)})
    assert [[stage.name for stage in wave] for wave in supplement(plain)] == [
        [stage.name for stage in wave] for wave in stages(plain)]  # fmt: skip
    assert "S1_exchange" in [stage.name for stage in supplement(study)[-2]]


def test_weights_that_a_user_brings_make_the_atlas_and_the_passport_out_of_date(study, tmp_path):
    own = {name: tmp_path / f"{name}.weights.h5" for name in ("encoder", "medical")}
    for path in own.values():
        path.touch()
    brought = study.model_copy(update={name: getattr(study, name).model_copy(update={"weights": path})
                                       for name, path in own.items()})
    found = {stage.name: set(stage.inputs.values()) for wave in supplement(brought) for stage in wave}
    assert all(set(own.values()) <= found[name] for name in ("S4_atlas", "S5_passport", "02_calibrate_psi"))


def test_what_one_reads_has_ranges_over_seeds(study, tmp_path):
    labels = Labels.of(study).beside(tmp_path)
    found = made_up(RATES)
    found[6].pairs["perceptual_gradient"] *= 2
    shown = exchange_shown(labels, exchange_table(found, {})).set_index("Loss")
    (e1,) = (row for name, row in shown.iterrows() if name.startswith("E1"))
    assert e1["Rate, output"] == "6 [4, 8]" and e1["Ψ of equal gradients"] == "0.156 [0.111, 0.200]"
    assert (tmp_path / "exchange.csv").is_file() and "Rate, output" in (tmp_path / "exchange.md").read_text(encoding="utf-8")


def test_losses_that_differ_in_their_distance_have_a_line_each(study, tmp_path, monkeypatch):
    """E1 and one's own at E1's layer: two rates, two lines in each panel, beside the diagonal and the target."""
    drawn, labels = {}, Labels.of(study).beside(tmp_path)
    labels = replace(labels, experiments=labels.experiments | {"mine": replace(labels.experiments["E1"], label="mine: l1")})
    monkeypatch.setattr(exchange, "save_figure", lambda labels, figure, name, **rest: drawn.update({name: figure}))
    exchange.figure_exchange(labels, exchange_table(made_up({"E1": 4.0, "mine": 20.0}), {}), {})
    for panel, slopes in zip(drawn["exchange"].axes[:2], ((4, 20), (16, 400)), strict=True):
        found = [line.get_ydata()[0] / line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
        assert found == pytest.approx(slopes)


def test_the_smoke_study_has_the_calibrations_psi(smoke_study):
    """64 pairs are more than it has, so that both are of all training pairs; and a row for each loss and state."""
    paths = smoke_study.paths
    table = pd.read_csv(paths.supplement / "exchange.csv")
    calibration = pd.read_csv(paths.calibrated)
    used = table[table["at"] == "used"].set_index(["state", "configuration"])
    for row in calibration.dropna(subset="lambda_used").itertuples():
        here = used.loc[row.state, row.experiment]
        assert here["lambda"] == pytest.approx(row.lambda_used) and here["psi_alg2"] == pytest.approx(row.psi_alg2, rel=1e-4)
        assert here["psi_eq5"] == pytest.approx(row.psi_eq5, rel=1e-4)
    assert set(used.loc["own"].index) == set(smoke_study.experiments) - {"mse"}
    assert (table["provenance"].str.contains("SIMULATED")).all()


def test_the_log_of_a_training_has_the_share_of_the_gradient(smoke_study):
    run = next(run for run in smoke_study.runs() if run.experiment == "E1")
    history = pd.read_csv(smoke_study.paths.history(run))
    assert ((history["gamma"] > 0) & (history["gamma"] < 1)).all() and "val_gamma" not in history
    lines = pd.read_csv(smoke_study.paths.training(run) / "log.csv")
    assert "gamma" in lines and lines["gamma"].between(0, 1).all()
    assert psi_algorithm2(history["mse"].iloc[:1], history["pl"].iloc[:1], lines["lambda"].iloc[0]) == pytest.approx(
        history["psi"].iloc[0], rel=1e-4)  # fmt: skip
