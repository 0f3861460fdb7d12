"""The claims of the paper and what a reader asks, each with a verdict (:mod:`lib.report.verdicts`): a table, and sentences.

Every number and verdict is computed. A claim about experiments that the study lacks is undecided, and says so.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from lib.artifacts.files import atomic, write_text
from lib.paper import published
from lib.report import sentences
from lib.report.labels import Labels
from lib.report.psi_claims import PAIRS, psi_claims
from lib.report.verdicts import LOWER_IS_BETTER, compared, equal, frame, lacking, row, weakest_compared

NAMES: Final = {"ldct": "the LDCT input", "mse": "the control λ = 0"}
RANKED: Final = sorted(published.TABLE_3, key=lambda name: published.TABLE_3[name].rank)
SIMULATED_NOTE: Final = "The scans are simulated: rankings on them check the method and are no clinical evidence."
QUESTIONS: Final = {"RQ1": "how Ψ varies with ϕ and c", "RQ2": "which configuration denoises best",
                    "RQ3": "guidelines", "reader": "what the paper does not show: no denoising at all, and λ = 0"}


def margins(ssim: float) -> dict[str, float]:
    """Differences that count as none: the study's of SSIM, half the smallest step in the paper's Table 3 of the others."""
    means = pd.DataFrame(published.TABLE_3.values())
    return {"ssim": ssim} | {metric: float(means[f"{metric}_mean"].sort_values().diff().min() / 2)
                             for metric in ("psnr", "nrmse")}


def collect(metrics: pd.DataFrame, calibration: pd.DataFrame, margin: float) -> pd.DataFrame:
    """All claims: a row of :data:`lib.report.verdicts.COLUMNS` each.

    Parameters
    ----------
    metrics : DataFrame, of :func:`lib.stages.evaluate.evaluate_all`
    calibration : DataFrame, a row per experiment with a perceptual term, state (untrained, pilot, own) and seed
    margin : float, SSIM, under which two experiments count as equal
    """
    return pd.concat([psi_claims(calibration), image_claims(metrics, calibration, margin)], ignore_index=True)


def image_claims(metrics: pd.DataFrame, calibration: pd.DataFrame, margin: float) -> pd.DataFrame:
    """RQ2, RQ3 and a reader's questions; estimates are differences in the direction of better (NRMSE: lower), the mean over
    patients and seeds. Arguments as in :func:`collect`."""
    limits, first = margins(margin), RANKED[0]

    def compare(claim: str, question: str, pairs: Sequence[tuple[str, str]], metric: str = "ssim", note: str = "") -> dict:
        return _compare(metrics, f"{claim} by {metric.upper()}", question, pairs, metric, limits[metric], note)

    rest = [(first, name) for name in RANKED[1:]]
    rows = [compare(f"{first} is the best of {', '.join(sorted(RANKED))}", "RQ2", rest, metric) for metric in limits]
    rows += [compare(_better(first, name), "RQ2", [(first, name)]) for name in published.TABLE_4]
    rows.append(compare(f"The order is {' > '.join(RANKED)}", "RQ2", list(pairwise(RANKED))))
    (shallow, deep), (medical_shallow, medical_deep) = PAIRS.values()
    rows += [
        compare(f"With ImageNet the shallow layer is better ({shallow} over {deep})", "RQ3", [(shallow, deep)]),
        compare(f"With Medical the deep layer is better ({medical_deep} over {medical_shallow})", "RQ3",
                [(medical_deep, medical_shallow)]),
        compare("Calibrating λ helps on the same encoder and layer (E2 over the baseline)", "RQ3", [("E2", "baseline")],
                note=_one_configuration(calibration)),
    ]
    names = [name for name in metrics["experiment"].unique() if name != "ldct"]
    perceptual = [name for name in names if name in set(calibration["experiment"])]
    for other, asked in (("ldct", names), ("mse", perceptual)):
        rows += [compare(_better(name, other), "reader", [(name, other)], metric)
                 for metric in ("ssim", "psnr") for name in asked]
    return frame(rows)


def _better(first: str, second: str) -> str:
    return f"{first} is better than {NAMES.get(second, second)}"


def _one_configuration(calibration: pd.DataFrame) -> str:
    lambdas = calibration.groupby("experiment")["lambda_used"].first()
    same = {"E2", "baseline"} <= set(lambdas.index) and lambdas["E2"] == lambdas["baseline"]
    return "E2's λ came out as the baseline's: the two are one configuration" if same else ""


def _compare(metrics: pd.DataFrame, claim: str, question: str, pairs: Sequence[tuple[str, str]], metric: str, margin: float,
             note: str) -> dict:
    unit = metric.upper()
    if note := note or lacking({name for pair in pairs for name in pair}, metrics["experiment"]):
        return row(claim, question, unit, note=note)
    parts = {pair: compared(metrics, *pair, metric, len(pairs)) for pair in pairs}
    pair, above = weakest_compared(parts, margin)
    part, several = parts[pair], len(pairs) > 1
    sign = -1 if metric in LOWER_IS_BETTER else 1
    theirs = [sign * np.subtract(*[getattr(published.TABLE_3[name], f"{metric}_mean") for name in pair]) for pair in pairs
              if set(pair) <= set(published.TABLE_3)]
    alike = equal(part.bounds, margin) if several else ""
    decided = f"decided by one of {len(pairs)}: {' over '.join(pair)}" if several else ""
    return row(claim, question, unit, part.bounds, above if several else None, margin,
               note="; ".join(filter(None, [decided, part.few, alike])), paper=min(theirs, default=np.nan),
               p_patients=np.nan if several else part.p, patients=part.patients, seeds=part.seeds)


def rq1(labels: Labels, calibration: pd.DataFrame) -> str:
    """The answer to RQ1 as Markdown: claims on Psi, then lambda and Psi as they came out."""
    return _answer(labels, "RQ1", psi_claims(calibration), sentences.calibrated(calibration, labels.target_psi))


def save_claims(labels: Labels, claims: pd.DataFrame, metrics: pd.DataFrame, calibration: pd.DataFrame) -> str:
    """Write ``claims.csv`` (of :func:`collect`) and ``claims.md``, the same in sentences, beside the figures, both with the
    provenance line; returns the text."""
    closer = [name for name in ("ssim_window", "ssim_body") if name in metrics and metrics[name].notna().all()]
    further: Mapping[str, list[str]] = {"RQ1": sentences.calibrated(calibration, labels.target_psi),
                                        "RQ2": [sentences.order(metrics)],
                                        "reader": [sentences.order(metrics, name) for name in closer]}
    text = "\n".join(_answer(labels, question, claims[claims["question"] == question], further.get(question, []))
                     for question in QUESTIONS)
    with atomic(labels.figures / "claims.csv") as temporary:
        claims.assign(provenance=labels.provenance).to_csv(temporary, index=False, lineterminator="\n")
    write_text(labels.figures / "claims.md", f"# What this run says\n\n{text}\n*{labels.provenance}*\n")
    return text


def _answer(labels: Labels, question: str, claims: pd.DataFrame, further: list[str]) -> str:
    lines = [sentences.sentence(claim) for claim in claims.to_dict("records")] + further
    head = f"**{question}**, {QUESTIONS[question]}: {sentences.tally(claims)}."
    return "\n\n".join(filter(None, (head, "\n".join(f"- {line}" for line in lines),
                                     SIMULATED_NOTE if labels.simulated else ""))) + "\n"
