"""Tables 3 and 4 from the scores of single slices: what the paper reports, and what fits slices of few patients."""

from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.significance import bootstrap_interval, cohens_d, cohens_dz, holm, rank_biserial, wilcoxon
from lib.paper import published

LDCT: Final = "ldct"  # the input itself, scored like an experiment
BEST: Final = "E1"  # the paper compares its best experiment with each other one
METRICS: Final = ("ssim", "psnr", "nrmse")
SLICE: Final = ["patient", "kernel", "thickness_mm", "index"]
MANY_PATIENTS: Final = 10
COLUMNS: Final = ["comparison", "other", "ssim_reference", "ssim_other", "p_value", "cohens_d", "significant", "log10_p",
                  "p_holm", "difference", "difference_low", "difference_high", "cohens_dz", "rank_biserial"]
"""The first columns of Table 4."""


def table3(metrics: pd.DataFrame, calibration: pd.DataFrame | None = None) -> pd.DataFrame:
    """Table 3: mean and population SD over the test slices of all seeds, the paper's row beside each.

    ``metrics`` are of :func:`lib.stages.evaluate.evaluate_all`; without ``calibration`` lambda and Psi stay empty. A row per
    experiment, in the order of ``metrics``: experiment, ssim_mean ... nrmse_sd, rank, paper_ssim_mean ... paper_rank, then
    ssim_window_mean ... nrmse_window_sd, lambda_used, psi_untrained, psi_trained (Algorithm 2 at lambda_used), rank_all,
    slices, seeds and ssim_seed_sd, the SD of the seeds' mean SSIM. ``rank`` orders by mean SSIM the five experiments that
    the paper ranks, so that it can be compared with ``paper_rank``; ``rank_all`` orders every row.
    """
    groups = dict(list(metrics.groupby("experiment", sort=False)))
    table = pd.DataFrame([_summary(scores, name) for name, scores in groups.items()])
    theirs = table["experiment"].isin(list(published.TABLE_3))
    order = table["ssim_mean"].where(theirs).rank(ascending=False, method="min").astype("Int64")
    table.insert(7, "rank", order)
    papers = pd.DataFrame([_published(name) for name in groups])
    table = pd.concat([table.iloc[:, :8], papers, table.iloc[:, 8:]], axis=1)
    table = pd.concat([table, pd.DataFrame([_influence(calibration, name) for name in groups])], axis=1)
    table["rank_all"] = table["ssim_mean"].rank(ascending=False, method="min").astype(int)
    by_seed = [scores.groupby("seed")["ssim"].mean() for scores in groups.values()]
    table["slices"] = [len(scores) // max(len(means), 1) for scores, means in zip(groups.values(), by_seed, strict=True)]
    table["seeds"] = [len(means) for means in by_seed]
    table["ssim_seed_sd"] = [means.std() for means in by_seed]
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
    return {f"paper_{field}": None if row is None else getattr(row, field) for field in published.Table3Row._fields}


def _influence(calibration: pd.DataFrame | None, name: str) -> dict:
    empty = {"lambda_used": np.nan, "psi_untrained": np.nan, "psi_trained": np.nan}
    if name == "mse":
        return {"lambda_used": 0.0, "psi_untrained": 0.0, "psi_trained": 0.0}
    if calibration is None or name == LDCT:
        return empty
    states = calibration[calibration["experiment"] == name].set_index("state")
    values = {f"psi_{state}": states["psi_alg2"].get(state, np.nan) for state in ("untrained", "trained")}
    return empty | values | ({} if states.empty else {"lambda_used": states["lambda_used"].iloc[0]})


def ssim_by_slice(metrics: pd.DataFrame) -> pd.DataFrame:
    """SSIM of each test slice and experiment, the mean over its seeds: experiment, the slice's four columns, ssim.

    Raises ValueError if the seeds of an experiment were not evaluated on the same slices.
    """
    groups = metrics.groupby(["experiment", *SLICE], sort=False, dropna=False)
    seeds = metrics.groupby("experiment")["seed"].nunique().clip(lower=1)
    counts = groups.size()
    if (counts != seeds.reindex(counts.index.get_level_values("experiment")).to_numpy()).any():
        raise ValueError("metrics: the seeds were evaluated on different slices; evaluate all of them again")
    return groups["ssim"].mean().reset_index()


def table4(metrics: pd.DataFrame, resamples: int = 10_000, seed: int = 5) -> pd.DataFrame:
    """Table 4: E1, or the first experiment where there is no E1, against each other one, on the SSIM of the same slices.

    First the paper's columns (two-sided Wilcoxon, Cohen's d of independent samples, significant at 0.05), then what
    respects the pairing and the patients: Cohen's d_z, rank-biserial correlation, Holm's p over all rows of the
    table, a bootstrap interval of the mean difference over patients and slices; then the paper's numbers. Scores are
    compared in full precision (the authors' were rounded to four decimals, which makes ties), after the mean over seeds.

    A row per comparison: the paper's four, then the others, the LDCT input last; no row without a second experiment. The
    third column, the first one's mean SSIM, is ssim_e1 or, of another experiment, ssim_reference. ``log10_p`` is exact
    where ``p_value`` is too small for a float. Raises ValueError if the experiments were evaluated on different slices.
    """
    names = metrics["experiment"].unique().tolist()
    best = BEST if BEST in names else next((name for name in names if name != LDCT), LDCT)
    papers = published.TABLE_4 if best == BEST else {}
    others = sorted((name for name in names if name != best), key=lambda name: (name == LDCT, name not in papers))
    scores = ssim_by_slice(metrics).pivot(index=SLICE, columns="experiment", values="ssim")
    if scores.isna().any(axis=None):
        raise ValueError("metrics: the experiments were evaluated on different slices; evaluate all of them again")
    patients = scores.index.get_level_values("patient").to_numpy()
    table = pd.DataFrame([_compare(scores, best, name, patients, resamples, seed) for name in others],
                         columns=COLUMNS)
    table = table.rename(columns={"ssim_reference": "ssim_e1"} if best == BEST else {})
    table["p_holm"] = holm(table["p_value"].to_numpy()) if others else []
    table["patients"], table["slices"] = len(set(patients)), len(scores)
    table["note"] = [" ".join(filter(None, (_ties(scores[best] - scores[name]), _few(len(set(patients))))))
                     for name in others]
    for field in published.Table4Row._fields:
        table[f"paper_{field}"] = [getattr(papers[name], field) if name in papers else np.nan for name in others]
    table["seeds"] = metrics.loc[metrics["experiment"] == best, "seed"].nunique()
    return table


def _compare(scores: pd.DataFrame, best: str, name: str, patients: np.ndarray, resamples: int, seed: int) -> dict:
    ours, other = scores[best].to_numpy(float), scores[name].to_numpy(float)
    difference = ours - other
    p, log10_p = wilcoxon(difference)
    low, high = bootstrap_interval(difference, patients, resamples, seed)
    return {
        "comparison": f"{best} vs {name}", "other": name, "ssim_reference": ours.mean(), "ssim_other": other.mean(),
        "p_value": p, "cohens_d": cohens_d(ours, other), "significant": "Yes" if p < published.ALPHA else "No",
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
