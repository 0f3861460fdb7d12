"""The sentences of ``claims.md``: one for each row of ``claims.csv``, the order of all experiments, Psi as it came out."""

from itertools import pairwise
from typing import Final

import pandas as pd

from lib.data.hu import WINDOW
from lib.report.psi_claims import HALF_DECADE, STATES, states
from lib.report.verdicts import compared
from lib.report.words import counted, hu_range, listed, number, tallied

FORMATS: Final = {"SSIM": "{:+z.4f}", "PSNR": "{:+z.2f}", "NRMSE": "{:+z.4f}", "least Ψ": "{:.4f}",
                  "decades of PL / MSE": "{:+.2f}"}  # of λ*: `number`
ORDERS: Final = {"ssim": "SSIM", "ssim_window": f"SSIM in the window of {hu_range(WINDOW)}", "ssim_body": "SSIM in the body"}
SUFFIXES: Final = {"PSNR": " dB", "decades of PL / MSE": " decades"}


def sentence(claim: dict) -> str:
    """A row of ``claims.csv`` as a sentence: claim, verdict, estimate, interval, the paper's number, test, note."""
    def shown(value: float) -> str:
        return FORMATS[claim["unit"]].format(value) if claim["unit"] in FORMATS else number(value)

    parts, has = [], {name: not pd.isna(claim[name]) for name in ("estimate", "low", "paper", "p_patients")}
    verdict = f"**{claim['verdict']}**"
    if has["estimate"] and claim["verdict"] == "undecided":
        verdict += f" (the estimate alone: {claim['leaning']})"
    if has["estimate"]:
        interval = f" [{shown(claim['low'])}, {shown(claim['high'])}]" if has["low"] else ""
        parts.append(shown(claim["estimate"]) + interval + SUFFIXES.get(claim["unit"], ""))
    parts += [f"the paper {shown(claim['paper'])}"] * has["paper"]
    parts += [f"sign-flip p {number(claim['p_patients'])}"] * has["p_patients"]
    parts += [claim["note"]] * bool(claim["note"])
    return f"{claim['claim']}: {verdict}; {', '.join(parts)}."


def tally(claims: pd.DataFrame) -> str:
    """How many claims of a question there are of each verdict, and what their intervals are over."""
    if claims.empty:
        return "no experiment of this study has a perceptual term, so there is no Ψ"
    factors = [counted(count, name) for name in ("patient", "seed") if not pd.isna(count := claims[f"{name}s"].max())]
    return tallied(claims["verdict"]) + (f"; {listed(factors)}" if factors else "")


def order(metrics: pd.DataFrame, metric: str = "ssim") -> str:
    """All experiments by mean SSIM (or that of a window or of the body, :data:`ORDERS`), in groups: between two groups every
    pair is told apart by its interval over patients and seeds, inside a group not every pair is."""
    rows = metrics.groupby(["experiment", "patient"])[metric].mean().groupby("experiment").mean()
    names = rows.sort_values(ascending=False).index.tolist()

    cuts = [0, *(place for place in range(1, len(names))
                 if all(compared(metrics, above, below, metric).bounds[1] > 0
                        for above in names[:place] for below in names[place:])), len(names)]
    groups = [names[start:end] for start, end in pairwise(cuts)]
    shown = " > ".join(group[0] if len(group) == 1 else "{" + ", ".join(group) + "}" for group in groups)
    return f"Order of all by {ORDERS[metric]}, in braces where the intervals do not tell every pair apart: {shown}."


def calibrated(calibration: pd.DataFrame, target: float) -> list[str]:
    """Psi and lambda of what was trained, the mean over seeds: at the lambda used, from state to state, Eq. 5."""
    calibration = calibration.dropna(subset="lambda_used")
    if calibration.empty:
        return []
    means = calibration.groupby(["state", "experiment"], sort=False).mean(numeric_only=True)
    return [*(at_used(means.loc[state], state, target) for state in states(calibration)), *drift(means), definitions(means)]


def at_used(rows: pd.DataFrame, state: str, target: float) -> str:
    """The λ of the trainings, its Psi, and lambda*; ``rows`` by experiment."""
    rows = rows.drop(index="baseline", errors="ignore")
    ratio = rows["lambda_used"] / rows["lambda_exact"]
    off = ratio[(ratio > 10**HALF_DECADE) | (ratio < 10**-HALF_DECADE)].index.tolist()
    values = ", ".join(f"{name} {number(row['lambda_used'])} (Ψ {row['psi_alg2']:.3f}, λ* {number(row['lambda_exact'])})"
                       for name, row in rows.iterrows())
    end = f"{listed(off)} more than half a decade from λ*" if off else "all within half a decade of λ*"
    return f"λ used in training, Ψ and λ* with {STATES[state]} (target {target:g}): {values}; {end}."


def drift(means: pd.DataFrame) -> list[str]:
    """How far lambda* moves from the untrained network to the others; ``means`` by state and experiment."""
    exact = means["lambda_exact"].drop("baseline", level="experiment", errors="ignore").unstack("state")
    parts = []
    for state in (name for name in STATES if name in exact and name != "untrained" and "untrained" in exact):
        ratio = exact["untrained"] / exact[state]
        parts.append(f"{number(ratio.min())} to {number(ratio.max())} times that with {STATES[state]}")
    return [f"The exact λ* with {STATES['untrained']} is {', '.join(parts)}."] if parts else []


def definitions(means: pd.DataFrame) -> str:
    """Eq. 5 against Algorithm 2, where both were measured."""
    gap = (means["psi_eq5"] - means["psi_alg2"]).abs()
    state, name = gap.idxmax()
    row = means.loc[(state, name)]
    return (f"Eq. 5 (mean of ratios) and Algorithm 2 (ratio of sums) differ by at most {gap.max():.4f} at the λ used "
            f"({name}, {state}: {row['psi_eq5']:.4f} against {row['psi_alg2']:.4f}).")
