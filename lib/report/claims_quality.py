"""Sentences about image quality, from Tables 3 and 4, and the paper's rules of thumb.

A verdict says whether this run agrees with the paper or contradicts it. Means of SSIM that differ by less than
0.0005 count as equal (Table 3 prints three decimals).
"""

from typing import Final

import pandas as pd

from lib.paper import published
from lib.report.claims_influence import PAIRS, STATES, off_target, states
from lib.report.words import left_out, listed, number, verdict

TIE: Final = 5e-4  # SSIM
TWO: Final = "two of the paper's five experiments"


def winner(table: pd.DataFrame) -> str:
    """The highest mean SSIM of the paper's experiments against the paper's own."""
    ssim = _ranked(table)
    if "E1" not in ssim or len(ssim) < 2:
        return left_out("Highest mean SSIM against the paper's", "E1 and another of the paper's five experiments")
    first, second = ssim.index[:2]
    tied = ssim.iloc[0] - ssim.iloc[1] < TIE
    tie = f", which is no difference at three decimals from {second} ({ssim.iloc[1]:.4f})" if tied else ""
    agrees = "E1" in (first, second if tied else first)
    return (f"Highest mean SSIM of {_group(ssim)}: {first} ({ssim.iloc[0]:.4f}){tie}; the paper's is E1 "
            f"({published.TABLE_3['E1'].ssim_mean:.3f}). {verdict(agrees)}")


def order(table: pd.DataFrame) -> str:
    """The paper's experiments by mean SSIM, in this run and in the paper."""
    ours = list(_ranked(table).index)
    if len(ours) < 2:
        return left_out("Order by SSIM against the paper's", TWO)
    theirs = sorted(ours, key=lambda name: published.TABLE_3[name].rank)
    if ours == theirs:
        return f"The whole order is the paper's: {' > '.join(ours)}. {verdict(True)}"
    return f"Order by SSIM: {' > '.join(ours)}; the paper's: {' > '.join(theirs)}. {verdict(False)}"


def protocols(table: pd.DataFrame) -> str:
    """The best of the paper's experiments by each measure."""
    rows = table.loc[_ranked(table).index]
    if len(rows) < 2:
        return left_out("Best by measure", TWO)
    best = {"SSIM": rows["ssim_mean"].idxmax(), "PSNR": rows["psnr_mean"].idxmax(),
            "NRMSE": rows["nrmse_mean"].idxmin(), "SSIM in the soft-tissue window": rows["ssim_window_mean"].idxmax()}
    winners = ", ".join(f"{metric} {name}" for metric, name in best.items())
    end = "one winner by every measure" if len(set(best.values())) == 1 else "the winner depends on the measure"
    group = _group(rows).replace("the paper's five", "the five")
    return f"Best of {group} by measure: {winners}; {end}. In the paper E1 is best by all three of its measures."


def own(table: pd.DataFrame) -> str:
    """Experiments that the paper does not have; nothing where there are none."""
    trained = table["ssim_mean"].drop("ldct", errors="ignore")
    places = trained.rank(ascending=False, method="min").astype(int)
    names = [name for name in trained.index if name not in ("mse", *published.TABLE_3)]
    parts = [f"{name} {trained[name]:.4f} (place {places[name]})" for name in names]
    return f"Not in the paper, SSIM and place among all {len(trained)} experiments: {', '.join(parts)}." if parts else ""


def control(table: pd.DataFrame, perceptual: list[str]) -> str:
    """Which perceptual losses are above the control with lambda = 0."""
    if "mse" not in table.index:
        return "The control λ = 0 has not been evaluated."
    parts = []
    for metric, digits in (("ssim", 4), ("psnr", 2)):
        mean = table[f"{metric}_mean"]
        better = [name for name in perceptual if mean[name] > mean["mse"]]
        parts.append(f"{listed(better) if better else 'no perceptual configuration'} above it in {metric.upper()} "
                     f"(λ = 0: {mean['mse']:.{digits}f})")
    return f"Against the control λ = 0, which the paper does not show: {'; '.join(parts)}."


def without_denoising(table: pd.DataFrame) -> str:
    """Which experiments are above the LDCT input."""
    if "ldct" not in table.index:
        return "The LDCT input has not been evaluated."
    parts = []
    for metric, digits in (("ssim", 4), ("psnr", 2)):
        mean = table[f"{metric}_mean"]
        worse = [name for name in mean.index if name != "ldct" and not mean[name] > mean["ldct"]]
        beaten = f"every experiment but {listed(worse)} beats" if worse else "every experiment beats"
        parts.append(f"{beaten} the LDCT input in {metric.upper()} ({mean['ldct']:.{digits}f})")
    return f"Against no denoising at all: {'; '.join(parts)}."


