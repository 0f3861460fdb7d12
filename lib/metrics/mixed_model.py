"""The linear mixed model of two experiments: score ~ arm + (arm | patient) + (1 | series) + (1 | seed)."""

import warnings
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.tools.sm_exceptions import ConvergenceWarning

COMPONENTS: Final = {  # what varies at random: its name in the notes, its formula
    "patient": ("(1 | patient)", "0 + C(patient)"),
    "slope": ("(arm | patient)", "0 + C(patient):arm"),
    "series": ("(1 | series)", "0 + C(series)"),
    "seed": ("(1 | seed)", "0 + C(seed)"),
}
SINGULAR: Final = 1e-3  # a variance below this share of the residual's is none


class Fit(NamedTuple):
    """Estimated difference of the arms with its standard error and two-sided p; NaN where there is none, and why."""

    estimate: float
    standard_error: float
    p: float
    note: str = ""


def mixed_model(first: pd.DataFrame, second: pd.DataFrame) -> Fit:
    """Fit the model by REML; each score is the mean over the slices of a patient, series and seed.

    The intercept and the slope of a patient are independent, since the arms are coded -1/2 and 1/2. A component of one
    level is left out, and the note says so. p is that of a t with patients - 1 degrees of freedom: the normal
    distribution, which statsmodels takes, claims too much for few patients. The seeds' part of the *difference* is in
    the residual of this model; :func:`lib.metrics.patients.over_patients_and_seeds` is what counts it.

    Parameters
    ----------
    first, second : DataFrame, columns patient, series, seed, score, a row per cell; the same cells in both
    """
    cells = pd.concat([first.assign(arm=0.5), second.assign(arm=-0.5)], ignore_index=True)
    patients = cells["patient"].nunique()
    if patients < 2:
        return Fit(np.nan, np.nan, np.nan, "no mixed model of one patient")
    spread = float(cells["score"].std())
    if not np.isfinite(spread) or spread == 0:
        return Fit(np.nan, np.nan, np.nan, "no mixed model: the scores are all the same or not finite")
    single = [name for name in ("series", "seed") if cells[name].nunique() < 2]
    scaled = cells.assign(score=(cells["score"] - cells["score"].mean()) / spread)  # what the optimiser expects
    formulas = {name: formula for name, (_, formula) in COMPONENTS.items() if name not in single}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in the note
        fit = smf.mixedlm("score ~ arm", scaled, groups=np.ones(len(cells)), vc_formula=formulas).fit()
    notes = [f"{COMPONENTS[name][0]} left out: one {name}" for name in single]
    error = float(fit.bse_fe["arm"])
    if not fit.converged or not np.isfinite(error):
        return Fit(np.nan, np.nan, np.nan, "; ".join([*notes, "the mixed model does not converge"]))
    empty = [
        COMPONENTS[name][0]
        for name, variance in zip(fit.model.exog_vc.names, fit.vcomp, strict=True)
        if variance < SINGULAR * fit.scale
    ]
    notes += [f"singular: no variance of {', '.join(empty)}"] if empty else []
    estimate = float(fit.fe_params["arm"])
    p = 2 * float(stats.t.sf(abs(estimate / error), patients - 1))
    return Fit(estimate * spread, error * spread, p, "; ".join(notes))
