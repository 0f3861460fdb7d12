"""What a number of patients could show: by counting, by the library, and by drawing."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from lib.metrics.patients import sign_flip
from lib.metrics.power import detectable, half_width, least_p, power_of, power_table


@pytest.mark.parametrize("patients", [2, 3, 7])
def test_the_least_p_is_that_of_equal_differences(patients):
    assert least_p(patients) == pytest.approx(sign_flip(np.linspace(1, 2, patients)))


def test_the_half_width_is_that_of_students_interval():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert half_width(float(values.std(ddof=1)), 4) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(("difference", "patients"), [(0.5, 2), (1.0, 5), (0.2, 16)])
def test_power_is_the_librarys(difference, patients):
    assert power_of(difference * 3, 3.0, patients) == pytest.approx(TTestPower().power(difference, patients, 0.05), abs=1e-6)


def test_power_is_how_often_the_test_finds_it():
    """Four standard errors of 20,000 draws are 0.013."""
    values = np.random.default_rng(3).normal(0.02, 0.01, (20_000, 3))
    found = stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05
    assert power_of(0.02, 0.01, 3) == pytest.approx(found.mean(), abs=0.013)


def test_what_is_detectable_is_found_in_four_of_five_cases():
    for patients in (2, 5, 20):
        assert power_of(detectable(0.3, patients), 0.3, patients) == pytest.approx(0.8, abs=1e-5)


def test_a_difference_far_above_the_spread_is_found_for_sure():
    table = power_table(0.01, 0.5).set_index("patients")
    assert table.loc[32, "power"] == pytest.approx(1) and table.loc[2, "power"] < 1
    assert table["half_width"].is_monotonic_decreasing and table.loc[2, "least_p"] == 0.5
