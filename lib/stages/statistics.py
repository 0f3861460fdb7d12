"""Tables 3 and 4 from the scores of single slices: what the paper reports, and what fits slices of few patients."""

from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.significance import bootstrap_interval, cohens_d, cohens_dz, holm, rank_biserial, wilcoxon
from lib.paper import published

ROWS: Final = ("ldct", *published.EXPERIMENTS)  # order of Table 3
BEST: Final = "E1"  # the paper compares its best experiment with each other one
OTHERS: Final = (*published.TABLE_4, "mse", "ldct")  # the paper's four comparisons, then the two that it lacks
METRICS: Final = ("ssim", "psnr", "nrmse")
SLICE: Final = ["patient", "kernel", "thickness_mm", "index"]
MANY_PATIENTS: Final = 10


def table3(metrics: pd.DataFrame, calibration: pd.DataFrame | None = None) -> pd.DataFrame:
    """Table 3: mean and population SD over the test slices, the paper's row beside each.

    Args:
        metrics: a row a slice and experiment, from :func:`lib.stages.evaluate.evaluate_all`.
        calibration: lambda and Psi of each experiment and state; without it those three columns stay empty.

    Returns:
        A row an experiment: experiment, ssim_mean ... nrmse_sd, rank, paper_ssim_mean ... paper_rank, then
        ssim_window_mean ... nrmse_window_sd, lambda_used, psi_untrained, psi_trained (Algorithm 2 at lambda_used),
        rank_all and slices. ``rank`` orders by mean SSIM the five experiments that the paper ranks, so that it can
        be compared with ``paper_rank``; ``ldct`` and ``mse`` have none. ``rank_all`` orders every row.
    """
    present = [name for name in ROWS if name in set(metrics["experiment"])]
    table = pd.DataFrame([_summary(metrics[metrics["experiment"] == name], name) for name in present])
    theirs = table["experiment"].isin(list(published.TABLE_3))
    order = table["ssim_mean"].where(theirs).rank(ascending=False, method="min").astype("Int64")
    table.insert(7, "rank", order)
    papers = pd.DataFrame([_published(name) for name in present])
    table = pd.concat([table.iloc[:, :8], papers, table.iloc[:, 8:]], axis=1)
    table = pd.concat([table, pd.DataFrame([_influence(calibration, name) for name in present])], axis=1)
    table["rank_all"] = table["ssim_mean"].rank(ascending=False, method="min").astype(int)
    table["slices"] = [int((metrics["experiment"] == name).sum()) for name in present]
    return table.astype({"paper_rank": "Int64"})


def _summary(scores: pd.DataFrame, name: str) -> dict:
    row: dict = {"experiment": name}
    for metric in (*METRICS, *(f"{metric}_window" for metric in METRICS)):
        values = scores[metric].to_numpy(float)
        row[f"{metric}_mean"] = values.mean()  # infinite if one image equals its reference
        row[f"{metric}_sd"] = values.std() if np.isfinite(values).all() else np.nan
    return row


def _published(name: str) -> dict:
    row = published.TABLE_3.get(name)
    return {f"paper_{field}": None if row is None else getattr(row, field) for field in published.Scores._fields}


def _influence(calibration: pd.DataFrame | None, name: str) -> dict:
    empty = {"lambda_used": np.nan, "psi_untrained": np.nan, "psi_trained": np.nan}
    if name == "mse":
        return {"lambda_used": 0.0, "psi_untrained": 0.0, "psi_trained": 0.0}
    if calibration is None or name == "ldct":
        return empty
    states = calibration[calibration["experiment"] == name].set_index("state")
    values = {f"psi_{state}": states["psi_alg2"].get(state, np.nan) for state in ("untrained", "trained")}
    return empty | values | ({} if states.empty else {"lambda_used": states["lambda_used"].iloc[0]})


def table4(metrics: pd.DataFrame, resamples: int = 10_000, seed: int = 5) -> pd.DataFrame:
    """Table 4: E1 against each other experiment, on the SSIM of the same slices.

    First the paper's columns (two-sided Wilcoxon, Cohen's d of independent samples, significant at 0.05), then what
    respects the pairing and the patients: Cohen's d_z, rank-biserial correlation, Holm's p over all rows of the
    table, a bootstrap interval of the mean difference over patients and slices; then the paper's numbers.

    Args:
        metrics: a row a slice and experiment. Scores are compared in full precision (the authors' were rounded to
            four decimals, which makes ties).

    Returns:
        A row a comparison. ``log10_p`` is exact where ``p_value`` is too small for a float.

    Raises:
        ValueError: the experiments were not evaluated on the same slices.
    """
    scores = metrics.pivot(index=SLICE, columns="experiment", values="ssim")
    if scores.isna().any(axis=None):
        raise ValueError("metrics: the experiments were evaluated on different slices; evaluate all of them again")
    patients = scores.index.get_level_values("patient").to_numpy()
    others = [name for name in OTHERS if name in scores]
    table = pd.DataFrame([_compare(scores, name, patients, resamples, seed) for name in others])
    table.insert(table.columns.get_loc("log10_p") + 1, "p_holm", holm(table["p_value"].to_numpy()))
    table["patients"], table["slices"] = len(set(patients)), len(scores)
    table["note"] = [" ".join(filter(None, (_ties(scores[BEST] - scores[name]), _few(len(set(patients))))))
                     for name in others]
    for field in published.Comparison._fields:
        table[f"paper_{field}"] = [getattr(published.TABLE_4[n], field) if n in published.TABLE_4 else np.nan for n in others]
    return table


def _compare(scores: pd.DataFrame, name: str, patients: np.ndarray, resamples: int, seed: int) -> dict:
    best, other = scores[BEST].to_numpy(float), scores[name].to_numpy(float)
    difference = best - other
    p, log10_p = wilcoxon(difference)
    low, high = bootstrap_interval(difference, patients, resamples, seed)
    return {
        "comparison": f"{BEST} vs {name}", "other": name, "ssim_e1": best.mean(), "ssim_other": other.mean(),
        "p_value": p, "cohens_d": cohens_d(best, other), "significant": "Yes" if p < published.ALPHA else "No",
        "log10_p": log10_p, "difference": difference.mean(), "difference_low": low, "difference_high": high,
        "cohens_dz": cohens_dz(difference), "rank_biserial": rank_biserial(difference),
    }


def _ties(difference: pd.Series) -> str:
    zeros = int((difference == 0).sum())
    if zeros == len(difference):
        return "All differences are zero: no test is possible, p = 1."
    return f"{zeros} of {len(difference)} differences are zero and left out of the test." if zeros else ""


def _few(patients: int) -> str:
    if patients == 1:
        return "One patient: the interval covers this patient's slices only."
    if patients < MANY_PATIENTS:
        return f"Only {patients} patients: the interval says little about others."
    return ""
