"""The linear mixed model of two experiments: score ~ arm + (arm | patient) + (1 | series) + (arm | seed)."""

import warnings
from contextlib import suppress
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLMResults
from statsmodels.tools.sm_exceptions import ConvergenceWarning, SingularMatrixWarning

FACTORS: Final = ("patient", "series", "seed")
COMPONENTS: Final = {  # what varies at random: its name in the notes, its formula, whose levels it has
    "patient": ("(1 | patient)", "0 + C(patient)", "patient"),
    "slope": ("(arm | patient)", "0 + C(patient):arm", "patient"),
    "series": ("(1 | series)", "0 + C(series)", "series"),
    "seed": ("(1 | seed)", "0 + C(seed)", "seed"),
    "chance": ("(arm | seed)", "0 + C(seed):arm", "seed"),  # what two trainings of a seed differ by: all patients share it
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

    Intercept and slope of a patient, and of a seed, are independent, since the arms are coded -1/2 and 1/2. A component of
    one level, or without variance (a singular fit), is left out, and the note says so. p is that of a t whose degrees of
    freedom are those of the fewest levels over which the difference varies, less one (patients, or seeds): the normal
    distribution, which statsmodels takes, claims too much for few.

    Parameters
    ----------
    first, second : DataFrame, columns patient, series, seed, score, a row per cell; the same cells in both
    """
    cells = pd.concat([first.assign(arm=0.5), second.assign(arm=-0.5)], ignore_index=True)
    patients = cells["patient"].nunique()
    if patients < 2:
        return Fit(np.nan, np.nan, np.nan, "no mixed model of one patient")
    spread = float(cells["score"].std())
    if not np.isfinite(spread) or np.array_equal(first["score"], second["score"]):
        return Fit(np.nan, np.nan, np.nan, "no mixed model: the arms are equal or not finite")
    counts = {name: cells[name].nunique() for name in FACTORS}
    single = [name for name, (*_, factor) in COMPONENTS.items() if counts[factor] < 2]
    levels = {name: pd.factorize(cells[name])[0] for name in FACTORS}  # patsy knows plain arrays only
    score = (cells["score"] - cells["score"].mean()) / spread  # of the size that the optimiser expects
    scaled = pd.DataFrame({"score": score, "arm": cells["arm"], **levels})
    notes = [f"{COMPONENTS[name][0]} left out: one {COMPONENTS[name][2]}" for name in single]
    fit = _fit(scaled, [name for name in COMPONENTS if name not in single])
    if fit is None:
        return Fit(np.nan, np.nan, np.nan, "; ".join([*notes, "the mixed model does not converge"]))
    kept = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    empty = [name for name in COMPONENTS if name not in single and kept.get(name, 0) < SINGULAR * fit.scale]
    notes += [f"singular: without {', '.join(COMPONENTS[name][0] for name in empty)}"] if empty else []
    varies = {COMPONENTS[name][2] for name in ("slope", "chance") if name not in (*single, *empty)} or {"patient"}
    estimate, error = float(fit.fe_params["arm"]), float(fit.bse_fe["arm"])
    with np.errstate(divide="ignore"):
        p = 2 * float(stats.t.sf(abs(np.float64(estimate) / error), min(counts[name] for name in varies) - 1))
    return Fit(estimate * spread, error * spread, p, "; ".join(notes))


def _fit(scaled: pd.DataFrame, names: list[str]) -> MixedLMResults | None:
    """The fit with most components that converges; of several with as many the most likely one.

    Optimisers fail where a variance is zero, and a component without variance adds nothing to the likelihood.
    """
    for count in range(len(names), 0, -1):
        fits = [fit for kept in combinations(names, count) if (fit := _converged(scaled, kept)) is not None]
        if fits:
            return max(fits, key=lambda fit: fit.llf)
    return None


def _converged(scaled: pd.DataFrame, names: tuple[str, ...]) -> MixedLMResults | None:
    formulas = {name: COMPONENTS[name][1] for name in names}
    model = smf.mixedlm("score ~ arm", scaled, groups=np.ones(len(scaled)), vc_formula=formulas)
    with warnings.catch_warnings(), suppress(np.linalg.LinAlgError), np.errstate(invalid="ignore"):
        for what in (ConvergenceWarning, SingularMatrixWarning):  # said in the note
            warnings.simplefilter("ignore", what)
        fit = model.fit(method=["nm"], maxiter=2000)
        return fit if fit.converged and np.isfinite(fit.bse_fe["arm"]) else None
    return None
