"""Answers to RQ1 to RQ3 as Markdown. Every number and every verdict is computed: no conclusion is written down here.

A verdict says whether this run agrees with the paper or contradicts it. Means of SSIM that differ by less than
0.0005 count as equal (Table 3 prints three decimals).
"""

from typing import Final

import pandas as pd

from lib.artifacts.files import write_text
from lib.paper import published
from lib.report.labels import SIMULATED_NOTE, number, provenance_line
from lib.study.config import Study

TIE: Final = 5e-4  # SSIM
ALL: Final = 0.99  # Psi from which the perceptual term is 'approximately 100 %' of the loss
HALF_DECADE: Final = 10**0.5  # how far from lambda* still counts as calibrated: the paper rounds to decades
PAIRS: Final = {"ImageNet": ("E1", "E2"), "Medical": ("E3", "E4")}  # shallow, deep
STATES: Final = {"untrained": "an untrained U-Net", "trained": "a trained U-Net"}


def rq1(study: Study, calibration: pd.DataFrame) -> str:
    """RQ1, how Psi varies with phi and c: depth at equal lambda, lambda = 0.1, the state it is measured in, Eq. 5.

    Args:
        calibration: a row an experiment (baseline, E1 to E4) and state, Psi at lambda_used.
    """
    table = calibration.set_index(["state", "experiment"])
    lines = []
    for state in [state for state in STATES if state in set(calibration["state"])]:
        rows = table.loc[state]
        lines += [_depth(rows, state), _tenth(rows, state), _at_used(study, rows, state)]
    lines += [_drift(table), _definitions(calibration), _decades(table)]
    return _answer("RQ1", [line for line in lines if line], study)


def rq2(study: Study, table3: pd.DataFrame, table4: pd.DataFrame) -> str:
    """RQ2, which configuration denoises best: the ranking against the paper's, the controls that it lacks, Table 4.

    Args:
        table3, table4: of :mod:`lib.stages.statistics`.
    """
    table = table3.set_index("experiment")
    return _answer("RQ2", [_winner(table), _order(table), _protocols(table), _control(table), _input(table),
                           *_significance(table4)], study)


def rq3(study: Study, table3: pd.DataFrame, calibration: pd.DataFrame) -> str:
    """RQ3, guidelines: the paper's rules of thumb, each held against this run's numbers."""
    ssim = table3.set_index("experiment")["ssim_mean"]
    lines = [_rule(ssim, "ImageNet", *PAIRS["ImageNet"], "shallow", "deep"),
             _rule(ssim, "Medical", *reversed(PAIRS["Medical"]), "deep", "shallow"),
             _calibrating(ssim, calibration), _advice(calibration, ssim)]
    return _answer("RQ3", lines, study)


def trained(history: pd.DataFrame, experiment: str) -> str:
    """What one training did: validation MSE, its best epoch, Psi on the training set, first epoch against last.

    Args:
        history: a row an epoch, as :mod:`lib.stages.train` writes it.
    """
    first, last, best = history.iloc[0], history.iloc[-1], history.loc[history["val_mse"].idxmin()]
    told = (f"**{experiment}**, {len(history)} epochs: validation MSE {number(first['val_mse'])} to "
            f"{number(last['val_mse'])}, lowest in epoch {best['epoch']:.0f} ({number(best['val_mse'])})")
    psi = pd.to_numeric(history["psi"]).dropna()
    told += f"; Ψ {psi.iloc[0]:.3f} to {psi.iloc[-1]:.3f}" if len(psi) else "; no perceptual term"
    return f"{told}. The last epoch's weights are evaluated, as the authors did.\n"


def save_claims(study: Study, *answers: str) -> str:
    """Write the answers to ``claims.md`` beside the figures, with the provenance line; returns them as one text."""
    text = "\n".join(answers)
    write_text(study.paths.figures / "claims.md", f"# What this run says\n\n{text}\n*{provenance_line(study)}*\n")
    return text


