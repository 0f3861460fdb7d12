"""Inference whose unit is the patient: by hand, by algebra, and by how often intervals cover what they should."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.metrics.mixed_model import mixed_model
from lib.metrics.patients import Mean, differences, holm, of_independent, over_patients_and_seeds, sign_flip


def drawn(generator, patients=8, seeds=3, of_patients=1.0, of_seeds=1.0, noise=0.3, mean=0.0) -> np.ndarray:
    """Differences (patients, seeds) of the crossed random effects model."""
    return (mean + generator.normal(0, of_patients, (patients, 1)) + generator.normal(0, of_seeds, (1, seeds))
            + generator.normal(0, noise, (patients, seeds)))


def test_one_seed_gives_students_t_over_patients():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert over_patients_and_seeds(values[:, None]).interval() == pytest.approx(tuple(expected))
    assert of_independent(values).interval() == pytest.approx(tuple(expected))


def test_two_factors_by_hand():
    """Patients' means 1 and 3, seeds' means 1, 2, 3: MS of patients 3 x 2 = 6, of seeds 2 x 1 = 2, over 6 cells."""
    mean = over_patients_and_seeds(np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]))
    assert mean == pytest.approx(Mean(2.0, np.sqrt(8 / 6), 8**2 / (6**2 / 1 + 2**2 / 2)))


@pytest.mark.parametrize("table", [np.ones((1, 3)), np.array([[1.0, np.nan], [2.0, 3.0]])])
def test_one_patient_or_a_missing_score_has_no_interval(table):
    assert np.isnan(over_patients_and_seeds(table).interval()).all()
    assert np.isnan(of_independent(np.array([0.3])).interval()).all()


def test_equal_differences_have_an_interval_of_no_width():
    mean = over_patients_and_seeds(np.full((4, 3), 0.5))
    assert mean.interval() == (0.5, 0.5) and mean.p_equivalence(0.6) == 0 and mean.p_equivalence(0.4) == 1


@pytest.mark.parametrize(("of_patients", "of_seeds", "noise"), [
    (1, 0, 0.3), (0, 1, 0.3), (1, 1, 0.3), (1, 0.3, 0.1), (0.3, 1, 0.1), (0.5, 0.5, 1), (0, 0, 1)])
def test_the_interval_covers_whichever_factor_dominates(of_patients, of_seeds, noise):
    """95 % is meant; 0.93 is the least that a simulation of 20,000 draws gave, 0.02 is four standard errors of 2,000."""
    generator = np.random.default_rng(1)
    ends = np.array([over_patients_and_seeds(drawn(generator, 8, 3, of_patients, of_seeds, noise)).interval()
                     for _ in range(2_000)])
    assert np.mean((ends[:, 0] < 0) & (0 < ends[:, 1])) > 0.93 - 0.02


def test_patients_alone_would_cover_too_little():
    """Why the seeds count: a t interval over patients' means when the seeds differ more than the patients."""
    generator = np.random.default_rng(2)
    ends = np.array([over_patients_and_seeds(drawn(generator, of_patients=0.1).mean(axis=1, keepdims=True)).interval()
                     for _ in range(500)])
    assert np.mean((ends[:, 0] < 0) & (0 < ends[:, 1])) < 0.5


def test_equivalence_is_two_one_sided_tests():
    mean = Mean(0.001, 0.002, 9.0)
    upper, lower = (mean.estimate - 0.005) / 0.002, (mean.estimate + 0.005) / 0.002
    assert mean.p_equivalence(0.005) == pytest.approx(max(stats.t.cdf(upper, 9), stats.t.sf(lower, 9)))
    low, high = mean.interval(0.9)
    assert (mean.p_equivalence(0.005) < 0.05) == (-0.005 < low and high < 0.005)


def test_sign_flips_by_counting():
    values = np.array([0.4, 0.1, 0.2, -0.3, 0.5])
    means = [np.mean(np.multiply(signs, values)) for signs in product((-1, 1), repeat=5)]
    assert sign_flip(values) == pytest.approx(np.mean(np.abs(means) >= abs(values.mean()) - 1e-12))


@pytest.mark.parametrize("patients", [2, 5, 6, 8, 16])
def test_the_least_p_is_two_of_all_flips(patients):
    """p < 0.05 takes six patients, eight with Holm over four comparisons."""
    assert sign_flip(np.linspace(0.1, 0.3, patients)) == 2 / 2**patients


def test_one_patient_and_no_difference_give_p_1():
    assert sign_flip(np.array([0.1])) == sign_flip(np.zeros(4)) == 1


