"""Answers to RQ1 to RQ3 as Markdown, from the tables of :mod:`lib.stages.calibrate` and :mod:`lib.stages.statistics`.

Every number and verdict is computed. A sentence about experiments that the study lacks is left out, and a line says so.
"""

from typing import Final

import pandas as pd

from lib.artifacts.files import write_text
from lib.report import sentences
from lib.report.labels import Labels
from lib.report.words import listed, number

SIMULATED_NOTE: Final = "The scans are simulated: rankings on them check the method and are no clinical evidence."


def rq1(labels: Labels, calibration: pd.DataFrame) -> str:
    """RQ1, how Psi varies with phi and c: depth at equal lambda, lambda = 0.1, the state it is measured in, Eq. 5."""
    if calibration.empty:
        return _answer(labels, "RQ1", ["No experiment of this study has a perceptual term, so there is no Ψ."])
    table, lines = calibration.set_index(["state", "experiment"]), []
    for state in sentences.states(calibration):
        rows = table.loc[state]
        lines += [sentences.depth(rows, state), sentences.literature(rows, state),
                  sentences.at_used(rows, state, labels.target_psi)]
    lines += [sentences.drift(table), sentences.definitions(calibration), sentences.decades(table)]
    note = f"Ψ and λ are measured on networks of seed {labels.seeds[0]} only, the first of {len(labels.seeds)}."
    return _answer(labels, "RQ1", lines, note if len(labels.seeds) > 1 else "")


def rq2(labels: Labels, table3: pd.DataFrame, table4: pd.DataFrame) -> str:
    """RQ2, which configuration denoises best: the ranking against the paper's, the controls that it lacks, Table 4."""
    table = table3.set_index("experiment")
    perceptual = [name for name in table.index if labels.experiments[name].layers]
    return _answer(labels, "RQ2", [
        *sentences.ranking(table), sentences.own(table), sentences.control(table, perceptual),
        sentences.without_denoising(table), *sentences.significance(table4)], _seeds(labels))


def rq3(labels: Labels, table3: pd.DataFrame, calibration: pd.DataFrame) -> str:
    """RQ3, guidelines: the paper's rules of thumb, each held against this run's numbers."""
    ssim = table3.set_index("experiment")["ssim_mean"]
    perceptual = [name for name in ssim.index if labels.experiments[name].layers]
    return _answer(labels, "RQ3", [
        sentences.rule(ssim, "ImageNet", "shallow"), sentences.rule(ssim, "Medical", "deep"),
        sentences.calibrating(ssim, calibration), sentences.advice(ssim[perceptual], ssim.get("mse"), calibration),
    ], _seeds(labels))


def trained(labels: Labels, history: pd.DataFrame, run: tuple[str, int]) -> str:
    """What one training (experiment, seed) did: validation's pixel term, its best epoch, Psi on the training set."""
    name = f"{run[0]}, seed {run[1]}" if len(labels.seeds) > 1 else run[0]
    error, psi = history["val_mse"], pd.to_numeric(history["psi"]).dropna()
    influenced = f"Ψ {psi.iloc[0]:.3f} to {psi.iloc[-1]:.3f}" if len(psi) else "no perceptual term"
    return (f"**{name}**, {len(history)} epochs: validation {labels.experiments[run[0]].pixel} {number(error.iloc[0])} to "
            f"{number(error.iloc[-1])}, lowest in epoch {history.loc[error.idxmin(), 'epoch']:.0f} ({number(error.min())}); "
            f"{influenced}. The last epoch's weights are evaluated, as the authors did.\n")


def save_claims(labels: Labels, *answers: str) -> str:
    """Write the answers to ``claims.md`` beside the figures, with the provenance line; returns them as one text."""
    text = "\n".join(answers)
    write_text(labels.figures / "claims.md", f"# What this run says\n\n{text}\n*{labels.provenance}*\n")
    return text


def _seeds(labels: Labels) -> str:
    seeds = listed([str(seed) for seed in labels.seeds])
    return f"Every score is the mean over {len(labels.seeds)} seeds ({seeds})." if len(labels.seeds) > 1 else ""


def _answer(labels: Labels, question: str, lines: list[str], note: str = "") -> str:
    bullets = "\n".join(f"- {line}" for line in lines if line)
    return "\n\n".join(filter(None, (f"**{question}**", bullets, note, SIMULATED_NOTE if labels.simulated else ""))) + "\n"
