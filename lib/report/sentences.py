"""The sentences of the claims: on Psi and lambda, from the table of the calibration, and on Tables 3 and 4.

A verdict says whether this run agrees with the paper or contradicts it.
"""

from typing import Final

import pandas as pd

from lib.paper import published
from lib.perceptual.psi import psi_algorithm2
from lib.report.words import left_out, listed, number, verdict

ALL: Final = 0.99  # Psi from which the perceptual term is 'approximately 100 %' of the loss
LITERATURE: Final = 0.1  # the literature's lambda, and the baseline's
HALF_DECADE: Final = 10**0.5  # how far from lambda* still counts as calibrated: the paper rounds to decades
PAIRS: Final = {"ImageNet": ("E1", "E2"), "Medical": ("E3", "E4")}  # shallow, deep
STATES: Final = {"untrained": "an untrained U-Net", "trained": "a trained U-Net"}
TIE: Final = 5e-4  # means of SSIM that differ by less count as equal: Table 3 prints three decimals
DIGITS: Final = {"ssim": 4, "psnr": 2}


def states(calibration: pd.DataFrame) -> list[str]:
    """The states of the network that were measured, untrained first."""
    return [state for state in STATES if state in set(calibration["state"])]


def depth(rows: pd.DataFrame, state: str) -> str:
    """Psi of the shallow and the deep layer at one lambda, in each context."""
    topic, parts, higher = f"Depth, with {STATES[state]}", [], []
    for context, (shallow, deep) in PAIRS.items():
        if {shallow, deep} <= set(rows.index):
            lambda_ = rows.loc[shallow, "lambda_exact"]
            first, second = (psi_algorithm2(*rows.loc[name, ["mse", "pl"]], lambda_) for name in (shallow, deep))
            higher.append(first > second)
            parts.append(f"{context} at λ = {number(lambda_)}: Ψ = {first:.3f} shallow ({shallow}), "
                         f"{second:.3f} deep ({deep})")
    if not parts:
        return left_out(topic, "E1 with E2, or E3 with E4")
    return (f"{topic}: {'; '.join(parts)}. At equal λ the shallow layer has the higher Ψ in {sum(higher)} of {len(higher)} "
            f"contexts; the paper says in both. {verdict(all(higher))}")


def literature(rows: pd.DataFrame, state: str) -> str:
    """Psi of the paper's experiments at the lambda that the literature uses."""
    topic = f"The literature's λ = 0.1, with {STATES[state]}"
    psi = {name: psi_algorithm2(*rows.loc[name, ["mse", "pl"]], LITERATURE) for name in published.CALIBRATED
           if name in rows.index}
    if not psi:
        return left_out(topic, "one of E1 to E4")
    short = [name for name, value in psi.items() if value < ALL]
    below = f"below {ALL:g} for {listed(short)}" if short else f"at least {ALL:g} in every configuration"
    return (f"{topic}: Ψ = {', '.join(f'{name} {value:.4f}' for name, value in psi.items())}; {below}. The paper says "
            f"approximately 100 % in all. {verdict(not short)}")


def at_used(rows: pd.DataFrame, state: str, target: float) -> str:
    """The λ of the trainings, its Psi, and lambda*."""
    rows = rows.drop(index="baseline", errors="ignore")
    if rows.empty:
        return ""
    off = off_target(rows)
    values = ", ".join(f"{name} {number(row['lambda_used'])} (Ψ {row['psi_alg2']:.3f}, λ* {number(row['lambda_exact'])})"
                       for name, row in rows.iterrows())
    end = f"{listed(off)} more than half a decade from λ*" if off else "all within half a decade of λ*"
    return f"λ used in training, Ψ and λ* with {STATES[state]} (target {target:g}): {values}; {end}."


def off_target(rows: pd.DataFrame) -> list[str]:
    """Experiments whose lambda is more than half a decade from lambda*."""
    ratio = rows["lambda_used"] / rows["lambda_exact"]
    return ratio[(ratio > HALF_DECADE) | (ratio < 1 / HALF_DECADE)].index.tolist()


def drift(table: pd.DataFrame) -> str:
    """How far lambda* moves from the untrained to the trained network."""
    exact = table["lambda_exact"].drop("baseline", level="experiment", errors="ignore")
    if set(exact.index.get_level_values("state")) != set(STATES):
        return ""
    ratio = exact["untrained"] / exact["trained"]
    return (f"The exact λ* of the untrained U-Net is {number(ratio.min())} to {number(ratio.max())} times that of the "
            "trained one: Algorithm 2 as printed (untrained) and the published Figure 2 (losses of the last epoch) "
            f"answer {'different questions' if ratio.max() > 3 or ratio.min() < 1 / 3 else 'nearly the same here'}.")


