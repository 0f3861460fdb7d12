"""Sentences about Psi and lambda, from the table of the calibration."""

from typing import Final

import pandas as pd

from lib.paper import published
from lib.report.words import left_out, listed, number, verdict

ALL: Final = 0.99  # Psi from which the perceptual term is 'approximately 100 %' of the loss
LITERATURE: Final = 0.1  # the literature's lambda, and the baseline's
HALF_DECADE: Final = 10**0.5  # how far from lambda* still counts as calibrated: the paper rounds to decades
PAIRS: Final = {"ImageNet": ("E1", "E2"), "Medical": ("E3", "E4")}  # shallow, deep
STATES: Final = {"untrained": "an untrained U-Net", "trained": "a trained U-Net"}


def states(calibration: pd.DataFrame) -> list[str]:
    """The states of the network that were measured, untrained first."""
    return [state for state in STATES if state in set(calibration["state"])]


def depth(rows: pd.DataFrame, state: str) -> str:
    """Psi of the shallow and the deep layer at one lambda, in each context."""
    parts, higher = [], []
    for context, (shallow, deep) in PAIRS.items():
        if {shallow, deep} <= set(rows.index):
            lambda_ = rows.loc[shallow, "lambda_exact"]
            first, second = _psi(rows.loc[shallow], lambda_), _psi(rows.loc[deep], lambda_)
            higher.append(first > second)
            parts.append(f"{context} at λ = {number(lambda_)}: Ψ = {first:.3f} shallow ({shallow}), "
                         f"{second:.3f} deep ({deep})")
    if not parts:
        return left_out(f"Depth, with {STATES[state]}", "E1 with E2, or E3 with E4")
    return (f"Depth, with {STATES[state]}: {'; '.join(parts)}. At equal λ the shallow layer has the higher Ψ in "
            f"{sum(higher)} of {len(higher)} contexts; the paper says in both. {verdict(all(higher))}")


def literature(rows: pd.DataFrame, state: str) -> str:
    """Psi of the paper's experiments at the lambda that the literature uses."""
    psi = {name: _psi(rows.loc[name], LITERATURE) for name in _papers(rows.index)}
    if not psi:
        return left_out(f"The literature's λ = 0.1, with {STATES[state]}", "one of E1 to E4")
    short = [name for name, value in psi.items() if value < ALL]
    values = ", ".join(f"{name} {value:.4f}" for name, value in psi.items())
    below = f"below {ALL:g} for {listed(short)}" if short else f"at least {ALL:g} in every configuration"
    return (f"The literature's λ = 0.1, with {STATES[state]}: Ψ = {values}; {below}. The paper says "
            f"approximately 100 % in all. {verdict(not short)}")


def at_used(rows: pd.DataFrame, state: str, target: float) -> str:
    """The λ of the trainings, its Psi, and lambda*."""
    rows = rows.drop(index="baseline", errors="ignore")
    if rows.empty:
        return ""
    off = off_target(rows)
    values = ", ".join(
        f"{name} {number(row['lambda_used'])} (Ψ {row['psi_alg2']:.3f}, λ* {number(row['lambda_exact'])})"
        for name, row in rows.iterrows())
    end = f"{listed(off)} more than half a decade from λ*" if off else "all within half a decade of λ*"
    return f"λ used in training, Ψ and λ* with {STATES[state]} (target {target:g}): {values}; {end}."


def off_target(rows: pd.DataFrame) -> list[str]:
    """Experiments whose lambda is more than half a decade from lambda*."""
    ratio = rows["lambda_used"] / rows["lambda_exact"]
    return ratio[(ratio > HALF_DECADE) | (ratio < 1 / HALF_DECADE)].index.tolist()


def drift(table: pd.DataFrame) -> str:
    """How far lambda* moves from the untrained to the trained network."""
    if not set(STATES) <= set(table.index.get_level_values("state")):
        return ""
    before, after = (table.loc[state, "lambda_exact"].drop("baseline", errors="ignore") for state in STATES)
    ratio = before / after
    if ratio.empty:
        return ""
    return (f"The exact λ* of the untrained U-Net is {number(ratio.min())} to {number(ratio.max())} times that of the "
            "trained one: Algorithm 2 as printed (untrained) and the published Figure 2 (losses of the last epoch) "
            f"answer {'different questions' if (ratio.max() > 3 or ratio.min() < 1 / 3) else 'nearly the same here'}.")


def definitions(calibration: pd.DataFrame) -> str:
    """Eq. 5 against Algorithm 2."""
    gap = (calibration["psi_eq5"] - calibration["psi_alg2"]).abs()
    row = calibration.loc[gap.idxmax()]
    return (f"Eq. 5 (mean of ratios) and Algorithm 2 (ratio of sums) differ by at most {gap.max():.4f} at the λ used "
            f"({row['experiment']}, {row['state']}: {row['psi_eq5']:.4f} against {row['psi_alg2']:.4f}).")


def decades(table: pd.DataFrame) -> str:
    """The decades of lambda* against the paper's lambdas."""
    parts, names = [], _papers(table.index.get_level_values("experiment"))
    if not names:
        return left_out("The decades of λ* against the paper's", "one of E1 to E4")
    for state in table.index.get_level_values("state").unique():
        ours = table.loc[state, "lambda_decade"][names]
        same = [name for name, value in ours.items() if abs(value / published.LAMBDAS[name] - 1) < 1e-6]
        parts.append(f"{state}: {', '.join(number(value) for value in ours)} "
                     f"({'equal for ' + listed(same) if same else 'none equal'})")
    theirs = ", ".join(number(published.LAMBDAS[name]) for name in names)
    which = "E1 to E4" if len(names) == len(published.CALIBRATED) else listed(names)
    return f"The decades of λ* for {which} against the paper's {theirs}: {'; '.join(parts)}."


def _papers(index: pd.Index) -> list[str]:
    return [name for name in published.CALIBRATED if name in index]


def _psi(row: pd.Series, lambda_: float) -> float:
    """Algorithm 2 from a row's mean losses."""
    return lambda_ * row["pl"] / (row["mse"] + lambda_ * row["pl"])
