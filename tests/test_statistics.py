"""Tables 3 and 4, and the paper's own test: known answers from the paper, scipy, and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.metrics.per_slice import ssim_by_slice
from lib.metrics.significance import cohens_d, cohens_d_from_summary, wilcoxon
from lib.paper import published
from lib.stages.statistics import table3, table4
from lib.study.sections import Statistics

MARGIN = Statistics().margin


def scores(means: dict[str, float], patients=("a", "b"), slices=12, noise=0.005, seeds=(5,)) -> pd.DataFrame:
    """A row a slice, experiment and seed; SSIM around ``means``, each patient and seed a little off."""
    generator = np.random.default_rng(4)
    draws = {(name, each): generator.normal(0, 0.001) for name in means for each in (*patients, *seeds)}
    rows = [
        {"experiment": name, "seed": seed, "patient": patient, "kernel": "B30", "thickness_mm": 1.0, "scan": 1,
         "index": index, "ssim": mean + draws[name, patient] + draws.get((name, seed), 0) + generator.normal(0, noise),
         "psnr": 40.0 + index, "nrmse": 0.05, "ssim_window": 0.8, "psnr_window": 20.0, "nrmse_window": 0.1}
        for name, mean in means.items() for seed in ([pd.NA] if name == "ldct" else seeds)
        for patient in patients for index in range(slices)
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


MEANS = {"ldct": 0.85, "mse": 0.96, "baseline": 0.90, "E1": 0.95, "E2": 0.93, "E3": 0.89, "E4": 0.94}


@pytest.mark.parametrize("other", list(published.TABLE_4))
def test_table_4_effect_sizes_follow_from_table_3(other):
    """0.31, 0.24, 0.86, 0.17 to within the rounding of the means (4 digits) and SDs (3 digits)."""
    row, e1, sd = published.TABLE_4[other], published.TABLE_3["E1"].ssim_sd, published.TABLE_3[other].ssim_sd
    d = cohens_d_from_summary(row.ssim_e1, e1, row.ssim_other, sd)
    low = cohens_d_from_summary(row.ssim_e1 - 5e-5, e1 + 5e-4, row.ssim_other + 5e-5, sd + 5e-4)
    high = cohens_d_from_summary(row.ssim_e1 + 5e-5, e1 - 5e-4, row.ssim_other - 5e-5, sd - 5e-4)
    assert low - 0.005 <= row.cohens_d <= high + 0.005
    assert d == pytest.approx(row.cohens_d, abs=0.006)


def test_cohens_d_of_samples_is_pooled():
    first, second = np.array([1.0, 2, 3]), np.array([0.0, 2, 4])
    assert cohens_d(first, second) == 0
    assert cohens_d(first + 1, second) == pytest.approx(1 / np.sqrt((1 + 4) / 2))


@pytest.mark.parametrize("size", [8, 37, 200])
def test_wilcoxon_is_scipys(size):
    difference = np.random.default_rng(size).normal(0.3, 1, size)
    p, log10_p = wilcoxon(difference)
    assert p == pytest.approx(stats.wilcoxon(difference).pvalue, rel=1e-9)
    assert 10**log10_p == pytest.approx(p)


def test_p_is_never_zero():
    for size in (2_000, 20_000):
        difference = np.random.default_rng(1).uniform(0.1, 1, size)
        p, log10_p = wilcoxon(difference)
        z = np.sqrt(size * (size + 1) / 4 * size * (size + 1) / (size * (size + 1) * (2 * size + 1) / 6))
        assert p > 0
        assert log10_p == pytest.approx((np.log(2) + stats.norm.logsf(z)) / np.log(10), rel=1e-6)
    assert log10_p < -3000


def test_no_differences_give_p_1():
    assert wilcoxon(np.zeros(60)) == (1.0, 0.0)
    assert cohens_d(np.ones(5), np.ones(5)) == 0
    assert cohens_d(np.ones(5), np.zeros(5)) == np.inf and cohens_d(np.zeros(5), np.ones(5)) == -np.inf


def test_ties_do_not_warn():
    difference = np.array([0.0, 0.1, 0.1, -0.1, 0.2, 0.2, 0.0, 0.3])
    p, _ = wilcoxon(difference)
    assert 0 < p < 1
    assert wilcoxon(np.array([0.1]))[0] == 1


def test_table3_means_population_sd_and_ranks():
    metrics = scores(MEANS)
    table = table3(metrics).set_index("experiment")
    assert list(table.index) == ["ldct", "mse", "baseline", "E1", "E2", "E3", "E4"]
    e1 = metrics.loc[metrics["experiment"] == "E1", "ssim"]
    assert table.loc["E1", "ssim_mean"] == pytest.approx(e1.mean())
    assert table.loc["E1", "ssim_sd"] == pytest.approx(e1.std(ddof=0))
    assert table["rank"].dropna().to_dict() == {"baseline": 4, "E1": 1, "E2": 3, "E3": 5, "E4": 2}
    assert table["rank_all"].to_dict() == {"mse": 1, "E1": 2, "E4": 3, "E2": 4, "baseline": 5, "E3": 6, "ldct": 7}
    assert table.loc["E2", "paper_ssim_mean"] == 0.933 and table.loc["E2", "paper_rank"] == 3
    assert pd.isna(table.loc["mse", "paper_rank"]) and (table["slices"] == 24).all()


def test_table3_columns_start_as_agreed():
    table = table3(scores(MEANS))
    own = ["ssim_mean", "ssim_sd", "psnr_mean", "psnr_sd", "nrmse_mean", "nrmse_sd", "rank"]
    assert list(table.columns)[:15] == ["experiment", *own, *(f"paper_{name}" for name in own)]
    assert {"lambda_used", "psi_untrained", "psi_pilot", "psi_own", "ssim_seed_sd", "psnr_seed_sd", "nrmse_seed_sd", "seeds",
            "ssim_body", "bias_liver_hu"} <= set(table.columns)


def test_table3_takes_lambda_and_psi_from_the_calibration():
    """The own state has a row per seed; Psi is their mean."""
    calibration = pd.DataFrame({"experiment": "E1", "state": ["untrained", "pilot", "own", "own"], "seed": [5, 5, 5, 6],
                                "psi_alg2": [0.94, 0.99, 0.90, 0.92], "lambda_used": 1e-5})
    table = table3(scores(MEANS), calibration).set_index("experiment")
    assert table.loc["E1", ["lambda_used", "psi_untrained", "psi_pilot", "psi_own"]].tolist() == [1e-5, 0.94, 0.99, 0.91]
    assert not table.loc["mse", ["lambda_used", "psi_untrained", "psi_pilot", "psi_own"]].any()
    assert table.loc["ldct", ["lambda_used", "psi_own"]].isna().all()


def test_table3_has_the_body_and_the_liver_where_the_masks_are_known():
    metrics = scores(MEANS).assign(ssim_body=lambda each: each["ssim"] - 0.1, bias_liver_hu=-3.0)
    metrics.loc[metrics["patient"] == "b", ["ssim_body", "bias_liver_hu"]] = np.nan
    table = table3(metrics)
    first = metrics[metrics["patient"] == "a"].groupby("experiment", sort=False)["ssim"].mean() - 0.1
    np.testing.assert_allclose(table["ssim_body"], first)
    assert (table["bias_liver_hu"] == -3).all()
    assert table3(scores(MEANS))[["ssim_body", "bias_liver_hu"]].isna().all(axis=None)


def test_table3_shows_an_infinite_psnr():
    metrics = scores(MEANS)
    metrics.loc[0, "psnr"] = np.inf
    table = table3(metrics).set_index("experiment")
    assert table["psnr_mean"]["ldct"] == np.inf and np.isnan(table["psnr_sd"]["ldct"])


def test_table4_rows_and_directions():
    table = table4(scores(MEANS, patients="abcdefgh", slices=4, seeds=(5, 6, 7)), MARGIN).set_index("other")
    assert list(table.index) == ["baseline", "E2", "E3", "E4", "mse", "ldct"]
    assert table.columns[:7].tolist() == ["comparison", "ssim_e1", "ssim_other", "p_value", "cohens_d", "significant",
                                          "log10_p"], "the paper's columns stand first"
    assert table.loc["baseline", "difference"] > 0 > table.loc["mse", "difference"]
    assert (table["difference_low"] < table["difference"]).all()
    assert (table["difference"] < table["difference_high"]).all()
    assert set(table["p_patients"]) == {2 / 2**8}, "all differences of a row have one sign"
    assert set(table["p_holm"]) == {6 * 2 / 2**8} and (table["p_value"] < 1e-5).all()
    np.testing.assert_allclose(table["mixed_difference"], table["difference"], rtol=1e-6)
    assert (table["mixed_p"] < 0.05).all() and (table["p_equivalence"] > 0.95).all()
    assert table.loc["E3", "paper_cohens_d"] == 0.86 and np.isnan(table.loc["mse", "paper_cohens_d"])
    assert (table["patients"] == 8).all() and (table["seeds"] == 3).all() and (table["slices"] == 32).all()


def test_table4_of_two_patients_claims_little():
    """The paper's method gives p < 1e-4 where two patients cannot say anything: the least p of two sign flips is 1/2."""
    table = table4(scores(MEANS), MARGIN)
    assert (table["p_value"] < 1e-4).all() and (table["p_patients"] == 0.5).all()
    assert table["note"].str.contains("One seed: the interval is over patients only").all()


