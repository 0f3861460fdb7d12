"""Tables of Psi and lambda*: the calibration in all states, whether training moves lambda*, the authors' beside ours."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lib.perceptual import presets
from lib.report.labels import Labels
from lib.report.tables import save_table
from lib.report.words import number
from lib.stages.influence import DEPTHS

WHOSE = {"authors": "own, the authors'"}


def calibration_table(labels: Labels, states: pd.DataFrame) -> pd.DataFrame:
    """Save the losses, Psi and lambda of each experiment and state (:func:`lib.stages.influence.three_states`)."""
    return save_table(labels, states, "calibration", "Calibration. Mean losses, λ* for the target Ψ, and Ψ at the λ that "
                      "training uses, with an untrained U-Net, the pilot (MSE only) and each experiment's own in its last "
                      "epoch (its means: no Ψ by Eq. 5)", readable(labels, states))


def readable(labels: Labels, states: pd.DataFrame) -> pd.DataFrame:
    """The calibration as one reads it: few digits, no column that says the same everywhere."""
    pixel = ", ".join(dict.fromkeys(labels.experiments[name].pixel for name in states["experiment"]))
    same = [name for name in ("seed", "target_psi") if states[name].nunique() < 2]
    shown = states.drop(columns=same).rename(columns={
        "experiment": "Experiment", "seed": "Seed", "state": "State", "context": "Context", "phi": "ϕ",
        "mse": pixel or "MSE", "pl": "PL", "psi_eq5": "Ψ Eq. 5", "psi_alg2": "Ψ Alg. 2", "lambda_exact": "λ* exact",
        "lambda_decade": "λ* decade", "lambda_used": "λ used", "target_psi": "Ψ target"})
    shown["Context"] = [labels.experiments[name].context for name in states["experiment"]]
    for column in shown.select_dtypes(float):
        shown[column] = shown[column].map(_psi if column.startswith("Ψ") else number)
    return shown


def training_table(labels: Labels, frame: pd.DataFrame) -> pd.DataFrame:
    """Save :func:`lib.stages.influence.last_epochs` and return it by experiment, means over seeds with their ranges."""
    groups = frame.groupby("experiment", sort=False)

    def over_seeds(column: str) -> list[str]:
        return [spread(*(getattr(values, what)() for what in ("mean", "min", "max"))) for _, values in groups[column]]

    shown = pd.DataFrame({
        "Experiment": list(groups.groups), "Epochs": groups["epoch"].max().map("{:.0f}".format).tolist(),
        "Pixel term, training": over_seeds("mse"), "Pixel term, validation": over_seeds("val_mse"),
        "Ψ, last epoch": over_seeds("psi"), "Weights moved": over_seeds("moved")})
    return save_table(labels, frame, "training", "How the trainings ended [over seeds]. Weights moved: their distance from "
                      "where the training started, relative to the norm there; equal steps are not equal ways", shown)


def self_consistency_table(labels: Labels, frame: pd.DataFrame) -> pd.DataFrame:
    """Save :func:`lib.stages.influence.self_consistency` and return it as one reads it."""
    ranges = {name: frame[[name, f"{name}_low", f"{name}_high"]].to_numpy() for name in ("lambda_star", "psi")}
    shown = pd.DataFrame({
        "Network": frame["state"].replace(WHOSE), "Experiment": frame["experiment"],
        "λ used": frame["lambda_used"].map(number), "λ* after training": [spread(*row) for row in ranges["lambda_star"]],
        "Decades apart": frame["decades"].map(_decades),
        "Ψ after training": [spread(*row, _psi) for row in ranges["psi"]],
        "Ψ target": frame["target_psi"].map("{:g}".format)})
    return save_table(labels, frame, "self_consistency", "Self-consistency. λ, training with it, and λ* of the network that "
                      "comes out, by the losses of its last epoch [over seeds]; λ is right for its own network where both "
                      "are equal. Below, the authors' published losses and λ", shown)


def encoder_comparison_table(labels: Labels, frame: pd.DataFrame) -> pd.DataFrame:
    """Save :func:`lib.stages.influence.encoder_comparison` and return it as one reads it."""
    return save_table(labels, frame, "encoder_comparison", "The encoder's scale. Perceptual loss and λ* at each depth, of "
                      "the pilot (MSE only) and of each experiment's own network in its last epoch, beside the authors'; "
                      "decades: log10 of λ* by theirs", compared(labels, frame))


def compared(labels: Labels, frame: pd.DataFrame) -> pd.DataFrame:
    """The comparison as one reads it."""
    shown = pd.DataFrame({
        "Context": [context if state == "authors" else labels.experiments[presets.DEPTHS[context][0]].context
                    for context, state in zip(frame["context"], frame["state"], strict=True)],
        "Network": frame["state"].replace(WHOSE),
        "ϕ": [", ".join(row.dropna()) for _, row in frame[[f"phi_{depth}" for depth in DEPTHS]].iterrows()]})
    for name, field in {"PL": "pl", "λ*": "lambda"}.items():
        for column in (*DEPTHS, "ratio"):
            heading = f"{name} {'shallow / deep' if column == 'ratio' else column}"
            shown[heading] = frame[f"{field}_{column}"].map(number)
    for depth in ("shallow", "deep"):
        shown[f"Decades {depth}"] = frame[f"decades_{depth}"].map(_decades)
    return shown


def _psi(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"


def _decades(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}"


def spread(mean: float, low: float, high: float, text: Callable[[float], str] = number) -> str:
    """'1e-3 [9e-4, 2e-3]', or the mean alone where there is one seed."""
    return text(mean) + (f" [{text(low)}, {text(high)}]" if low < high else "")
