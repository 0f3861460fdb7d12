"""Answers to RQ1 to RQ3 as Markdown. Every number and every verdict is computed: no conclusion is written down here.

The sentences are in :mod:`lib.report.claims_influence` and :mod:`lib.report.claims_quality`. A sentence about experiments
that the study lacks is left out, and a line says so.
"""

from typing import Final

import pandas as pd

from lib.artifacts.files import write_text
from lib.report import claims_influence as influence
from lib.report import claims_quality as quality
from lib.report.labels import Labels
from lib.report.words import listed, number

SIMULATED_NOTE: Final = "The scans are simulated: rankings on them check the method and are no clinical evidence."


def rq1(labels: Labels, calibration: pd.DataFrame) -> str:
    """RQ1, how Psi varies with phi and c: depth at equal lambda, lambda = 0.1, the state it is measured in, Eq. 5.

    Parameters
    ----------
    calibration : DataFrame, a row an experiment with a perceptual term and state, Psi at lambda_used
    """
    if calibration.empty:
        return _answer(labels, "RQ1", ["No experiment of this study has a perceptual term, so there is no Ψ."])
    table = calibration.set_index(["state", "experiment"])
    lines = []
    for state in influence.states(calibration):
        rows = table.loc[state]
        lines += [influence.depth(rows, state), influence.literature(rows, state),
                  influence.at_used(rows, state, labels.target_psi)]
    lines += [influence.drift(table), influence.definitions(calibration), influence.decades(table)]
    note = f"Ψ and λ are measured on networks of seed {labels.seeds[0]} only, the first of {len(labels.seeds)}."
    return _answer(labels, "RQ1", lines, note if len(labels.seeds) > 1 else "")


def rq2(labels: Labels, table3: pd.DataFrame, table4: pd.DataFrame) -> str:
    """RQ2, which configuration denoises best: the ranking against the paper's, the controls that it lacks, Table 4.

    Parameters
    ----------
    table3, table4 : DataFrame, of :mod:`lib.stages.statistics`
    """
    table = table3.set_index("experiment")
    perceptual = [name for name in table.index if labels.experiments[name].layers]
    lines = [quality.winner(table), quality.order(table), quality.protocols(table), quality.own(table),
             quality.control(table, perceptual), quality.without_denoising(table), *quality.significance(table4)]
    return _answer(labels, "RQ2", lines, _seeds(labels))


def rq3(labels: Labels, table3: pd.DataFrame, calibration: pd.DataFrame) -> str:
    """RQ3, guidelines: the paper's rules of thumb, each held against this run's numbers."""
    ssim = table3.set_index("experiment")["ssim_mean"]
    perceptual = [name for name in ssim.index if labels.experiments[name].layers]
    lines = [quality.rule(ssim, "ImageNet", "shallow"), quality.rule(ssim, "Medical", "deep"),
             quality.calibrating(ssim, calibration), quality.advice(ssim[perceptual], ssim.get("mse"), calibration)]
    return _answer(labels, "RQ3", lines, _seeds(labels))


def trained(labels: Labels, history: pd.DataFrame, run: tuple[str, int]) -> str:
    """What one training did: pixel term on the validation set, its best epoch, Psi on the training set, first against last.

    Parameters
    ----------
    history : DataFrame, a row an epoch, as :mod:`lib.stages.train` writes it
    run : (str, int), its experiment and seed
    """
    name = f"{run[0]}, seed {run[1]}" if len(labels.seeds) > 1 else run[0]
    first, last, best = history.iloc[0], history.iloc[-1], history.loc[history["val_mse"].idxmin()]
    text = (f"**{name}**, {len(history)} epochs: validation {labels.experiments[run[0]].pixel} "
            f"{number(first['val_mse'])} to {number(last['val_mse'])}, lowest in epoch {best['epoch']:.0f} "
            f"({number(best['val_mse'])})")
    psi = pd.to_numeric(history["psi"]).dropna()
    text += f"; Ψ {psi.iloc[0]:.3f} to {psi.iloc[-1]:.3f}" if len(psi) else "; no perceptual term"
    return f"{text}. The last epoch's weights are evaluated, as the authors did.\n"


def save_claims(labels: Labels, *answers: str) -> str:
    """Write the answers to ``claims.md`` beside the figures, with the provenance line; returns them as one text."""
    text = "\n".join(answers)
    write_text(labels.figures / "claims.md", f"# What this run says\n\n{text}\n*{labels.provenance}*\n")
    return text


def _seeds(labels: Labels) -> str:
    seeds = listed([str(seed) for seed in labels.seeds])
    return f"Every score is the mean over {len(labels.seeds)} seeds ({seeds})." if len(labels.seeds) > 1 else ""


def _answer(labels: Labels, question: str, lines: list[str], note: str = "") -> str:
    notes = [each for each in (note, SIMULATED_NOTE if labels.simulated else "") if each]
    return "\n\n".join([f"**{question}**", "\n".join(f"- {line}" for line in lines if line), *notes]) + "\n"