def _answer(question: str, lines: list[str], study: Study) -> str:
    notes = [SIMULATED_NOTE] if study.simulated else []
    return "\n".join([f"**{question}**", "", *(f"- {line}" for line in lines), *(["", *notes] if notes else [])]) + "\n"


def _verdict(agrees: bool) -> str:
    return "This **agrees** with the paper." if agrees else "This **contradicts** the paper."


def _list(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def _psi(row: pd.Series, lambda_: float) -> float:
    """Algorithm 2 from a row's mean losses."""
    return lambda_ * row["pl"] / (row["mse"] + lambda_ * row["pl"])


def _depth(rows: pd.DataFrame, state: str) -> str:
    parts, higher = [], []
    for context, (shallow, deep) in PAIRS.items():
        lambda_ = rows.loc[shallow, "lambda_exact"]
        first, second = _psi(rows.loc[shallow], lambda_), _psi(rows.loc[deep], lambda_)
        higher.append(first > second)
        parts.append(f"{context} at λ = {number(lambda_)}: Ψ = {first:.3f} shallow ({shallow}), "
                     f"{second:.3f} deep ({deep})")
    return (f"Depth, with {STATES[state]}: {'; '.join(parts)}. At equal λ the shallow layer has the higher Ψ in "
            f"{sum(higher)} of {len(higher)} contexts; the paper says in both. {_verdict(all(higher))}")


def _tenth(rows: pd.DataFrame, state: str) -> str:
    psi = {name: _psi(rows.loc[name], 0.1) for name in published.CALIBRATED}
    short = [name for name, value in psi.items() if value < ALL]
    values = ", ".join(f"{name} {value:.4f}" for name, value in psi.items())
    told = f"below {ALL:g} for {_list(short)}" if short else f"at least {ALL:g} in every configuration"
    return (f"The literature's λ = 0.1, with {STATES[state]}: Ψ = {values}; {told}. The paper says "
            f"approximately 100 % in all. {_verdict(not short)}")


def _off(rows: pd.DataFrame) -> list[str]:
    """Experiments whose lambda is more than half a decade from lambda*."""
    ratio = rows["lambda_used"] / rows["lambda_exact"]
    return ratio[(ratio > HALF_DECADE) | (ratio < 1 / HALF_DECADE)].index.tolist()


def _at_used(study: Study, rows: pd.DataFrame, state: str) -> str:
    rows = rows.loc[list(published.CALIBRATED)]
    off = _off(rows)
    values = ", ".join(
        f"{name} {number(row['lambda_used'])} (Ψ {row['psi_alg2']:.3f}, λ* {number(row['lambda_exact'])})"
        for name, row in rows.iterrows())
    told = f"{_list(off)} more than half a decade from λ*" if off else "all within half a decade of λ*"
    target = f"(target {study.calibration.target_psi:g})"
    return f"λ used in training, Ψ and λ* with {STATES[state]} {target}: {values}; {told}."


def _drift(table: pd.DataFrame) -> str:
    if not set(STATES) <= set(table.index.get_level_values("state")):
        return ""
    before, after = (table.loc[state, "lambda_exact"][list(published.CALIBRATED)] for state in STATES)
    ratio = before / after
    return (f"The exact λ* of the untrained U-Net is {number(ratio.min())} to {number(ratio.max())} times that of the "
            "trained one: Algorithm 2 as printed (untrained) and the published Figure 2 (losses of the last epoch) "
            f"answer {'different questions' if (ratio.max() > 3 or ratio.min() < 1 / 3) else 'nearly the same here'}.")


def _definitions(calibration: pd.DataFrame) -> str:
    gap = (calibration["psi_eq5"] - calibration["psi_alg2"]).abs()
    row = calibration.loc[gap.idxmax()]
    return (f"Eq. 5 (mean of ratios) and Algorithm 2 (ratio of sums) differ by at most {gap.max():.4f} at the λ used "
            f"({row['experiment']}, {row['state']}: {row['psi_eq5']:.4f} against {row['psi_alg2']:.4f}).")


def _decades(table: pd.DataFrame) -> str:
    parts = []
    for state in table.index.get_level_values("state").unique():
        ours = table.loc[state, "lambda_decade"][list(published.CALIBRATED)]
        same = [name for name, value in ours.items() if abs(value / published.EXPERIMENTS[name].lambda_ - 1) < 1e-6]
        parts.append(f"{state}: {', '.join(number(value) for value in ours)} "
                     f"({'equal for ' + _list(same) if same else 'none equal'})")
    theirs = ", ".join(number(published.EXPERIMENTS[name].lambda_) for name in published.CALIBRATED)
    return f"The decades of λ* for E1 to E4 against the paper's {theirs}: {'; '.join(parts)}."


def _ranked(table: pd.DataFrame) -> pd.Series:
    return table.loc[[name for name in published.TABLE_3 if name in table.index], "ssim_mean"].sort_values(ascending=False)


def _winner(table: pd.DataFrame) -> str:
    ssim = _ranked(table)
    first, second = ssim.index[:2]
    tied = ssim.iloc[0] - ssim.iloc[1] < TIE
    told = f", which is no difference at three decimals from {second} ({ssim.iloc[1]:.4f})" if tied else ""
    agrees = "E1" in (first, second if tied else first)
    return (f"Highest mean SSIM of the paper's five: {first} ({ssim.iloc[0]:.4f}){told}; the paper's is E1 "
            f"({published.TABLE_3['E1'].ssim_mean:.3f}). {_verdict(agrees)}")


def _order(table: pd.DataFrame) -> str:
    ours, theirs = list(_ranked(table).index), sorted(published.TABLE_3, key=lambda name: published.TABLE_3[name].rank)
    if ours == theirs:
        return f"The whole order is the paper's: {' > '.join(ours)}. {_verdict(True)}"
    return f"Order by SSIM: {' > '.join(ours)}; the paper's: {' > '.join(theirs)}. {_verdict(False)}"


def _protocols(table: pd.DataFrame) -> str:
    rows = table.loc[_ranked(table).index]
    best = {"SSIM": rows["ssim_mean"].idxmax(), "PSNR": rows["psnr_mean"].idxmax(),
            "NRMSE": rows["nrmse_mean"].idxmin(), "SSIM in the soft-tissue window": rows["ssim_window_mean"].idxmax()}
    told = ", ".join(f"{metric} {name}" for metric, name in best.items())
    end = "one winner by every measure" if len(set(best.values())) == 1 else "the winner depends on the measure"
    return f"Best of the five by measure: {told}; {end}. In the paper E1 is best by all three of its measures."


def _control(table: pd.DataFrame) -> str:
    if "mse" not in table.index:
        return "The control λ = 0 has not been evaluated."
    parts = []
    for metric, digits in (("ssim", 4), ("psnr", 2)):
        mean = table[f"{metric}_mean"]
        better = [name for name in published.TABLE_3 if name in mean.index and mean[name] > mean["mse"]]
        parts.append(f"{_list(better) if better else 'no perceptual configuration'} above it in {metric.upper()} "
                     f"(λ = 0: {mean['mse']:.{digits}f})")
    return f"Against the control λ = 0, which the paper does not show: {'; '.join(parts)}."


def _input(table: pd.DataFrame) -> str:
    if "ldct" not in table.index:
        return "The LDCT input has not been evaluated."
    parts = []
    for metric, digits in (("ssim", 4), ("psnr", 2)):
        mean = table[f"{metric}_mean"]
        worse = [name for name in mean.index if name != "ldct" and not mean[name] > mean["ldct"]]
        told = f"every experiment but {_list(worse)} beats" if worse else "every experiment beats"
        parts.append(f"{told} the LDCT input in {metric.upper()} ({mean['ldct']:.{digits}f})")
    return f"Against no denoising at all: {'; '.join(parts)}."


def _significance(table4: pd.DataFrame) -> list[str]:
    rows = table4[table4["other"].isin(list(published.TABLE_4))]
    above = rows[(rows["p_holm"] < published.ALPHA) & (rows["difference"] > 0)]["other"].tolist()
    below = rows[(rows["p_holm"] < published.ALPHA) & (rows["difference"] < 0)]["other"].tolist()
    sure = rows[(rows["difference_low"] > 0) | (rows["difference_high"] < 0)]["other"].tolist()
    patients = int(table4["patients"].iloc[0])
    return [
        f"Table 4, Wilcoxon with Holm's correction: E1 significantly above {_list(above) or 'none'}, significantly "
        f"below {_list(below) or 'none'} of {_list(rows['other'].tolist())}; the paper has E1 above all four. "
        f"{_verdict(len(above) == len(published.TABLE_4))}",
        f"The bootstrap interval over patients and slices excludes zero for {_list(sure) or 'none'}; it rests on "
        f"{patients} test patient{'s' * (patients != 1)}, and slices of one patient are not independent.",
    ]


def _compared(ssim: pd.Series, first: str, second: str) -> tuple[int, str]:
    """1, 0 or -1: first above, level with or below second; and both means in words."""
    difference = ssim[first] - ssim[second]
    sign = 0 if abs(difference) < TIE else (1 if difference > 0 else -1)
    return sign, f"{first} {ssim[first]:.4f} against {second} {ssim[second]:.4f} ({difference:+.4f})"


def _rule(ssim: pd.Series, context: str, preferred: str, other: str, depth: str, opposite: str) -> str:
    sign, told = _compared(ssim, preferred, other)
    ours = {1: f"the {depth} layer is better", 0: "there is no difference at three decimals",
            -1: f"the {opposite} layer is better"}[sign]
    return f"With {context} the paper prefers the {depth} layer. Here {ours}: SSIM {told}. {_verdict(sign == 1)}"


def _calibrating(ssim: pd.Series, calibration: pd.DataFrame) -> str:
    lambdas = calibration.groupby("experiment")["lambda_used"].first()
    if lambdas["E2"] == lambdas["baseline"]:
        return (f"E2's λ came out as the baseline's ({number(lambdas['E2'])}), so the two are one configuration: "
                "whether calibrating helps on that layer, as the paper says, this run cannot tell.")
    sign, told = _compared(ssim, "E2", "baseline")
    ours = {1: "helps", 0: "changes nothing at three decimals", -1: "harms"}[sign]
    return (f"Calibrating λ on the same encoder and layer (E2 against the baseline's 0.1) {ours}: SSIM {told}. "
            f"{_verdict(sign == 1)}")


def _advice(calibration: pd.DataFrame, ssim: pd.Series) -> str:
    parts = [f"Best λ > 0 in this run: {ssim[list(published.TABLE_3)].idxmax()}"]
    if "mse" in ssim:
        gain = ssim[list(published.TABLE_3)].max() - ssim["mse"]
        parts.append(f"its SSIM is {abs(gain):.4f} {'above' if gain > 0 else 'below'} that of λ = 0, so the "
                     f"perceptual term {'earns its cost' if gain >= TIE else 'does not earn its cost'} by this measure")
    rows = calibration[calibration["experiment"].isin(published.CALIBRATED)].set_index("experiment")
    for state in [state for state in STATES if state in set(rows["state"])]:
        off = _off(rows[rows["state"] == state])
        parts.append(f"by the losses of {STATES[state]} λ is "
                     + (f"more than half a decade off its target for {_list(off)}" if off else "on target everywhere"))
    return "; ".join(parts) + ". Say with which state of the network a Ψ was measured."
