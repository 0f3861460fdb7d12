"""Tables 3 and 4 from the scores of single slices: what the paper reports, and what holds for patients and seeds."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.mixed_model import mixed_model
from lib.metrics.patients import differences, holm, over_patients_and_seeds, sign_flip
from lib.metrics.per_slice import SLICE, ssim_by_slice
from lib.metrics.significance import cohens_d, wilcoxon
from lib.paper import published

LDCT: Final = "ldct"  # the input itself, scored like an experiment
BEST: Final = "E1"  # the paper compares its best experiment with each other one
METRICS: Final = ("ssim", "psnr", "nrmse")
STATES: Final = ("untrained", "pilot", "own")  # of the network whose Psi is measured
COLUMNS: Final = ["comparison", "other", "ssim_reference", "ssim_other", "p_value", "cohens_d", "significant", "log10_p",
                  "difference", "difference_low", "difference_high", "p_patients", "p_holm", "p_equivalence",
                  "mixed_difference", "mixed_se", "mixed_p"]
"""The first columns of Table 4: the paper's up to log10_p, then those over patients and seeds."""


def table3(metrics: pd.DataFrame, calibration: pd.DataFrame | None = None) -> pd.DataFrame:
    """Table 3: mean and population SD over the test slices of all seeds, the paper's row beside each.

    ``metrics`` are of :func:`lib.stages.evaluate.evaluate_all`; without ``calibration`` lambda and Psi stay empty. A row per
    experiment, in the order of ``metrics``: experiment, ssim_mean ... nrmse_sd, rank, paper_ssim_mean ... paper_rank, then
    ssim_window_mean ... nrmse_window_sd, the means ssim_body and bias_liver_hu (empty where the organs are not known),
    lambda_used, psi_untrained, psi_pilot and psi_own (Algorithm 2 at lambda_used, the mean over seeds), rank_all, slices,
    seeds, and ssim_seed_sd, psnr_seed_sd, nrmse_seed_sd: the SD of the seeds' means. ``rank`` orders by mean SSIM the five
    experiments that the paper ranks, so that it can be compared with ``paper_rank``; ``rank_all`` orders every row.
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
    table["seeds"] = [scores["seed"].nunique() for scores in groups.values()]
    table["slices"] = [len(scores) // max(scores["seed"].nunique(), 1) for scores in groups.values()]
    for metric in METRICS:
        table[f"{metric}_seed_sd"] = [scores.groupby("seed")[metric].mean().std() for scores in groups.values()]
    return table.astype({"paper_rank": "Int64"})


def _summary(scores: pd.DataFrame, name: str) -> dict:
    row: dict = {"experiment": name}
    for metric in (*METRICS, *(f"{metric}_window" for metric in METRICS)):
        values = scores[metric].to_numpy(float)
        row[f"{metric}_mean"] = values.mean()  # infinite if one image equals its reference
        row[f"{metric}_sd"] = values.std() if np.isfinite(values).all() else np.nan
    return row | {column: scores[column].mean() if column in scores else np.nan for column in ("ssim_body", "bias_liver_hu")}


def _published(name: str) -> dict:
    row = published.TABLE_3.get(name)
    return {f"paper_{field}": None if row is None else getattr(row, field) for field in published.Table3Row._fields}


def _influence(calibration: pd.DataFrame | None, name: str) -> dict:
    if name == "mse":
        return {"lambda_used": 0.0} | dict.fromkeys((f"psi_{state}" for state in STATES), 0.0)
    row = {"lambda_used": np.nan} | dict.fromkeys((f"psi_{state}" for state in STATES), np.nan)
    if calibration is None or name not in set(calibration["experiment"]):
        return row
    rows = calibration[calibration["experiment"] == name]
    psi = rows.groupby("state")["psi_alg2"].mean()
    return row | {"lambda_used": rows["lambda_used"].iloc[0]} | {
        f"psi_{state}": psi[state] for state in STATES if state in psi.index}


def table4(metrics: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Table 4: E1, or the first experiment where there is no E1, against each other one, by SSIM.

    First the paper's columns, over slices (two-sided Wilcoxon, Cohen's d of independent samples, significant at 0.05; of
    slices, means over seeds, in full precision: the authors' were rounded to four decimals, which makes ties). Then what
    holds for patients and seeds: the mean difference over patients and its 95 % interval over patients and seeds
    (:func:`lib.metrics.patients.over_patients_and_seeds`), the sign-flip test over patients with Holm's correction over the
    rows of the table, the p of a difference of ``margin`` or more (TOST), and the mixed model's difference, standard error
    and p; then ``margin``, patients, seeds, slices, a note, and the paper's numbers.

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
    seeds = metrics.loc[metrics["experiment"] == best, "seed"].nunique()
    patients = scores.index.get_level_values("patient").nunique()
    rows = [_of_slices(scores, best, name) | of_patients(metrics, best, name, margin) for name in others]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "note"])
    notes = table.pop("note")
    table = table.rename(columns={"ssim_reference": "ssim_e1"} if best == BEST else {})
    table["p_holm"] = holm(table["p_patients"].to_numpy()) if others else []
    table["margin"], table["patients"], table["seeds"], table["slices"] = margin, patients, seeds, len(scores)
    table["note"] = [_sentences(_ties(scores[best] - scores[name]), few_units(patients, seeds), note)
                     for name, note in zip(others, notes, strict=True)]
    for field in published.Table4Row._fields:
        table[f"paper_{field}"] = [getattr(papers[name], field) if name in papers else np.nan for name in others]
    return table


def _of_slices(scores: pd.DataFrame, best: str, name: str) -> dict:
    ours, other = scores[best].to_numpy(float), scores[name].to_numpy(float)
    p, log10_p = wilcoxon(ours - other)
    return {"comparison": f"{best} vs {name}", "other": name, "ssim_reference": ours.mean(), "ssim_other": other.mean(),
            "p_value": p, "cohens_d": cohens_d(ours, other), "significant": "Yes" if p < published.ALPHA else "No",
            "log10_p": log10_p}


def of_patients(metrics: pd.DataFrame, best: str, name: str, margin: float) -> dict:
    """What holds for patients and seeds of one comparison by SSIM: those of ``COLUMNS`` from 'difference' on, but p_holm."""
    table = differences(metrics, best, name, "ssim")
    mean = over_patients_and_seeds(table.to_numpy())
    low, high = mean.interval()
    model = mixed_model(*_cells(metrics, (best, name), table.columns))
    return {"difference": mean.estimate, "difference_low": low, "difference_high": high,
            "p_patients": sign_flip(table.mean(axis=1).to_numpy()), "p_equivalence": mean.p_equivalence(margin),
            "mixed_difference": model.estimate, "mixed_se": model.standard_error, "mixed_p": model.p, "note": model.note}


def _cells(metrics: pd.DataFrame, names: Iterable[str], seeds: pd.Index) -> list[pd.DataFrame]:
    """Mean SSIM by patient, series and seed of each experiment; one without seeds has the same for each. The order of the
    rows is no matter: slices are added up from the lowest score."""
    found = []
    for name in names:
        rows = metrics[metrics["experiment"] == name].sort_values("ssim")
        rows = rows.assign(series=rows["kernel"].astype(str) + " " + rows["thickness_mm"].astype(str))
        if rows["seed"].isna().all():
            rows = rows.drop(columns="seed").merge(pd.DataFrame({"seed": seeds}), how="cross")
        found.append(rows.groupby(["patient", "series", "seed"])["ssim"].mean().rename("score").reset_index())
    return found


def _sentences(*notes: str) -> str:
    return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes if note)


def _ties(difference: pd.Series) -> str:
    zeros = int((difference == 0).sum())
    if zeros == len(difference):
        return "all differences of slices are zero: the paper's test gives p = 1"
    return f"{zeros} of {len(difference)} differences of slices are zero and left out of the paper's test" if zeros else ""


def few_units(patients: int, seeds: int) -> str:
    """What an interval lacks that rests on one patient or one seed; else nothing."""
    if patients == 1:
        return "one patient: no interval"
    return "one seed: the interval is over patients only" if seeds == 1 else ""