def test_many_patients_are_flipped_at_random_the_same_way_each_time():
    values = np.random.default_rng(3).normal(0.2, 1, 40)
    assert sign_flip(values) == sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def metrics(scores: dict[tuple[str, object], dict[str, list[float]]]) -> pd.DataFrame:
    """Rows of experiment and seed, patient, and the scores of its slices."""
    rows = [{"experiment": name, "seed": seed, "patient": patient, "ssim": value}
            for (name, seed), patients in scores.items() for patient, values in patients.items() for value in values]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def test_differences_weigh_patients_not_slices():
    table = differences(metrics({("E1", 5): {"a": [1.0, 3.0], "b": [4.0]}, ("E1", 6): {"a": [2.0, 2.0], "b": [5.0]},
                                 ("ldct", pd.NA): {"a": [1.0, 1.0], "b": [2.0]}}), "E1", "ldct", "ssim")
    assert table.to_numpy().tolist() == [[1, 1], [2, 3]] and table.columns.tolist() == [5, 6]


def test_differences_pair_seeds_by_number():
    rows = {("E1", 5): {"a": [1.0]}, ("E1", 6): {"a": [2.0]}, ("E2", 6): {"a": [0.0]}, ("E2", 5): {"a": [0.5]}}
    assert differences(metrics(rows), "E1", "E2", "ssim").to_numpy().tolist() == [[0.5, 2.0]]
    del rows["E2", 6]
    with pytest.raises(ValueError, match="E1 and E2 were evaluated with other patients or seeds"):
        differences(metrics(rows), "E1", "E2", "ssim")


def cells(generator, slope: float, patients=8, series=4, seeds=3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both arms, 0.02 apart; patients, series and seeds differ, and so does the difference, by ``slope``, from patient to
    patient."""
    of_patient, of_slope = generator.normal(0, 0.02, patients), generator.normal(0, slope, patients)
    of_series, of_seed = generator.normal(0, 0.03, series), generator.normal(0, 0.01, seeds)
    arms = [pd.DataFrame([
        {"patient": f"p{p}", "series": f"s{k}", "seed": s, "score": 0.9 + arm * (0.02 + of_slope[p]) + of_patient[p]
         + of_series[k] + of_seed[s] + generator.normal(0, 0.0005)}
        for p, k, s in product(range(patients), range(series), range(seeds))]) for arm in (0.5, -0.5)]
    return arms[0], arms[1].astype({"seed": "Int64"})


def test_the_mixed_model_of_a_balanced_design_is_the_paired_t_test_over_patients():
    """The algebra of balanced designs: the same estimate, standard error and p as the patients' mean differences."""
    first, second = cells(np.random.default_rng(4), slope=0.005, seeds=1)
    fit = mixed_model(first, second)
    means = first.groupby("patient")["score"].mean() - second.groupby("patient")["score"].mean()
    assert fit.estimate == pytest.approx(means.mean(), rel=1e-6)
    assert fit.standard_error == pytest.approx(stats.sem(means), rel=0.01)
    assert fit.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=0.1)
    assert fit.note == "(1 | seed) left out: one seed; (arm | seed) left out: one seed"


def test_trainings_that_differ_by_chance_are_no_effect():
    """What two trainings of a seed differ by is the same in every patient: the paired t test is over the seeds."""
    first, second = cells(np.random.default_rng(4), slope=0.0, patients=6, series=2)
    chance = dict(zip(range(3), np.random.default_rng(7).normal(0, 0.02, 3), strict=True))
    first["score"] += first["seed"].map(chance)
    fit = mixed_model(first, second)
    means = (first.groupby("seed")["score"].mean() - second.groupby("seed")["score"].mean().to_numpy()).to_numpy(float)
    assert fit.estimate == pytest.approx(means.mean(), rel=1e-6)
    assert fit.standard_error == pytest.approx(stats.sem(means), rel=0.02)
    assert fit.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=0.1)


def test_a_singular_mixed_model_says_so():
    first, second = cells(np.random.default_rng(5), slope=0.0, seeds=1)
    second["score"] = first["score"].to_numpy() - 0.02 + np.tile([1e-4, -1e-4, 1e-4, -1e-4], 8)  # the same in every patient
    fit = mixed_model(first, second)
    assert "singular: without (arm | patient)" in fit.note and "(1 | seed) left out: one seed" in fit.note
    assert fit.estimate == pytest.approx(0.02, rel=1e-3) and fit.standard_error > 0


def test_no_mixed_model_of_one_patient_or_of_equal_arms():
    first, second = cells(np.random.default_rng(6), slope=0.0, patients=1)
    assert np.isnan(mixed_model(first, second).p) and "one patient" in mixed_model(first, second).note
    first, _ = cells(np.random.default_rng(6), slope=0.0)
    assert "arms are equal" in mixed_model(first, first).note
