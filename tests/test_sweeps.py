"""S2, S7 and `make sweep`: tables, figures and claims on made-up trainings, and what the smoke study made."""

import numpy as np
import pandas as pd
import pytest

from lib.errors import StageError
from lib.report import rules, target
from lib.report.all_claims import all_claims, figure_claims, tally_by_question
from lib.report.labels import Labels
from lib.report.odds import odds
from lib.report.verdicts import COLUMNS, frame, row
from lib.stages.sweep import sweep_table
from lib.study.grid import Grid, grid_of
from lib.study.runs import Run
from lib.workflow import sweep
from lib.workflow.supplement import supplement

PATIENTS, SEEDS = ("A", "B", "C", "D"), (5, 6, 7)


@pytest.fixture
def labels(study, tmp_path) -> Labels:
    return Labels.of(study).beside(tmp_path)


def made_up(grid: Grid, study, better: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table and metrics of a grid: SSIM is 0.8 and what ``better`` adds for a change, with 0.001 between patients."""
    runs = [(arm, Run(arm.name, seed)) for arm in grid.all_arms() for seed in SEEDS]
    history = pd.DataFrame({"lambda": [0.1, 0.2], "psi": [0.5, 0.6], "gamma": [0.7, 0.8], "moved": [0.0, 0.1],
                            "seconds": [2.0, 4.0]})
    scores = {run: pd.DataFrame({
        "experiment": arm.name, "seed": run.seed, "patient": PATIENTS, "kernel": "B30", "thickness_mm": 1.0,
        "ssim": 0.8 + better.get(arm.change, 0.0) + 0.001 * np.arange(4) * (1 + 0.1 * (arm.change != "0.95")),
        "psnr": 30.0 + 10 * better.get(arm.change, 0.0), "nrmse": 0.1, "ssim_window": 0.7, "bias_liver_hu": -2.0,
        "noise_liver_hu": 9.0}) for arm, run in runs}
    return sweep_table(runs, {run: history for _, run in runs}, scores), pd.concat(scores.values())


@pytest.fixture
def targets(study) -> Grid:
    return grid_of(study.model_copy(update={"supplement": study.supplement.model_copy(update={"arms": None})}), "target")


def test_the_target_grid_is_the_issues_nine_targets_of_both_losses(study, targets):
    changes = sorted(float(change) for change in targets.changes)
    assert changes == [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1] and targets.losses == ("E1", "E4")
    swept = targets.of(study).configurations
    assert swept["E1-0"].encoder is None and swept["E4-1"].pixel is None and swept["E4-1"].lambda_.value == 1
    assert swept["E4-0.25"].lambda_.psi == 0.25 and swept["E4-0.25"].encoding == study.configurations["E4"].encoding


def test_a_study_without_the_grids_losses_sweeps_its_own(study):
    own = study.model_copy(update={"experiments": ("mse", "E2", "E3", "baseline")})
    assert grid_of(own, "rules").losses == ("E2", "E3")


def test_a_better_target_makes_the_claim_fall(study, targets):
    table, metrics = made_up(targets, study, {"0.5": 0.01, "0": -0.02, "1": -0.02})
    claims = target.target_claims(metrics, target.with_targets(table), 0.95, 0.002).set_index("claim")
    best = claims.loc["E1: no other target does better than 0.95 in SSIM (by 0.002)"]
    assert best["verdict"] == "falls" and best["note"] == "decided by one of 8: against 0.5"
    assert best["estimate"] == pytest.approx(-0.01015)
    for end in ("0 (the pixel", "1 (the perceptual"):
        (claim,) = (values for name, values in claims.iterrows() if f"E4: the target 0.95 is better than {end}" in name
                    and name.endswith("SSIM"))
        assert claim["verdict"] == "stands"
    assert claims.loc["E1 is better than E4 in SSIM at every target above 0", "verdict"] == "falls"  # they are equal


def test_equal_targets_do_not_make_it_fall(study, targets):
    table, metrics = made_up(targets, study, {})
    claims = target.target_claims(metrics, target.with_targets(table), 0.95, 0.002).set_index("claim")
    assert claims.loc["E1: no other target does better than 0.95 in SSIM (by 0.002)", "verdict"] == "stands"


def test_tests_and_power_of_the_target(study, targets, labels, tmp_path):
    few = targets.model_copy(update={"arms": {name: targets.arms[name] for name in ("0.95", "0", "0.5")}})
    table, metrics = made_up(few, study, {"0": -0.02})
    table = target.with_targets(table)
    target.target_tests(labels, metrics, table, 0.002)
    tests = pd.read_csv(tmp_path / "target_tests.csv").set_index(["configuration", "target"])
    assert len(tests) == 4 and tests.loc[("E1", 0.0), "difference"] == pytest.approx(0.01985)
    assert (tests["p_holm"] >= tests["p_patients"]).all() and tests.loc[("E1", 0.5), "p_equivalence"] < 0.05
    target.power_shown(labels, metrics, table, 0.002)
    power = pd.read_csv(tmp_path / "power.csv")
    assert power["sd"].to_numpy() == pytest.approx(np.std([0, 0.0001, 0.0002, 0.0003], ddof=1))
    assert set(power["configuration"]) == {"E1", "E4"} and power.loc[power["patients"] == 2, "least_p"].eq(0.5).all()


def test_without_a_perceptual_term_the_shares_are_zero(study, targets, labels, tmp_path):
    table = target.with_targets(made_up(targets, study, {})[0])
    assert (table.loc[table["target"] == 0, ["psi_end", "gamma_end"]] == 0).all(axis=None)
    assert table.groupby("configuration")["target"].apply(lambda values: values.is_monotonic_increasing).all()
    target.sweep_shown(labels, table, 60)
    assert target.figure_target(labels, table, pd.DataFrame({"ssim": [0.7]})).stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / "psi_target_sweep.csv")) == 54


def test_rules_are_compared_with_the_fixed_lambda(study, labels):
    grid = grid_of(study.model_copy(update={"supplement": study.supplement.model_copy(update={"arms": None})}), "rules")
    table, metrics = made_up(grid, study, {"psi-held": 0.01, "epoch-ratio": -0.01})
    claims = rules.rules_claims(metrics, table, 0.002)
    ssim = claims[claims["unit"] == "SSIM"]
    assert ssim["verdict"].tolist() == ["stands", "falls", "falls", "falls"] * 2  # equal is not better
    shown = rules.rules_shown(labels, table, 60)
    assert len(shown) == 10 and set(shown["Missing"]) == {"–"}
    log = pd.DataFrame({"step": [1, 2], "lambda": [1.0, 2.0], "psi": [0.9, 0.95], "gamma": [0.99, 0.999]})
    logs = {(arm.loss, arm.change, seed): log for arm in grid.all_arms() for seed in SEEDS}
    assert rules.figure_rules(labels, table, logs, 0.002).stat().st_size > 10_000


def test_odds_of_a_share():
    assert odds([0.5, 0.95, 0.0]).tolist() == pytest.approx([1, 19, 0])


def test_every_claim_stands_in_one_table(labels, tmp_path):
    bounds = {"a": (1.0, 0.5, 1.5), "b": (-1.0, -1.5, -0.5)}
    frame(row(claim, "RQ1", "SSIM", each) for claim, each in bounds.items()).to_csv(tmp_path / "one.csv")
    new = frame([row("c", "S7", "PSNR", (1.0, -0.5, 1.5), note="so")])
    shown = all_claims(labels, [tmp_path / "one.csv"], {"S7": new}, 60)
    table = pd.read_csv(tmp_path / "claims.csv")
    assert table.columns[:6].tolist() == ["claim", "paper", "estimate", "low", "high", "verdict"]
    assert set(COLUMNS) < set(table)
    assert table["claim"].tolist() == list("abc") and table["verdict"].tolist() == ["stands", "falls", "undecided"]
    assert figure_claims(labels, shown).stat().st_size > 5_000
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert "of the paper and of S7, and" in text and "S7 rests on trainings of 60 steps" in text  # S1 to S6 were not made
    assert tally_by_question(shown) == ["RQ1: 1 stands, 1 falls, 0 are undecided", "S7: 0 stand, 0 fall, 1 is undecided"]


def test_the_table_of_claims_says_what_its_patients_are(labels, tmp_path):
    """Of the analyses that were made: photographs of S8, training patients of S1, no word of S4."""
    all_claims(labels, [], {name: frame([row("c", name, "PSNR", (1.0, 0.5, 1.5))]) for name in ("RQ1", "S1", "S8")}, 60)
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert "of the paper and of S1 and S8, and" in text and "PSNR is in dB" in text and "S4" not in text
    assert "of the training where S1 counts λ, Ψ or Γ, photographs in S8" in text


def test_a_sweep_needs_no_experiment_of_the_paper(study):
    grid = Grid(losses=("E1",), vary={"distance": ("mse", "l1")}, seeds=(9,))
    waves = sweep.stages_of(study, grid)
    names = [stage.name for wave in waves for stage in wave]
    assert names == ["00_simulate", "00_describe", "01_preprocess", "03_train_pilot_seed-5", "02_calibrate_psi",
                     "03_train_pilot_seed-9", "sweep_calibrate", "sweep_E1-distance=mse_seed-9",
                     "sweep_E1-distance=l1_seed-9"]


def test_a_table_of_a_sweep_that_failed_says_what_is_missing(study, monkeypatch):
    def fail(*_):
        raise StageError("broken", where="sweep_E1-a_seed-5")

    monkeypatch.setattr(sweep.make, "make", fail)
    grid = Grid(name="mine", losses=("E1",), arms={"a": {"distance": "l1"}})
    with pytest.raises(StageError, match="broken.*0 of 1 trainings"):
        sweep.run(study, grid, sweep.stages_of(study, grid))
    assert pd.read_csv(study.paths.sweeps / "mine.csv")["missing"].tolist() == ["training, scores"]


def test_the_supplement_of_smoke_is_complete(smoke_study):
    folder = smoke_study.paths.supplement
    for name, columns in {"rules": {"configuration", "change", "seed", "lambda_last"},
                          "psi_target_sweep": {"target", "psi_end", "ssim"}}.items():
        table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False)
        assert columns <= set(table) and set(table["missing"]) == {""}
        assert table["provenance"].str.contains("SIMULATED").all() and (folder / f"{name}.png").is_file()
    claims = pd.read_csv(folder / "claims.csv")
    expected = [stage.outputs for wave in supplement(smoke_study) for stage in wave]
    tables = {path for outputs in expected for path in outputs if path.name.startswith("claims") and path.suffix == ".csv"}
    assert len(claims) == sum(len(pd.read_csv(path)) for path in tables - {folder / "claims.csv"})