def test_table4_of_one_patient_has_no_interval():
    table = table4(scores(MEANS, patients=("a",), seeds=(5, 6, 7)), MARGIN)
    assert table[["difference_low", "difference_high", "mixed_difference", "p_equivalence"]].isna().all(axis=None)
    assert (table["p_patients"] == 1).all() and table["note"].str.contains("One patient: no interval").all()


def test_equal_experiments_are_equivalent():
    """E2 is E1 with noise of a tenth of the margin."""
    metrics = scores(MEANS, patients="abcdefgh", slices=4, seeds=(5, 6, 7))
    e1 = metrics.loc[metrics["experiment"] == "E1", "ssim"].to_numpy()
    noise = np.random.default_rng(1).normal(0, MARGIN / 10, e1.size)
    metrics.loc[metrics["experiment"] == "E2", "ssim"] = e1 + noise
    row = table4(metrics, MARGIN).set_index("other").loc["E2"]
    assert row["p_equivalence"] < 1e-3 and -MARGIN < row["difference_low"] < row["difference_high"] < MARGIN


def test_the_margin_is_half_the_smallest_step_of_the_papers_table_3():
    steps = np.diff(sorted(row.ssim_mean for row in published.TABLE_3.values()))
    assert pytest.approx(steps.min() / 2) == MARGIN


