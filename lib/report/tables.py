"""Tables 1 to 4, each as CSV (full precision), Markdown and LaTeX (as one reads them)."""

import re
from typing import Final

import numpy as np
import pandas as pd

from lib.artifacts.files import atomic, write_text
from lib.data.hu import HU_MAX, HU_MIN, WINDOW
from lib.metrics import linear_probe
from lib.paper import published
from lib.report.labels import UNLEARNT, Labels
from lib.report.words import hu_range, listed, number

SYMBOLS: Final = {
    "λ*": r"$\lambda^{*}$", "λ": r"$\lambda$", "Ψ": r"$\Psi$", "ϕ": r"$\phi$", "β_1": r"$\beta_1$",
    "β_2": r"$\beta_2$", "±": r"$\pm$", "≥": r"$\geq$", "<": r"$<$", ">": r"$>$", "|": r"$|$", "–": "--", "∞": r"$\infty$",
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
WIDE: Final = 40  # characters: longer cells wrap in LaTeX
DIFFERENCE: Final = ["difference", "difference_low", "difference_high"]
_SYMBOL = re.compile("|".join(re.escape(symbol) for symbol in sorted(SYMBOLS, key=len, reverse=True)))
_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e(-?\d+)(?![\w.])")
OPEN_CHOICES: Final = (
    ("max_patches", "Patches of the grid that are used.", "all"),
    ("sampling", "Which patches of the grid, and how often.", "grid"),
    ("start", "Where the weights of a training come from.", "scratch"),
    ("pilot", "What was trained before, with MSE alone, from scratch.", "none"),
    ("upsampling", "How the U-Net doubles a side.", "transposed"),
    ("output_bias", "Start of the U-Net's last bias.", "zero"),
    ("schedule", "Learning rate over the epochs.", "constant"),
    ("order", "What is shuffled.", "slices"),
    ("encoder", "The encoder of the perceptual loss.", "VGG-19 ImageNet"),
    ("phi", "Shallow and deep layer ϕ.", "block3_conv2, block5_conv4"),
    ("lambda_rule", "How λ is chosen (E1 to E4).", "untrained U-Net in the text, decade; not in the code"),
)
"""Rows on which the paper's Table 2 is silent: name, description, the paper's value."""


def save_table(labels: Labels, data: pd.DataFrame, name: str, title: str, shown: pd.DataFrame | None = None) -> pd.DataFrame:
    """Write ``<name>.csv``, ``.md`` and ``.tex`` beside the figures, atomically, each with the provenance line.

    Parameters
    ----------
    data : DataFrame, all numbers in full precision; the CSV adds a last column ``provenance``
    name, title : str, of the files and of the table; plain text, Greek letters become LaTeX
    shown : DataFrame, optional, the same for readers: strings, fewer columns; it is returned. Default: ``data``.
    """
    provenance, stem = labels.provenance, labels.figures / name
    readable = (data if shown is None else shown).map(_cell)
    with atomic(stem.with_suffix(".csv")) as temporary:
        data.assign(provenance=provenance).to_csv(temporary, index=False, lineterminator="\n")
    table = readable.map(_markdown).rename(columns=_markdown).to_markdown(index=False, disable_numparse=True)
    write_text(stem.with_suffix(".md"), f"**{_markdown(title)}**\n\n{table}\n\n*{_markdown(provenance)}*\n")
    write_text(stem.with_suffix(".tex"), _latex(readable, name, title, provenance))
    return readable


def _cell(value: object) -> str:
    if isinstance(value, float) and np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return "–" if pd.isna(value) else number(value) if isinstance(value, float) else str(value)


def _markdown(text: str) -> str:
    return re.sub(r"([|*_<])", r"\\\1", str(text))


def _escape(text: str) -> str:
    """Plain text as LaTeX, powers of ten and Greek as math: Styler knows neither, and leaves captions as they are."""
    plain = _SYMBOL.sub(lambda match: SYMBOLS[match.group()], str(text))
    return _POWER.sub(r"$\1 \\times 10^{\2}$", plain).replace(r"$1 \times 10", "$10")


def _latex(shown: pd.DataFrame, name: str, title: str, provenance: str) -> str:
    """A complete table: booktabs, caption, label, footnote, as wide as the page."""
    wide = [max(map(len, shown[column]), default=0) > WIDE for column in shown]
    table = shown.style.hide(axis="index").format(_escape).format_index(_escape, axis=1).to_latex(
        hrules=True, label=f"tab:{name}", position="htbp", position_float="centering",
        caption=_escape(re.sub(r"^Table \d\. ", "", title)),  # LaTeX counts by itself
        column_format="".join(r"p{0.3\textwidth}" if each else "l" for each in wide))
    table = table.replace(r"\begin{tabular}", "\\resizebox{\\textwidth}{!}{%\n\\begin{tabular}").replace(
        r"\end{tabular}", "\\end{tabular}}\n\\par\\smallskip\n{\\footnotesize " + _escape(provenance) + r"\par}")
    return f"% needs \\usepackage{{booktabs,graphicx}}\n% {provenance}\n{table}"


def table1(labels: Labels) -> pd.DataFrame:
    """Table 1: perceptual losses in the literature, as the paper lists them. Returns the table to display."""
    frame = pd.DataFrame(published.TABLE_1).rename(columns={"lambda_": "lambda"})
    shown = frame.set_axis(["Reference", "Encoder", "λ", "ϕ", "Context", "Notes"], axis=1).replace("lambda", "λ", regex=True)
    return save_table(labels, frame, "table1", "Table 1. Perceptual losses for LDCT enhancement in the literature (the "
                      "paper's Table 1; NS: not stated)", shown)


def table2(labels: Labels, calibration: pd.DataFrame) -> pd.DataFrame:
    """Table 2: the paper's hyperparameters beside the values of this study, what Table 2 leaves open, and each
    experiment's lambda with its rule and its Psi (Algorithm 2) in each state. Returns the table to display."""
    rows = [(name, text, number(value)) for name, text, value in published.TABLE_2]
    rows = [(*row, _cell(labels.settings[row[0]])) for row in (*rows, *OPEN_CHOICES) if labels.settings[row[0]] != ""]
    for experiment, states in calibration.dropna(subset="lambda_used").groupby("experiment", sort=False):
        label = labels.experiments[experiment]
        means = states.groupby("state", sort=False)["psi_alg2"].mean()
        psi = ", ".join(f"{state} {value:.3f}" for state, value in means.items())
        rows.append((f"λ {experiment}", f"{label.label}; {label.lambda_rule}; Ψ {psi}",
                     number(published.LAMBDAS.get(experiment)), number(states["lambda_used"].iloc[0])))
    frame = pd.DataFrame(rows, columns=["hyperparameter", "description", "paper", "used"])
    shown = frame.replace({"hyperparameter": {"beta": "β"}}, regex=True).rename(columns=str.capitalize)
    return save_table(labels, frame.replace({"hyperparameter": {r"^λ ": "lambda_"}}, regex=True), "table2",
                      "Table 2. Hyperparameters: the paper's and those of this run", shown)


def table3(labels: Labels, frame: pd.DataFrame) -> pd.DataFrame:
    """Save :func:`lib.stages.statistics.table3` and return it as the paper prints it: mean (SD), its own values beside."""
    shown = pd.DataFrame({"Experiment": frame["experiment"]})
    for metric, digits in (("ssim", 3), ("psnr", 2), ("nrmse", 3)):
        shown[metric.upper()] = mean_sd(frame, metric, digits)
        shown[f"{metric.upper()} paper"] = mean_sd(frame, f"paper_{metric}", digits)
    shown["Rank"], shown["Rank paper"] = frame["rank"], frame["paper_rank"]
    shown["SSIM window"], shown["PSNR window"] = mean_sd(frame, "ssim_window", 3), mean_sd(frame, "psnr_window", 2)
    shown["λ used"] = frame["lambda_used"].map(number)
    for state in ("untrained", "pilot", "own"):
        shown[f"Ψ {state}"] = _digits(frame[f"psi_{state}"], 3)
    if frame["ssim_body"].notna().any():
        shown["SSIM body"], shown["Liver bias (HU)"] = _digits(frame["ssim_body"], 3), _digits(frame["bias_liver_hu"], 1)
    if (frame["seeds"] > 1).any():
        shown["Seeds"] = frame["seeds"].map(lambda count: str(count or "–"))
        for metric, digits in (("ssim", 4), ("psnr", 2), ("nrmse", 4)):
            shown[f"SD of {metric.upper()} over seeds"] = _digits(frame[f"{metric}_seed_sd"], digits)
    lacking = listed(frame.loc[frame["paper_rank"].isna(), "experiment"].tolist())
    return save_table(labels, frame, "table3", "Table 3. Image quality on the test slices, mean (SD): the authors' protocol "
                      f"(uint8 over {hu_range((HU_MIN, HU_MAX))}) and a window of {hu_range(WINDOW)} (float); Ψ by "
                      "Algorithm 2 at the λ used, with an untrained network, with the pilot (MSE alone) and at the end of "
                      f"its own training. Ranked by SSIM among the paper's five; the paper has no rows {lacking}", shown)


def _digits(values: pd.Series, digits: int) -> pd.Series:
    return values.map(f"{{:z.{digits}f}}".format).replace("nan", "–")


def mean_sd(frame: pd.DataFrame, metric: str, digits: int) -> list[str]:
    """'0.912 (0.034)' of each row; '–' where nothing was measured."""
    return ["–" if pd.isna(mean) else "∞" if np.isinf(mean) else f"{mean:.{digits}f} ({sd:.{digits}f})"
            for mean, sd in zip(frame[f"{metric}_mean"], frame[f"{metric}_sd"], strict=True)]


def table4(labels: Labels, frame: pd.DataFrame) -> pd.DataFrame:
    """Save :func:`lib.stages.statistics.table4` and return what a reader needs of it."""
    reference = next(iter(frame["comparison"]), "One experiment").split(" vs ")[0]
    paired = zip(frame.iloc[:, 2], frame["ssim_other"], strict=True)  # ssim_e1 or ssim_reference
    papers = zip(frame["paper_ssim_e1"], frame["paper_ssim_other"], strict=True)
    shown = pd.DataFrame({
        "Comparison": frame["comparison"], "SSIMs": [f"{a:.4f} vs {b:.4f}" for a, b in paired],
        "SSIMs paper": ["–" if np.isnan(a) else f"{a:.4f} vs {b:.4f}" for a, b in papers],
        "Paper's method: p over slices": frame["log10_p"].map(_p_value), "p paper": frame["paper_p_value"],
        "d": frame["cohens_d"].map("{:z.2f}".format), "d paper": frame["paper_cohens_d"],
        "Significant": frame["significant"],
        "Difference [95 %]": [_interval(*each) for each in frame[DIFFERENCE].itertuples(index=False)],
        "p over patients": frame["p_patients"], "p Holm": frame["p_holm"],
        f"p of ±{next(iter(frame['margin']), np.nan):g} or more": frame["p_equivalence"],
        "Mixed model (SE)": [_interval(a, se=b) for a, b in zip(frame["mixed_difference"], frame["mixed_se"], strict=True)],
        "p mixed": frame["mixed_p"], "Patients": frame["patients"], "Seeds": frame["seeds"], "Slices": frame["slices"],
        "Note": frame["note"].replace("", "–"),
    })
    return save_table(labels, frame, "table4", f"Table 4. {reference} against each other experiment by SSIM. What the "
                      "paper's method gives, slices taken as independent: two-sided Wilcoxon p, Cohen's d of independent "
                      "samples. With the patient as the unit: mean difference, its interval over patients and seeds, "
                      "sign-flip test over patients with Holm's correction, two one-sided tests against the margin (small "
                      "p: equal), mixed model score ~ arm + (arm | patient) + (1 | series) + (arm | seed)", shown)


def _interval(middle: float, low: float = np.nan, high: float = np.nan, se: float = np.nan, form: str = "+.4f") -> str:
    """'+0.0120 [+0.0088, +0.0152]'; what is not known is left out."""
    shown = "–" if np.isnan(middle) else f"{middle:{form}}"
    return shown + (f" [{low:{form}}, {high:{form}}]" if low == low else "") + (f" ({se:.4f})" if se == se else "")


def _p_value(log10_p: float) -> str:
    """The p value from its logarithm: also below what a float can hold."""
    if log10_p > -3:
        return f"{10**log10_p:.3g}"
    digits, _, carry = f"{10 ** (log10_p % 1):.1e}".partition("e")
    return f"{digits}e{int(np.floor(log10_p)) + int(carry)}"


def probe_table(labels: Labels, probe: pd.DataFrame) -> pd.DataFrame:
    """Save what each encoder's features tell about patients that fine-tuning never saw, and whether the Medical encoder
    learnt something; returns the table to display."""
    found, learnt = linear_probe.summary(probe), linear_probe.learnt(probe)
    tuned = found["encoder"] == linear_probe.TUNED
    found["learnt"] = [learnt[phi] if mine else None for phi, mine in zip(found["phi"], tuned, strict=True)]
    contexts = (each.context.removesuffix(UNLEARNT) for each in labels.experiments.values())
    names = {context.rstrip("*"): context for context in contexts}
    shown = pd.DataFrame({
        "ϕ": found["phi"], "Encoder": [names.get(name, name) for name in found["encoder"]], "Patients": found["patients"],
        "Chance": found["chance"].map("{:.3f}".format),
        "Accuracy [95 %]": [_interval(*row, form=".3f") for row in found[["accuracy", "low", "high"]].to_numpy()],
        f"Gain over {linear_probe.START}, paired [95 %]": [
            _interval(*row, form="+.3f") for row in found[["difference", "difference_low", "difference_high"]].to_numpy()],
        "Learnt": found["learnt"].map({True: "yes", False: "nothing measurable"}).fillna("–")})
    return save_table(labels, found, "probe", "Linear probe. Accuracy of the class of a cell, in patients that the Medical "
                      "encoder never saw; t intervals over patients", shown)
