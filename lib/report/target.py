"""S7: is 0.95 a good target? Image quality along the target of Psi: figure, table, tests, claims, and their power."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import pandas as pd
from matplotlib.lines import Line2D

from lib.data.hu import WINDOW
from lib.metrics.patients import differences, holm
from lib.metrics.power import power_table
from lib.report.influence_tables import spread
from lib.report.labels import Labels
from lib.report.style import STYLE, legend_below, minus, new_figure, save_figure
from lib.report.tables import save_table
from lib.report.verdicts import Compared, compared, equal, frame, row, weakest_compared
from lib.report.words import hu_range, number
from lib.stages.statistics import few_units, of_patients

PANELS: Final = {"ssim": "SSIM", "psnr": "PSNR (dB)", "ssim_window": f"SSIM, {hu_range(WINDOW)}",
                 "bias_liver_hu": "bias in the liver (HU)", "noise_liver_hu": "noise in the liver (HU)",
                 "gamma_end": "Γ at the output, last epoch"}
ASKED: Final = {"ssim": "SSIM", "psnr": "PSNR"}
ENDS: Final = {"0": "the pixel term without the perceptual one", "1": "the perceptual term without the pixel one"}


def with_targets(table: pd.DataFrame) -> pd.DataFrame:
    """A sweep's table (:func:`lib.stages.sweep.sweep_table`) with the number ``target``, in its order; without a perceptual
    term Psi and Gamma are 0."""
    targets = table.assign(target=pd.to_numeric(table["change"]))
    shares = [f"{name}_{when}" for name in ("psi", "gamma") for when in ("start", "end")]
    targets.loc[(targets["target"] == 0) & ~targets["missing"].str.contains("training"), shares] = 0.0
    return targets.sort_values(["configuration", "target", "seed"], kind="stable").reset_index(drop=True)


@mpl.rc_context(STYLE)
def figure_target(labels: Labels, table: pd.DataFrame, ldct: pd.DataFrame) -> Path:
    """Means over the test slices along the target: a point for each training, a line through the means over seeds, the LDCT
    input as a dotted line. Targets stand side by side, whatever their distance.

    Parameters
    ----------
    table : DataFrame, of :func:`with_targets`
    ldct : DataFrame, scores of the input
    """
    figure, targets = new_figure(labels, 4.3), sorted(table["target"].unique())
    axes, aimed = figure.subplots(2, 3, sharex=True), labels.target_psi
    for panel, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        if name not in table or table[name].isna().all():  # no organs are known of these scans
            panel.set_visible(False)
            continue
        for loss, some in table.groupby("configuration", sort=False):
            style = labels.experiments[loss]
            places = [targets.index(each) for each in some["target"]]
            panel.plot(places, some[name], style.marker, color=style.colour, markersize=3.5)
            means = some.groupby("target")[name].mean()
            panel.plot([targets.index(each) for each in means.index], means, color=style.colour)
        if name in ldct and ldct[name].notna().any():
            panel.axhline(ldct[name].mean(), color="0.4", linewidth=0.8, linestyle=":")
        if aimed in targets:
            panel.axvline(targets.index(aimed), color="0.85", linewidth=3, zorder=0)
        panel.set_title(minus(title))
        panel.ticklabel_format(axis="y", useOffset=False)
    for panel in axes[-1]:
        panel.set_xticks(range(len(targets)), [f"{target:g}" for target in targets], rotation=90)
        panel.set_xlabel("target Ψ")
    handles = [Line2D([], [], color=each.colour, marker=each.marker, markersize=3.5, label=each.label)
               for each in map(labels.experiments.get, dict.fromkeys(table["configuration"]))]
    handles += [Line2D([], [], color="0.4", linewidth=0.8, linestyle=":", label="LDCT")]
    legend_below(figure, handles)
    return save_figure(labels, figure, "psi_target_sweep")


def sweep_shown(labels: Labels, table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Save ``psi_target_sweep.csv`` and return what one reads of it: a row for each loss and target, means over seeds
    [lowest, highest]. ``steps``: of a training."""
    rows = []
    columns = {"λ": "lambda_first", "Ψ, last epoch": "psi_end", "Γ, last epoch": "gamma_end", "SSIM": "ssim", "PSNR": "psnr",
               "NRMSE": "nrmse", "Liver bias (HU)": "bias_liver_hu", "Weights moved": "moved"}
    for (loss, target), some in table.groupby(["configuration", "target"], sort=False):
        cells = {title: spread(*(getattr(some[column], what)() for what in ("mean", "min", "max")))
                 for title, column in columns.items()}
        rows.append({"Loss": loss, "Target Ψ": f"{target:g}", **cells, "Seeds": some["seed"].nunique(),
                     "Missing": ", ".join(sorted(set(some["missing"]) - {""})) or "–"})
    return save_table(labels, table, "psi_target_sweep", f"The target of Ψ: trainings of {steps} steps from the same start, "
                      "λ calibrated on the first seed's pilot; the target 0 is the pixel term. Means over seeds [lowest, "
                      "highest]", pd.DataFrame(rows))


