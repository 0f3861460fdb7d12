"""Slices to series, and series to pairs: what sets series apart, their order by z, and partners across doses by z."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from lib.artifacts.files import file_sha256
from lib.data.dicom.identity import Problem
from lib.data.dicom.slice import Header
from lib.data.doses import DOSES, FULL, LOW

Z_DECIMALS = 2  # two slices are at one place if their z agree when rounded to 0.01 mm

class SeriesKey(NamedTuple):
    """What sets one series apart from another; kernel as 'B30', slice thickness in mm."""

    patient: str
    dose: str
    kernel: str
    thickness_mm: float

    def __str__(self) -> str:
        return f"{self.patient} {self.dose} dose {self.kernel} {self.thickness_mm:g} mm"


class PairKey(NamedTuple):
    """What the two doses of a paired series share."""

    patient: str
    kernel: str
    thickness_mm: float

    def of(self, dose: str) -> SeriesKey:
        """The series of one dose."""
        return SeriesKey(self.patient, dose, self.kernel, self.thickness_mm)


def ordered(
    key: SeriesKey, slices: list[tuple[float, Path]], headers: dict[Path, Header], problems: list[Problem]
) -> list[tuple[float, Path]]:
    """One series by rising z, one matrix size, one slice per place; [] if two different slices claim one place. What is left
    out goes to `problems`."""
    sizes = Counter((headers[path].rows, headers[path].columns) for _, path in slices)
    size = sizes.most_common(1)[0][0]
    places: dict[float, list[tuple[float, Path]]] = defaultdict(list)
    for z, path in sorted(slices):
        header = headers[path]
        if (header.rows, header.columns) == size:
            places[round(z, Z_DECIMALS)].append((z, path))
            continue
        what = f"{header.rows} x {header.columns} in series {key}, whose other slices are {size[0]} x {size[1]}"
        problems.append(Problem(path, "matrix size", what, "leave it out or export the series again"))
    clash, copies = [], []
    for z, found in places.items():
        if len(found) > 1 and len({file_sha256(path) for _, path in found}) > 1:
            clash += [(z, path, len(found)) for _, path in found]
        else:
            copies += [path for _, path in found[1:]]
    what = f"the same file twice in series {key}"
    problems += [Problem(path, "copy", what, "nothing to do, one is kept") for path in copies]
    for z, path, count in clash:
        what = f"{count} different slices at z = {z:g} mm in series {key}, so the series is left out"
        problems.append(Problem(path, "same z", what, "keep one reconstruction of the series in the folder"))
    return [] if clash else [found[0] for found in places.values()]


def paired(
    series: dict[SeriesKey, list[tuple[float, Path]]], headers: dict[Path, Header], problems: list[Problem]
) -> dict[PairKey, list[tuple[float, Path, Path]]]:
    """The slices of both doses that are at the same z; what has no partner goes to `problems`."""
    pairs = {}
    for key in dict.fromkeys(PairKey(patient, kernel, thickness) for patient, _, kernel, thickness in series):
        full, low = ({round(z, Z_DECIMALS): path for z, path in series.get(key.of(dose), [])} for dose in DOSES)
        if common := sorted(full.keys() & low.keys()):
            sizes = [(headers[side[common[0]]].rows, headers[side[common[0]]].columns) for side in (full, low)]
            if sizes[0] != sizes[1]:
                why = f"{sizes[0]} at full dose, {sizes[1]} at {LOW} dose"
                problems += [_unpaired(key, FULL, full, why), _unpaired(key, LOW, low, why)]
                continue
            pairs[key] = [(z, full[z], low[z]) for z in common]
        for dose, side, other in ((FULL, full, low), (LOW, low, full)):
            if common:
                problems += [_unpaired(key, dose, {z: side[z]}, f"no partner slice at z = {z:g} mm")
                             for z in sorted(side.keys() - other.keys())]  # fmt: skip
            elif side:
                why = "no slice is at the same z as one of" if other else "the series has no partner at"
                problems.append(_unpaired(key, dose, side, f"{why} the other dose"))
    return pairs


def _unpaired(key: PairKey, dose: str, side: dict[float, Path], why: str) -> Problem:
    text = f"{key.of(dose)}: {why}, {len(side)} slice(s) not paired"
    return Problem(side[min(side)], "no partner", text, "add the other dose, or leave it", len(side))
