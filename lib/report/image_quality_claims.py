"""S6's claims: whether denoising takes noise or texture, what becomes of lesions, and what the perceptual term changes."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import pandas as pd

from lib.report.verdicts import compared, frame, lacking, row
from lib.report.words import listed
from lib.stages.evaluate import LDCT

MSE: Final = "mse"
UNKNOWN: Final = "no noise-free slices: the scans are not simulated"


class Question(NamedTuple):
    """One comparison of an experiment with MSE alone or with its input, of a column of ``image_quality.csv``."""

    says: str  # after the experiment's name
    column: str
    unit: str
    other: str  # with what
    margin: float  # under which two count as equal
    less: bool = False  # whether the claim says that the experiment has less of it

    def claim(self, experiment: str) -> str:
        return f"{experiment}: {self.says}"


QUESTIONS: Final = (
    Question("keeps more of the texture than a Gaussian filter that leaves as much noise", "texture_over_gaussian", "share",
             LDCT, 0.02),
    Question("noise has a mean frequency nearer to the NDCT's than after MSE alone", "off_mean_per_mm", "1/mm", MSE, 0.005,
             less=True),
    Question("more of the texture is left than after MSE alone", "texture", "share", MSE, 0.02),
    Question("the edge of a low-contrast lesion is sharper (f50) than after MSE alone", "lesion_f50_per_mm", "1/mm", MSE,
             0.005),
    Question("loses less of the LDCT's sharpness (f50) at the patient's surface than at a low-contrast lesion",
             "f50_gap_per_mm", "1/mm", LDCT, 0.005),
    Question("a low-contrast lesion loses contrast", "lesion_contrast", "share", LDCT, 0.02, less=True),
    Question("a low-contrast lesion is detected better than in the LDCT", "auc", "AUC", LDCT, 0.02),
)


def image_quality_claims(table: pd.DataFrame, perceptual: Sequence[str], experiments: Sequence[str]) -> pd.DataFrame:
    """Rows as of :func:`lib.report.verdicts.frame`: each question for each experiment.

    Parameters
    ----------
    table : DataFrame, of :func:`lib.report.image_quality.image_quality_table`
    perceptual, experiments : names of those with a perceptual term, which are compared with MSE alone, and of all
    """
    some = table[table["auc"].notna()] if "auc" in table else table
    return frame(_row(question, name, some) for question in QUESTIONS
                 for name in (perceptual if question.other == MSE else experiments))


def _row(question: Question, name: str, table: pd.DataFrame) -> dict:
    claim = question.claim(name)
    note = lacking([name, question.other], table["experiment"]) if question.column in table else UNKNOWN
    if note:
        return row(claim, "S6", question.unit, note=note)
    order = (question.other, name) if question.less else (name, question.other)
    known = table[table["experiment"].isin(order)]
    whole = known[question.column].notna().groupby(known["patient"]).all()
    if not whole.any():
        return row(claim, "S6", question.unit, note="no patient has a value of both")
    if not whole.all():
        note = f"without {listed(whole.index[~whole].tolist())}, of whom there is no value"
        known = known[known["patient"].map(whole)]
    found = compared(known, *order, question.column)
    return row(claim, "S6", question.unit, found.bounds, margin=question.margin, p_patients=found.p, patients=found.patients,
               seeds=found.seeds, note="; ".join(filter(None, [found.few, note])))