def target_tests(labels: Labels, metrics: pd.DataFrame, table: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Save ``target_tests.csv``: of each loss the study's target against each other one by SSIM, with the patient as the
    unit, as Table 4 has it: interval, sign-flip test with Holm's correction, equivalence to within ``margin``, mixed model
    with patients and seeds as random effects. Returns it as one reads it.
    """
    rows = []
    for loss, change in _others(table, labels.target_psi):
        rows.append({"configuration": loss, "target": float(change)}
                    | of_patients(metrics, _arm(loss, f"{labels.target_psi:g}"), _arm(loss, change), margin))
    tests = pd.DataFrame(rows or {"note": [f"no loss was trained at {labels.target_psi:g} and another target"]})
    if rows:
        tests.insert(6, "p_holm", holm(tests["p_patients"].to_numpy()))
        few = few_units(metrics["patient"].nunique(), table["seed"].nunique())
        tests["note"] = ["; ".join(filter(None, [few, each])) for each in tests["note"]]
    shown = pd.DataFrame([{"Note": tests["note"][0]}] if not rows else [{
        "Loss": each.configuration, "Against": f"{each.target:g}",
        "Difference in SSIM [95 %]": _interval(each.difference, each.difference_low, each.difference_high),
        "p over patients": number(each.p_patients), "p Holm": number(each.p_holm),
        f"p of ±{margin:g} or more": number(each.p_equivalence),
        "Mixed model (SE)": f"{each.mixed_difference:+.4f} ({each.mixed_se:.4f})" if each.mixed_se == each.mixed_se else "–",
        "p mixed": number(each.mixed_p), "Note": each.note or "–"} for each in tests.itertuples()])
    return save_table(labels, tests, "target_tests", f"The target {labels.target_psi:g} against each other one by SSIM: "
                      "mean difference with its interval over patients and seeds, sign-flip test over patients with Holm's "
                      "correction, two one-sided tests against the margin (small p: equal), mixed model score ~ arm + "
                      "(arm | patient) + (1 | series) + (arm | seed)", shown)


def power_shown(labels: Labels, metrics: pd.DataFrame, table: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Save ``power.csv``: what 2, 4, 8 ... test patients could show of the target against the pixel term, if patients differ
    as here; the standard deviation between patients is of each loss's difference in SSIM, the mean over seeds."""
    rows = []
    for loss, change in _others(table, labels.target_psi):
        if change == "0":
            means = differences(metrics, _arm(loss, f"{labels.target_psi:g}"), _arm(loss, change), "ssim").mean(axis=1)
            if len(means) > 1 and (sd := float(means.std())) > 0:
                rows.append(power_table(sd, margin).assign(configuration=loss, sd=sd, of=len(means)))
    why = f"no loss was trained at both {labels.target_psi:g} and 0, or its patients do not differ, or there is one"
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({"note": [why]})
    shown = pd.DataFrame([{"Note": found["note"][0]}] if not rows else [{
        "Loss": each.configuration, "Test patients": each.patients, "SD between patients": number(each.sd),
        "Least p of a sign-flip test": number(each.least_p), "Half width of the interval": number(each.half_width),
        "Least difference found with 80 %": number(each.detectable), f"Chance to find {margin:g}": f"{each.power:.0%}"}
        for each in found.itertuples()])
    return save_table(labels, found, "power", "What a number of test patients could show, at 5 %, of a difference in SSIM "
                      f"between the targets {labels.target_psi:g} and 0 (the paper has two): trainings are taken as given, "
                      "what seeds add is not in it", shown)


def target_claims(metrics: pd.DataFrame, table: pd.DataFrame, target: float, margin: float) -> pd.DataFrame:
    """Whether another target does better, whether both terms are needed, and whether the order of the losses hangs on it."""
    rows, losses = [], list(dict.fromkeys(table["configuration"]))
    changes = {loss: [change for each, change in _others(table, target) if each == loss] for loss in losses}
    for loss in losses:
        for metric, unit in ASKED.items():
            found = {change: compared(metrics, _arm(loss, f"{target:g}"), _arm(loss, change), metric, len(changes[loss]))
                     for change in changes[loss]}
            if found:
                rows.append(_no_better(loss, target, unit, found, margin if metric == "ssim" else 0.0))
            rows += [row(f"{loss}: the target {target:g} is better than {target_} ({ENDS[target_]}) in {unit}", "S7", unit,
                         each.bounds, margin=margin if metric == "ssim" else 0.0, p_patients=each.p, patients=each.patients,
                         seeds=each.seeds, note=each.few) for target_, each in found.items() if target_ in ENDS]
    if len(losses) > 1:
        rows += [_same_order(metrics, losses[:2], [f"{target:g}", *changes[losses[0]]], metric, unit, margin)
                 for metric, unit in ASKED.items()]
    return frame(rows)


def _no_better(loss: str, target: float, unit: str, found: dict[str, Compared], margin: float) -> dict:
    return _every(f"{loss}: no other target does better than {target:g} in {unit}" + (f" (by {margin:g})" if margin else ""),
                  unit, found, "against", shift=margin)


def _same_order(metrics: pd.DataFrame, losses: Sequence[str], changes: Sequence[str], metric: str, unit: str,
                margin: float) -> dict:
    first, second = losses
    there = set(metrics["experiment"])
    shared = [change for change in changes if change != "0" and {_arm(loss, change) for loss in losses} <= there]
    claim = f"{first} is better than {second} in {unit} at every target above 0"
    if not shared:
        return row(claim, "S7", unit, note="no target at which both were trained")
    found = {change: compared(metrics, _arm(first, change), _arm(second, change), metric, len(shared)) for change in shared}
    return _every(claim, unit, found, "at", margin if metric == "ssim" else 0.0)


def _every(claim: str, unit: str, found: dict[str, Compared], word: str, margin: float = 0.0, shift: float = 0.0) -> dict:
    """A claim that each of some differences, and ``shift``, is above zero; ``word``: between a note and a target."""
    change, above = weakest_compared(found, margin, shift)
    decided = f"decided by one of {len(found)}: {word} {change}" if len(found) > 1 else f"{word} {change}"
    part, alike = found[change], equal(found[change].bounds, margin)
    return row(claim, "S7", unit, part.bounds, above, margin, patients=part.patients, seeds=part.seeds,
               note="; ".join(filter(None, [decided, part.few, alike])))


def _others(table: pd.DataFrame, target: float) -> list[tuple[str, str]]:
    """Losses with each target that is not the study's, of those losses that were trained at that one, too."""
    found = [tuple(each) for each in table[["configuration", "change"]].drop_duplicates().to_numpy()]
    return [(loss, change) for loss, change in found if float(change) != target and (loss, f"{target:g}") in found]


def _arm(loss: str, change: str) -> str:
    return f"{loss}-{change}"


def _interval(middle: float, low: float, high: float) -> str:
    return f"{middle:+.4f}" + (f" [{low:+.4f}, {high:+.4f}]" if low == low else "")
