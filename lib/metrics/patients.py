"""Differences between two experiments where the unit is the patient and the seeds of the trainings are chance, too.

A table of differences has a row per patient and a column per seed: the mean over the patient's slices, first experiment
minus second. Patients and seeds are crossed random factors, as cases and readers are in multi-reader multi-case studies:
d_ps = mean + patient_p + seed_s + residual_ps.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

LEAST_PATIENTS: Final = 3  # for a verdict: the interval of two may have no width
FLIPS: Final = 99_999  # sign flips that are tried: all 2^n of up to 16 patients, this many random ones of more


class Mean(NamedTuple):
    """An estimated mean, its standard error and the degrees of freedom of its t distribution; NaN where there are none."""

    estimate: float
    standard_error: float = np.nan
    degrees_of_freedom: float = np.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Lower and upper end of the t interval that covers the mean with probability ``level``."""
        half = float(stats.t.ppf((1 + level) / 2, self.degrees_of_freedom)) * self.standard_error
        return self.estimate - half, self.estimate + half

    def p_equivalence(self, margin: float) -> float:
        """P of two one-sided t tests (TOST) of a mean that is ``margin`` or more away from zero (Schuirmann 1987)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            away = np.float64(margin - abs(self.estimate)) / self.standard_error
        return float(stats.t.sf(away, self.degrees_of_freedom))


def differences(metrics: pd.DataFrame, first: str, second: str, metric: str) -> pd.DataFrame:
    """The table of differences of two experiments: (patients, seeds), mean over slices of ``first`` minus ``second``.

    Parameters
    ----------
    metrics : DataFrame, a row per slice and training: experiment, seed, patient and ``metric``
    first, second : str, names of experiments; one without seeds (the LDCT input) is the same for every seed of the other

    Raises
    ------
    ValueError
        If the two were not evaluated on the same patients with the same seeds.
    """
    rows = metrics[metrics["experiment"].isin((first, second))]
    means = rows.groupby(["experiment", "patient", "seed"], dropna=False)[metric].mean()
    ours, other = (means.loc[name].unstack("seed") for name in (first, second))
    if ours.columns.hasnans:
        ours = pd.DataFrame(dict.fromkeys(other.columns, ours.iloc[:, 0]))
    elif other.columns.hasnans:
        other = pd.DataFrame(dict.fromkeys(ours.columns, other.iloc[:, 0]))
    if not (ours.index.equals(other.index) and set(ours.columns) == set(other.columns)):
        raise ValueError(f"metrics: {first} and {second} were evaluated with other patients or seeds; evaluate all again")
    return ours - other[ours.columns]


def over_patients_and_seeds(table: np.ndarray) -> Mean:
    """Mean of differences (patients, seeds) with a standard error that counts both as drawn at random.

    The variance of the mean is (MS_patients + MS_seeds) / (patients x seeds), the mean squares of the two-way analysis of
    variance; Satterthwaite's (1946) degrees of freedom. The unbiased estimate subtracts MS_residual (Hillis 2014,
    Statistics in Medicine 33:330, for readers and cases). Adding only is never negative and needs no cut: in simulations
    with 8 patients and 3 seeds the 95 % interval then covers 93 to 99 % whichever factor dominates, where a t interval over
    patients' means covers as little as 20 % (``tests/test_patients.py``).

    With one seed: over patients only. With one patient, or anything that is not finite: no standard error.
    """
    patients, seeds = table.shape
    estimate = float(table.mean())
    if patients < 2 or not np.isfinite(table).all():
        return Mean(estimate)
    squares = [seeds * table.mean(axis=1).var(ddof=1)]
    if seeds > 1:
        squares.append(patients * table.mean(axis=0).var(ddof=1))
    total = sum(squares)
    parts = sum(square**2 / (size - 1) for square, size in zip(squares, table.shape, strict=False))
    return Mean(estimate, float(np.sqrt(total / table.size)), float(total**2 / parts) if parts > 0 else np.inf)


def of_independent(values: np.ndarray) -> Mean:
    """Mean of one value per seed, or per patient, (draws,), with the standard error of independent draws; none from one."""
    if values.size < 2:
        return Mean(float(values.mean()))
    return Mean(float(values.mean()), float(stats.sem(values)), values.size - 1)


def sign_flip(means: np.ndarray) -> float:
    """Two-sided p of the sign-flip test of patients' mean differences, (patients,): exact for up to 16 patients.

    If the two experiments were exchangeable in every patient, each difference could as well have the other sign: p is the
    share of all 2^n assignments of signs with a mean as far from zero (Fisher 1935). Its least value is 2 / 2^n: fewer
    than six patients cannot give p < 0.05. 1 for one patient.
    """
    if means.size < 2:
        return 1.0
    return float(
        stats.permutation_test(
            (means,), np.mean, permutation_type="samples", n_resamples=FLIPS, batch=10_000, rng=np.random.default_rng(5)
        ).pvalue
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction for testing several hypotheses at once (Holm 1979)."""
    return multipletests(p_values, method="holm")[1]