def significance(table4: pd.DataFrame) -> list[str]:
    """What Table 4 says: against the paper's experiments, or against all where the reference is not E1."""
    reference = next(iter(table4["comparison"]), "").split(" vs ")[0]
    papers = table4["paper_ssim_other"].notna()
    rows = table4[papers if papers.any() else table4["other"] != "ldct"]
    if rows.empty:
        return [left_out("Table 4", "two experiments to compare")]
    above = rows[(rows["p_holm"] < published.ALPHA) & (rows["difference"] > 0)]["other"].tolist()
    below = rows[(rows["p_holm"] < published.ALPHA) & (rows["difference"] < 0)]["other"].tolist()
    sure = rows[(rows["difference_low"] > 0) | (rows["difference_high"] < 0)]["other"].tolist()
    patients = int(table4["patients"].iloc[0])
    end = (f"; the paper has E1 above all four. {verdict(len(above) == len(rows))}" if papers.any()
           else "; the paper compares E1 with its other experiments, which this study lacks.")
    return [
        f"Table 4, Wilcoxon with Holm's correction: {reference} significantly above {listed(above) or 'none'}, "
        f"significantly below {listed(below) or 'none'} of {listed(rows['other'].tolist())}{end}",
        f"The bootstrap interval over patients and slices excludes zero for {listed(sure) or 'none'}; it rests on "
        f"{patients} test patient{'s' * (patients != 1)}, and slices of one patient are not independent.",
    ]


def rule(ssim: pd.Series, context: str, depth: str) -> str:
    """The paper's preference for one depth in a context."""
    shallow, deep = PAIRS[context]
    preferred, other, opposite = (shallow, deep, "deep") if depth == "shallow" else (deep, shallow, "shallow")
    if not {preferred, other} <= set(ssim.index):
        return left_out(f"The paper's preference for the {depth} layer with {context}", f"{shallow} and {deep}")
    sign, values = _compared(ssim, preferred, other)
    ours = {1: f"the {depth} layer is better", 0: "there is no difference at three decimals",
            -1: f"the {opposite} layer is better"}[sign]
    return f"With {context} the paper prefers the {depth} layer. Here {ours}: SSIM {values}. {verdict(sign == 1)}"


def calibrating(ssim: pd.Series, calibration: pd.DataFrame) -> str:
    """E2 against the baseline: the same encoder and layer, lambda calibrated or the literature's."""
    lambdas = calibration.groupby("experiment")["lambda_used"].first()
    if not {"E2", "baseline"} <= set(ssim.index) & set(lambdas.index):
        return left_out("Whether calibrating λ helps on the same encoder and layer", "E2 and the baseline")
    if lambdas["E2"] == lambdas["baseline"]:
        return (f"E2's λ came out as the baseline's ({number(lambdas['E2'])}), so the two are one configuration: "
                "whether calibrating helps on that layer, as the paper says, this run cannot tell.")
    sign, values = _compared(ssim, "E2", "baseline")
    ours = {1: "helps", 0: "changes nothing at three decimals", -1: "harms"}[sign]
    return (f"Calibrating λ on the same encoder and layer (E2 against the baseline's 0.1) {ours}: SSIM {values}. "
            f"{verdict(sign == 1)}")


def advice(perceptual: pd.Series, control: float | None, calibration: pd.DataFrame) -> str:
    """The best lambda > 0, what it gains over lambda = 0, and how far from its target lambda is in each state.

    Parameters
    ----------
    perceptual : Series, mean SSIM of the experiments with a perceptual term
    control : float or None, that of the control with lambda = 0, if it is here
    """
    if perceptual.empty:
        return left_out("The best λ > 0", "an experiment with a perceptual term")
    parts = [f"Best λ > 0 in this run: {perceptual.idxmax()}"]
    if control is not None:
        gain = perceptual.max() - control
        parts.append(f"its SSIM is {abs(gain):.4f} {'above' if gain > 0 else 'below'} that of λ = 0, so the "
                     f"perceptual term {'earns its cost' if gain >= TIE else 'does not earn its cost'} by this measure")
    rows = calibration[calibration["experiment"] != "baseline"].set_index("experiment")
    for state in states(rows):
        off = off_target(rows[rows["state"] == state])
        parts.append(f"by the losses of {STATES[state]} λ is "
                     + (f"more than half a decade off its target for {listed(off)}" if off else "on target everywhere"))
    return "; ".join(parts) + ". Say with which state of the network a Ψ was measured."


def _ranked(table: pd.DataFrame) -> pd.Series:
    """Mean SSIM of the paper's experiments that are here, highest first."""
    return table.loc[[name for name in published.TABLE_3 if name in table.index], "ssim_mean"].sort_values(ascending=False)


def _group(rows: pd.Series | pd.DataFrame) -> str:
    return "the paper's five" if len(rows) == len(published.TABLE_3) else f"the paper's {listed(sorted(rows.index))}"


def _compared(ssim: pd.Series, first: str, second: str) -> tuple[int, str]:
    """1, 0 or -1: first above, level with or below second; and both means in words."""
    difference = ssim[first] - ssim[second]
    sign = 0 if abs(difference) < TIE else (1 if difference > 0 else -1)
    return sign, f"{first} {ssim[first]:.4f} against {second} {ssim[second]:.4f} ({difference:+.4f})"
