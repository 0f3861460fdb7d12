"""Series to pairs of doses: partners lie on the same grid, and their slices at the same z. Mayo's doses have other
studies and frames of reference, so no UID can tell them; in collections that we do not know the
doses must share one of the two."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from lib.data.dicom.geometry import TOLERANCE, difference
from lib.data.dicom.identity import Problem
from lib.data.dicom.series import Series, SeriesKind, matched, overlap
from lib.data.doses import DOSES, FULL, LOW


class SeriesKey(NamedTuple):
    """One series: its kind, and its number among those of a patient that are of one kind (1 where there is one)."""

    patient: str
    dose: str
    kernel: str
    thickness_mm: float
    number: int = 1

    def __str__(self) -> str:
        return str(SeriesKind(*self[:4])) + (f", series {self.number}" if self.number > 1 else "")


class PairKey(NamedTuple):
    """What the two doses of a paired series share."""

    patient: str
    kernel: str
    thickness_mm: float
    number: int = 1

    def of(self, dose: str) -> SeriesKey:
        """The series of one dose."""
        return SeriesKey(self.patient, dose, self.kernel, self.thickness_mm, self.number)


def paired(found: list[Series], known: bool, problems: list[Problem]) -> tuple[dict[SeriesKey, Series], list[PairKey]]:
    """Every usable series by its key, and the keys of those that have both doses: partners have the same number. `known`: of
    a collection whose doses have other studies. What has no partner goes to `problems`."""
    kinds: dict[PairKey, dict[str, list[Series]]] = defaultdict(lambda: {dose: [] for dose in DOSES})
    for each in found:
        kinds[PairKey(each.kind.patient, each.kind.kernel, each.kind.thickness_mm)][each.kind.dose].append(each)
    series, pairs = {}, []
    for kind, doses in sorted(kinds.items()):
        partners = _partners(doses[FULL], doses[LOW], known)
        taken = {id(each) for pair in partners for each in pair}
        for number, pair in enumerate(partners, start=1):
            key = kind._replace(number=number)
            pairs.append(key)
            series |= {key.of(dose): each for dose, each in zip(DOSES, pair, strict=True)}
            problems += _unpaired(key, pair)
        for dose, other in ((FULL, LOW), (LOW, FULL)):
            rest = [each for each in doses[dose] if each.usable and id(each) not in taken]
            for number, each in enumerate(rest, len(partners) + 1):
                key = kind._replace(number=number).of(dose)
                series[key] = each
                why = _reason(each, doses[other], known)
                text = f"{key}: {why}, {len(each.slices)} slice(s) not paired"
                problems.append(Problem(each.first, "no partner", text, "add the other dose, or leave it", len(each.slices)))
    return series, pairs


def _partners(full: list[Series], low: list[Series], known: bool) -> list[tuple[Series, Series]]:
    """Those that fit each other and nothing else; an equal frame of reference decides between several that fit. What is left
    out counts, too, beside a usable one: the partner of a phase that is left out must not become another phase's."""
    both = [(one, other) for one in full for other in low]
    shape = len(full), len(low)
    fits = np.array([not _mismatch(*pair, known) for pair in both], bool).reshape(shape)
    same = np.array([one.frame_uid == other.frame_uid != "" for one, other in both], bool).reshape(shape) & fits
    fits &= same | ~(same.any(axis=1, keepdims=True) | same.any(axis=0, keepdims=True))

    def only(found: list[Series], place: int, fitting: np.ndarray) -> bool:
        others = [found[i] for i in np.flatnonzero(fitting) if i != place]
        return found[place].usable and not any(each.usable or overlap(each, found[place]) for each in others)

    return [(full[i], low[j]) for i, j in np.argwhere(fits) if only(full, i, fits[:, j]) and only(low, j, fits[i])]


def _mismatch(one: Series, other: Series, known: bool) -> str:
    """Why two series of other doses are no pair; '' if they are one."""
    if not known and one.study_uid != other.study_uid and not (one.frame_uid and one.frame_uid == other.frame_uid):
        return "the other dose is of another study and frame of reference"
    if what := difference(one.grid, other.grid):
        return f"the other dose has another geometry ({what}; {TOLERANCE:g} of a pixel may differ)"
    if not matched(one, other):
        return "no slice is at the same z as one of the other dose"
    return ""


def _reason(series: Series, others: list[Series], known: bool) -> str:
    if not others:
        return "the series has no partner at the other dose"
    reasons = [_mismatch(series, other, known) for other in others]
    if [other.usable for other, reason in zip(others, reasons, strict=True) if not reason] == [False]:
        return "the other dose is left out"
    return next(filter(None, reasons), "") if all(reasons) else "more than one series of the other dose fits it"


def _unpaired(key: PairKey, pair: tuple[Series, Series]) -> list[Problem]:
    """A problem for each slice of a pair that has no partner."""
    found = []
    for dose, series, other in zip(DOSES, pair, reversed(pair), strict=True):
        partners = {path for _, path, _ in matched(series, other)}
        for z, path in (each for each in series.slices if each[1] not in partners):
            text = f"{key.of(dose)}: no partner slice at z = {z:g} mm, 1 slice(s) not paired"
            found.append(Problem(path, "no partner", text, "add the other dose, or leave it"))
    return found