def definitions(calibration: pd.DataFrame) -> str:
    """Eq. 5 against Algorithm 2."""
    gap = (calibration["psi_eq5"] - calibration["psi_alg2"]).abs()
    row = calibration.loc[gap.idxmax()]
    return (f"Eq. 5 (mean of ratios) and Algorithm 2 (ratio of sums) differ by at most {gap.max():.4f} at the λ used "
            f"({row['experiment']}, {row['state']}: {row['psi_eq5']:.4f} against {row['psi_alg2']:.4f}).")


def decades(table: pd.DataFrame) -> str:
    """The decades of lambda* against the paper's lambdas."""
    parts, names = [], [name for name in published.CALIBRATED if name in table.index.get_level_values("experiment")]
    if not names:
        return left_out("The decades of λ* against the paper's", "one of E1 to E4")
    for state in table.index.get_level_values("state").unique():
        ours = table.loc[state, "lambda_decade"][names]
        same = [name for name, value in ours.items() if abs(value / published.LAMBDAS[name] - 1) < 1e-6]
        parts.append(f"{state}: {', '.join(map(number, ours))} ({'equal for ' + listed(same) if same else 'none equal'})")
    theirs = ", ".join(number(published.LAMBDAS[name]) for name in names)
    which = "E1 to E4" if len(names) == len(published.CALIBRATED) else listed(names)
    return f"The decades of λ* for {which} against the paper's {theirs}: {'; '.join(parts)}."


def ranking(table: pd.DataFrame) -> list[str]:
    """The paper's experiments that are here: the highest mean SSIM, the order, the best by each measure."""
    rows = table.loc[[name for name in published.TABLE_3 if name in table.index]].sort_values("ssim_mean", ascending=False)
    ssim, ours = rows["ssim_mean"], list(rows.index)
    group = "the paper's five" if len(rows) == len(published.TABLE_3) else f"the paper's {listed(sorted(ours))}"
    best = left_out("Highest mean SSIM against the paper's", "E1 and another of the paper's five experiments")
    if len(rows) < 2:
        needed = "two of the paper's five experiments"
        return [best, left_out("Order by SSIM against the paper's", needed), left_out("Best by measure", needed)]
    if "E1" in ours:
        tied = ssim.iloc[0] - ssim.iloc[1] < TIE
        tie = f", which is no difference at three decimals from {ours[1]} ({ssim.iloc[1]:.4f})" if tied else ""
        best = (f"Highest mean SSIM of {group}: {ours[0]} ({ssim.iloc[0]:.4f}){tie}; the paper's is E1 "
                f"({published.TABLE_3['E1'].ssim_mean:.3f}). {verdict('E1' in ours[: 2 if tied else 1])}")
    theirs = sorted(ours, key=lambda name: published.TABLE_3[name].rank)
    order = f"Order by SSIM: {' > '.join(ours)}; the paper's: {' > '.join(theirs)}. {verdict(False)}"
    if ours == theirs:
        order = f"The whole order is the paper's: {' > '.join(ours)}. {verdict(True)}"
    winners = {"SSIM": rows["ssim_mean"].idxmax(), "PSNR": rows["psnr_mean"].idxmax(),
               "NRMSE": rows["nrmse_mean"].idxmin(), "SSIM in the soft-tissue window": rows["ssim_window_mean"].idxmax()}
    end = "one winner by every measure" if len(set(winners.values())) == 1 else "the winner depends on the measure"
    values, whose = ", ".join(f"{metric} {name}" for metric, name in winners.items()), group.replace("paper's five", "five")
    measures = f"Best of {whose} by measure: {values}; {end}. In the paper E1 is best by all three of its measures."
    return [best, order, measures]


def own(table: pd.DataFrame) -> str:
    """Experiments that the paper does not have; nothing where there are none."""
    trained = table["ssim_mean"].drop("ldct", errors="ignore")
    places = trained.rank(ascending=False, method="min")
    parts = [f"{name} {trained[name]:.4f} (place {places[name]:.0f})" for name in trained.index
             if name not in ("mse", *published.TABLE_3)]
    return f"Not in the paper, SSIM and place among all {len(trained)} experiments: {', '.join(parts)}." if parts else ""


def control(table: pd.DataFrame, perceptual: list[str]) -> str:
    """Which perceptual losses are above the control with lambda = 0."""
    if "mse" not in table.index:
        return "The control λ = 0 has not been evaluated."
    parts = []
    for metric, digits in DIGITS.items():
        mean = table[f"{metric}_mean"]
        better = listed([name for name in perceptual if mean[name] > mean["mse"]]) or "no perceptual configuration"
        parts.append(f"{better} above it in {metric.upper()} (λ = 0: {mean['mse']:.{digits}f})")
    return f"Against the control λ = 0, which the paper does not show: {'; '.join(parts)}."


