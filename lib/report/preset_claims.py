"""S3's claims: whether the systems of the literature have comparable influence, how far their lambdas are from calibrated
ones, and what they bought over MSE."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from lib.metrics.patients import LEAST_PATIENTS
from lib.metrics.rank_correlation import LEAST, rank_correlation
from lib.perceptual import TARGET_PSI
from lib.perceptual.literature import ADVERSARIAL
from lib.report.exchange_claims import pairs_of, weakest_of, within
from lib.report.odds import odds
from lib.report.verdicts import LEAST_SEEDS, compared, frame, row
from lib.report.words import counted, listed
from lib.study.preset_grid import CONTROL, EQUAL, PAPERS

DECADE: Final = 1.0  # decades of odds: systems that differ by no more count as comparable
ASKED: Final = {"ssim": "SSIM", "psnr": "PSNR"}
BETTER: Final = ": better than MSE alone in {}"
ALPHA: Final = 0.05  # of the permutations of the systems


def preset_claims(table: pd.DataFrame, decades: Mapping[str, Mapping[str, np.ndarray]], metrics: pd.DataFrame,
                  margin: float) -> pd.DataFrame:
    """Rows as of :func:`lib.report.verdicts.frame`.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.stages.presets.preset_table`
    decades : mapping, 'psi' and 'gamma': of :func:`lib.stages.presets.log_odds_by_patient`, with the pilot
    metrics : DataFrame, a row per test slice and training, where ``experiment`` is the arm's name
    margin : float, in SSIM, under which two count as equal
    """
    theirs = table[~table["reference"].str.startswith(PAPERS)]
    named = {each.preset: _as_run(each.reference, each.encoder_here, each.left_out) for each in theirs.itertuples()}
    some = {share: {name: logs for name, logs in each.items() if name in named} for share, each in decades.items()}
    rows = []
    if len(some["psi"]) > 1:
        rows += [_comparable(each, named, symbol) for each, symbol in ((some["psi"], "Ψ"), (some["gamma"], "Γ"))]
    if some["psi"]:
        rows.append(_calibrated(some["psi"], named))
    if theirs.loc[theirs["preset"].isin(some["gamma"]), "trained_as"].nunique() >= LEAST:
        rows += [_pays(some["gamma"], theirs, metrics, metric, unit) for metric, unit in ASKED.items()]
    control = f"{CONTROL}-{EQUAL}"
    for name, arm in theirs.drop_duplicates("trained_as")[["preset", "trained_as"]].itertuples(index=False):
        for metric, unit in ASKED.items():
            found = compared(metrics, arm, control, metric)
            rows.append(row(f"{named[name]}{BETTER.format(unit)}", "S3", unit, found.bounds,
                            margin=margin if metric == "ssim" else 0.0, p_patients=found.p, patients=found.patients,
                            seeds=found.seeds, note=found.few))
    return frame(rows)


def _as_run(reference: str, encoder_here: str, left_out: str) -> str:
    """A system as it is trained here: with an asterisk where another network stands in for its own."""
    return reference + "*" * bool(encoder_here) + ", without its adversarial term" * (ADVERSARIAL in left_out)


def _comparable(logs: Mapping[str, np.ndarray], named: Mapping[str, str], symbol: str) -> dict:
    """Every two of them."""
    found = weakest_of(pairs_of({named[name]: each for name, each in logs.items()}), within(DECADE))
    return row(f"The {len(logs)} systems of the literature with a pixel term have comparable influence: {symbol} at the "
               "published λ within a decade of odds", "S3", "decades of odds", found.bounds, found.above, **found.rests)


def _calibrated(logs: Mapping[str, np.ndarray], named: Mapping[str, str]) -> dict:
    """A lambda against that for Psi = 0.95: their ratio is that of the odds of Psi."""
    found = weakest_of({named[name]: each - np.log10(odds(TARGET_PSI)) for name, each in logs.items()}, within(DECADE))
    systems = counted(len(logs), "system")
    return row(f"Every published λ (of {systems} with a pixel term) is within a decade of the λ* for Ψ = {TARGET_PSI:g}",
               "S3", "decades of λ", found.bounds, found.above, **found.rests)


def _pays(logs: Mapping[str, np.ndarray], table: pd.DataFrame, metrics: pd.DataFrame, metric: str, unit: str) -> dict:
    """Spearman's rank correlation of Gamma and the score over the systems, whose number is what the interval rests on:
    rows that share a training count once. Decided only where the permutations of the systems agree with the interval."""
    arms = table.set_index("preset")["trained_as"]
    influence = pd.Series({arms[name]: each.mean() for name, each in logs.items()})
    some = metrics[metrics["experiment"].isin(influence.index)]
    scores = some.groupby(["experiment", "patient", "seed"])[metric].mean().groupby("experiment").mean()
    found = rank_correlation(influence.to_numpy(), scores.reindex(influence.index).to_numpy())
    patients, seeds = some["patient"].nunique(), some["seed"].nunique()
    notes = [f"over {counted(found.pairs, 'system')}, as if none were alike"]
    if np.isfinite(found.p):
        notes.append(f"permuted p = {found.p:.2g}")
    few = [counted(seeds, "seed")] * (seeds < LEAST_SEEDS) + [counted(patients, "patient")] * (patients < LEAST_PATIENTS)
    if few:
        notes.append(f"undecided with {listed(few)}")
    decided = {} if found.p < ALPHA and not few else {"verdict": "undecided"}
    return row(f"Over the systems of the literature, the more influence (Γ), the better the {unit}", "S3",
               "rank correlation", (found.estimate, found.low, found.high), patients=patients, seeds=seeds,
               note="; ".join(notes), **decided)
