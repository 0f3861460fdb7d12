"""What a number of test patients could show at all: the power of tests over patients."""

from typing import Final

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower

ALPHA: Final = 0.05
POWER: Final = 0.8


def least_p(patients: int) -> float:
    """The least two-sided p of a sign-flip test over patients (:func:`lib.metrics.patients.sign_flip`): 2 of its 2^n
    assignments of signs are as far from zero as the best one."""
    return 2.0 ** (1 - patients)


def half_width(sd: float, patients: int) -> float:
    """Half of the 95 % t interval of a mean over patients whose values have the standard deviation ``sd``, in its unit."""
    return float(stats.t.ppf(1 - ALPHA / 2, patients - 1)) * sd / np.sqrt(patients)


def power_of(difference: float, sd: float, patients: int) -> float:
    """The chance that a two-sided t test over patients at 5 % finds a mean of ``difference`` (noncentral t distribution)."""
    bound, away = stats.t.ppf(1 - ALPHA / 2, patients - 1), difference / sd * np.sqrt(patients)
    below = stats.nct.cdf(-bound, patients - 1, away)  # SciPy has no number where this is none to speak of
    return float(stats.nct.sf(bound, patients - 1, away) + np.nan_to_num(below))


def detectable(sd: float, patients: int) -> float:
    """The least mean that such a test finds with a chance of 80 %, in the unit of ``sd``."""
    return float(TTestPower().solve_power(nobs=patients, alpha=ALPHA, power=POWER)) * sd


def power_table(sd: float, margin: float, patients: tuple[int, ...] = (2, 4, 8, 16, 32)) -> pd.DataFrame:
    """A row for each number of patients: least_p, half_width, detectable, and power: the chance to find ``margin``.

    Parameters
    ----------
    sd : float, between patients, of the difference of two experiments
    margin : float, a difference that would count, in the same unit
    """
    return pd.DataFrame([{"patients": count, "least_p": least_p(count), "half_width": half_width(sd, count),
                          "detectable": detectable(sd, count), "power": power_of(margin, sd, count)}
                         for count in patients])  # fmt: skip