def test_table4_of_equal_images_says_why_p_is_1():
    metrics = scores(MEANS, patients=("a",))
    metrics.loc[metrics["experiment"] == "E2", "ssim"] = metrics.loc[metrics["experiment"] == "E1", "ssim"].to_numpy()
    row = table4(metrics, MARGIN).set_index("other").loc["E2"]
    assert row["p_value"] == 1 and row["significant"] == "No" and row["cohens_d"] == 0
    assert "All differences of slices are zero" in row["note"] and "One patient" in row["note"]


def test_table4_pairs_by_slice_not_by_row():
    metrics = scores(MEANS)
    shuffled = metrics.groupby("experiment", sort=False).sample(frac=1, random_state=1)
    assert shuffled.index.tolist() != metrics.index.tolist()
    pd.testing.assert_frame_equal(table4(metrics, MARGIN), table4(shuffled, MARGIN))


def test_table4_refuses_different_slices():
    with pytest.raises(ValueError, match="different slices"):
        table4(scores(MEANS).drop(index=0), MARGIN)


def test_table3_over_seeds_has_the_sd_of_their_means():
    metrics = scores(MEANS, seeds=(5, 6, 7))
    metrics["psnr"], metrics["nrmse"] = 40 * metrics["ssim"], 1 - metrics["ssim"]
    table = table3(metrics).set_index("experiment")
    e1 = metrics[metrics["experiment"] == "E1"]
    means = [e1.loc[e1["seed"] == seed, "ssim"].mean() for seed in (5, 6, 7)]
    sd = np.std(means, ddof=1)
    np.testing.assert_allclose(table.loc["E1", [f"{name}_seed_sd" for name in ("ssim", "psnr", "nrmse")]].tolist(),
                               [sd, 40 * sd, sd])
    assert table.loc["E1", "ssim_mean"] == pytest.approx(np.mean(means))
    assert table.loc["E1", "ssim_sd"] == pytest.approx(e1["ssim"].std(ddof=0))
    assert (table["slices"] == 24).all() and table["seeds"].to_dict() == dict.fromkeys(MEANS, 3) | {"ldct": 0}
    assert np.isnan(table3(scores(MEANS))["ssim_seed_sd"]).all()


def test_table4_compares_the_means_over_seeds():
    metrics = scores(MEANS, seeds=(5, 6))
    table = table4(metrics, MARGIN).set_index("other")
    halves = [metrics[(metrics["experiment"] == "E1") & (metrics["seed"] == seed)]["ssim"].to_numpy() for seed in (5, 6)]
    assert table.loc["ldct", "ssim_e1"] == pytest.approx(np.mean(halves))
    assert (table["seeds"] == 2).all() and (table["slices"] == 24).all()
    by_slice = ssim_by_slice(metrics)
    np.testing.assert_allclose(by_slice.loc[by_slice["experiment"] == "E1", "ssim"], np.mean(halves, axis=0))


def test_the_mean_over_one_seed_changes_no_bit():
    metrics = scores(MEANS)
    assert ssim_by_slice(metrics)["ssim"].tolist() == metrics["ssim"].tolist()


def test_seeds_on_different_slices_are_refused():
    metrics = scores(MEANS, seeds=(5, 6))
    with pytest.raises(ValueError, match="seeds were evaluated on different slices"):
        table4(metrics.drop(index=metrics.index[-1]), MARGIN)


def test_without_e1_the_first_experiment_is_the_reference():
    table = table4(scores({"ldct": 0.8, "mine": 0.9, "baseline": 0.95}), MARGIN)
    assert table["comparison"].tolist() == ["mine vs baseline", "mine vs ldct"]
    assert table["paper_ssim_e1"].isna().all() and table["ssim_reference"].notna().all() and "ssim_e1" not in table
