"""Tables 3 and 4: known answers from the paper, scipy, and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.metrics.significance import (
    bootstrap_interval,
    cohens_d,
    cohens_d_from_summary,
    cohens_dz,
    holm,
    rank_biserial,
    wilcoxon,
)
from lib.paper import published
from lib.stages.statistics import ssim_by_slice, table3, table4


def scores(means: dict[str, float], patients=("a", "b"), slices=12, noise=0.005, seeds=(5,)) -> pd.DataFrame:
    """A row a slice, experiment and seed; SSIM around ``means``."""
    generator = np.random.default_rng(4)
    rows = [
        {"experiment": name, "seed": seed, "patient": patient, "kernel": "B30", "thickness_mm": 1.0, "index": index,
         "ssim": mean + generator.normal(0, noise), "psnr": 40.0 + index, "nrmse": 0.05,
         "ssim_window": 0.8, "psnr_window": 20.0, "nrmse_window": 0.1}
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


def test_paired_effect_sizes():
    difference = np.array([0.1, 0.2, 0.3, -0.4])
    assert cohens_dz(difference) == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert rank_biserial(difference) == pytest.approx((1 + 2 + 3 - 4) / 10)
    assert rank_biserial(np.array([1.0, 0.0, 2.0])) == 1


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
    assert cohens_dz(np.zeros(5)) == rank_biserial(np.zeros(5)) == 0
    assert cohens_dz(np.ones(5)) == np.inf and cohens_dz(-np.ones(5)) == -np.inf


def test_ties_do_not_warn():
    difference = np.array([0.0, 0.1, 0.1, -0.1, 0.2, 0.2, 0.0, 0.3])
    p, _ = wilcoxon(difference)
    assert 0 < p < 1
    assert wilcoxon(np.array([0.1]))[0] == 1


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_bootstrap_covers_and_is_reproducible():
    generator = np.random.default_rng(0)
    patients = np.repeat(list("abcdefghijkl"), 20)
    difference = 0.02 + np.repeat(generator.normal(0, 0.005, 12), 20) + generator.normal(0, 0.01, 240)
    low, high = bootstrap_interval(difference, patients, 2000, seed=1)
    assert low < 0.02 < high and low < difference.mean() < high
    assert (low, high) == bootstrap_interval(difference, patients, 2000, seed=1)


def test_bootstrap_does_not_touch_the_global_generator():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    bootstrap_interval(np.arange(4.0), np.array(list("aabb")), 50)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_bootstrap_grows_when_patients_differ():
    noise = np.random.default_rng(3).normal(0, 0.01, 80)
    patients = np.repeat(["a", "b"], 40)
    alike = np.subtract(*bootstrap_interval(noise, patients, 2000)[::-1])
    unlike = np.subtract(*bootstrap_interval(noise + np.where(patients == "a", 0.05, -0.05), patients, 2000)[::-1])
    assert unlike > 5 * alike


def test_bootstrap_of_one_patient_is_the_plain_one():
    values = np.random.default_rng(5).normal(0, 1, 50)
    low, high = bootstrap_interval(values, np.repeat("a", 50), 4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(50), rel=0.1)


def test_bootstrap_weights_slices_of_unequal_patients():
    """Patient a has 30 slices of 1, b has 10 of 0: the resampled mean is 0, .75 or 1."""
    low, high = bootstrap_interval(np.repeat([1.0, 0.0], [30, 10]), np.repeat(["a", "b"], [30, 10]), 1000, level=0.2)
    assert low == high == 0.75


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
    assert {"lambda_used", "psi_untrained", "psi_trained"} <= set(table.columns)


def test_table3_takes_lambda_and_psi_from_the_calibration():
    calibration = pd.DataFrame({"experiment": ["E1", "E1"], "state": ["untrained", "trained"],
                                "psi_alg2": [0.94, 0.99], "lambda_used": [1e-5, 1e-5]})
    table = table3(scores(MEANS), calibration).set_index("experiment")
    assert table.loc["E1", ["lambda_used", "psi_untrained", "psi_trained"]].tolist() == [1e-5, 0.94, 0.99]
    assert table.loc["mse", "lambda_used"] == 0 and np.isnan(table.loc["ldct", "lambda_used"])


def test_table3_shows_an_infinite_psnr():
    metrics = scores(MEANS)
    metrics.loc[0, "psnr"] = np.inf
    table = table3(metrics).set_index("experiment")
    assert table["psnr_mean"]["ldct"] == np.inf and np.isnan(table["psnr_sd"]["ldct"])


def test_table4_rows_and_directions():
    table = table4(scores(MEANS), resamples=300).set_index("other")
    assert list(table.index) == ["baseline", "E2", "E3", "E4", "mse", "ldct"]
    assert table.loc["baseline", "difference"] > 0 > table.loc["mse", "difference"]
    assert (table["difference_low"] < table["difference"]).all()
    assert (table["difference"] < table["difference_high"]).all()
    assert (table["p_holm"] >= table["p_value"]).all() and (table["p_value"] > 0).all()
    assert table.loc["E3", "paper_cohens_d"] == 0.86 and np.isnan(table.loc["mse", "paper_cohens_d"])
    assert table["note"].str.contains("Only 2 patients").all() and set(table["significant"]) == {"Yes"}


def test_table4_of_equal_images_says_why_p_is_1():
    metrics = scores(MEANS, patients=("a",))
    metrics.loc[metrics["experiment"] == "E2", "ssim"] = metrics.loc[metrics["experiment"] == "E1", "ssim"].to_numpy()
    row = table4(metrics, resamples=100).set_index("other").loc["E2"]
    assert row["p_value"] == 1 and row["significant"] == "No" and row["cohens_d"] == 0
    assert "no test is possible" in row["note"] and "One patient" in row["note"]


def test_table4_pairs_by_slice_not_by_row():
    metrics = scores(MEANS)
    shuffled = metrics.groupby("experiment", sort=False).sample(frac=1, random_state=1)
    assert shuffled.index.tolist() != metrics.index.tolist()
    pd.testing.assert_frame_equal(table4(metrics, 100), table4(shuffled, 100))


def test_table4_refuses_different_slices():
    with pytest.raises(ValueError, match="different slices"):
        table4(scores(MEANS).drop(index=0))


def test_table3_over_seeds_has_the_sd_of_their_means():
    metrics = scores(MEANS, seeds=(5, 6, 7))
    table = table3(metrics).set_index("experiment")
    e1 = metrics[metrics["experiment"] == "E1"]
    means = [e1.loc[e1["seed"] == seed, "ssim"].mean() for seed in (5, 6, 7)]
    assert table.loc["E1", "ssim_seed_sd"] == pytest.approx(np.std(means, ddof=1))
    assert table.loc["E1", "ssim_mean"] == pytest.approx(np.mean(means))
    assert table.loc["E1", "ssim_sd"] == pytest.approx(e1["ssim"].std(ddof=0))
    assert (table["slices"] == 24).all() and table["seeds"].to_dict() == dict.fromkeys(MEANS, 3) | {"ldct": 0}
    assert np.isnan(table3(scores(MEANS))["ssim_seed_sd"]).all()


def test_table4_compares_the_means_over_seeds():
    metrics = scores(MEANS, seeds=(5, 6))
    table = table4(metrics, 100).set_index("other")
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
        table4(metrics.drop(index=metrics.index[-1]))


def test_without_e1_the_first_experiment_is_the_reference():
    table = table4(scores({"ldct": 0.8, "mine": 0.9, "baseline": 0.95}), 100)
    assert table["comparison"].tolist() == ["mine vs baseline", "mine vs ldct"]
    assert table["paper_ssim_e1"].isna().all() and table["ssim_reference"].notna().all() and "ssim_e1" not in table