def without_denoising(table: pd.DataFrame) -> str:
    """Which experiments are above the LDCT input."""
    if "ldct" not in table.index:
        return "The LDCT input has not been evaluated."
    parts = []
    for metric, digits in DIGITS.items():
        mean = table[f"{metric}_mean"]
        worse = listed([name for name in mean.index if name != "ldct" and not mean[name] > mean["ldct"]])
        parts.append(f"every experiment {f'but {worse} ' if worse else ''}beats the LDCT input in {metric.upper()} "
                     f"({mean['ldct']:.{digits}f})")
    return f"Against no denoising at all: {'; '.join(parts)}."


def significance(table4: pd.DataFrame) -> list[str]:
    """What Table 4 says: against the paper's experiments, or against all where the reference is not E1."""
    reference = next(iter(table4["comparison"]), "").split(" vs ")[0]
    papers = table4["paper_ssim_other"].notna()
    rows = table4[papers if papers.any() else table4["other"] != "ldct"]
    if rows.empty:
        return [left_out("Table 4", "two experiments to compare")]
    significant, patients = rows["p_holm"] < published.ALPHA, int(table4["patients"].iloc[0])
    above, below = significant & (rows["difference"] > 0), significant & (rows["difference"] < 0)
    sure = (rows["difference_low"] > 0) | (rows["difference_high"] < 0)
    end = (f"; the paper has E1 above all four. {verdict(above.all())}" if papers.any()
           else "; the paper compares E1 with its other experiments, which this study lacks.")
    return [
        f"Table 4, Wilcoxon with Holm's correction: {reference} significantly above {_listed(rows[above])}, "
        f"significantly below {_listed(rows[below])} of {_listed(rows)}{end}",
        f"The bootstrap interval over patients and slices excludes zero for {_listed(rows[sure])}; it rests on "
        f"{patients} test patient{'s' * (patients != 1)}, and slices of one patient are not independent.",
    ]


def _listed(rows: pd.DataFrame) -> str:
    return listed(rows["other"].tolist()) or "none"


def rule(ssim: pd.Series, context: str, depth: str) -> str:
    """The paper's preference for one depth in a context."""
    pair, opposite = PAIRS[context], {"shallow": "deep", "deep": "shallow"}[depth]
    if not set(pair) <= set(ssim.index):
        return left_out(f"The paper's preference for the {depth} layer with {context}", " and ".join(pair))
    words = f"the {depth} layer is better", "there is no difference at three decimals", f"the {opposite} layer is better"
    ours = _compared(ssim, *(pair if depth == "shallow" else pair[::-1]), words)
    return f"With {context} the paper prefers the {depth} layer. Here {ours}"


def calibrating(ssim: pd.Series, calibration: pd.DataFrame) -> str:
    """E2 against the baseline: the same encoder and layer, lambda calibrated or the literature's."""
    lambdas = calibration.groupby("experiment")["lambda_used"].first()
    if not {"E2", "baseline"} <= set(ssim.index) & set(lambdas.index):
        return left_out("Whether calibrating λ helps on the same encoder and layer", "E2 and the baseline")
    if lambdas["E2"] == lambdas["baseline"]:
        return (f"E2's λ came out as the baseline's ({number(lambdas['E2'])}), so the two are one configuration: "
                "whether calibrating helps on that layer, as the paper says, this run cannot tell.")
    ours = _compared(ssim, "E2", "baseline", ("helps", "changes nothing at three decimals", "harms"))
    return f"Calibrating λ on the same encoder and layer (E2 against the baseline's 0.1) {ours}"


def advice(perceptual: pd.Series, control: float | None, calibration: pd.DataFrame) -> str:
    """The best lambda > 0 by mean SSIM, its gain over lambda = 0 (``control``), and how far lambda is from its target."""
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
        where = f"more than half a decade off its target for {listed(off)}" if off else "on target everywhere"
        parts.append(f"by the losses of {STATES[state]} λ is {where}")
    return "; ".join(parts) + ". Say with which state of the network a Ψ was measured."


def _compared(ssim: pd.Series, first: str, second: str, words: tuple[str, str, str]) -> str:
    """Word for first above, level with or below second, both means, and whether the paper, which has it above, agrees."""
    difference = ssim[first] - ssim[second]
    place = 1 if abs(difference) < TIE else 0 if difference > 0 else 2
    return (f"{words[place]}: SSIM {first} {ssim[first]:.4f} against {second} {ssim[second]:.4f} ({difference:+.4f}). "
            f"{verdict(place == 0)}")
