"""Who and what a slice is: the header first, then the file name, then the folders, the nearest first."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.dicom.names import DOSE_OF_WORD, MAYO_NAME, OWN_MANUFACTURERS, TCIA_DOSE, TCIA_FOLDER, TCIA_UID_ROOT
from lib.data.dicom.slice import Header
from lib.data.doses import FULL, LOW
from lib.data.patients import ALIASES, pseudonym
from lib.private import label

_DOSE_TOKEN = re.compile(r"(?<![a-z])(full|quarter|fd|qd|low(?=[ _-]?dose)|ldct|ndct)(?![a-z])", re.IGNORECASE)
_MAYO_FOLDER = re.compile(r"(?<![a-z])(full|quarter|fd|qd)_\d+mm", re.IGNORECASE)
_KERNEL_TOKEN = re.compile(r"(?<![a-z0-9])(sharp|soft|d45f?|b30f?)(?![a-z0-9])", re.IGNORECASE)
_THICKNESS_TOKEN = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?) ?mm(?![a-z])", re.IGNORECASE)
_PATIENT_TOKEN = re.compile(r"(?<![A-Za-z0-9])([NCL]\d{3}|SIM\d{2,})(?![A-Za-z0-9])")
_MAYO_KERNELS = (None, "B30", "D45")
_CONSTANT = (  # in one SeriesInstanceUID
    "collection", "patient", "dose", "kernel", "thickness_mm", "rescale", "study_uid", "frame_uid",
)
_LOW_DOSE_FRACTION = {"mayo2016": 0.25, "simulated": 0.25, "tcia": {"C": 0.1, "L": 0.25, "N": 0.25}}
_DOSE_OF_TOKEN = {**DOSE_OF_WORD, "ldct": LOW, "ndct": FULL}
_KERNEL_OF_TOKEN = {"sharp": "D45", "d45": "D45", "d45f": "D45", "soft": "B30", "b30": "B30", "b30f": "B30"}


@dataclass(frozen=True)
class Problem:
    """Something the run goes on without. `what` holds no file name, so it can be shown where names must not be."""

    file: Path
    kind: str
    what: str
    remedy: str
    count: int = 1

    def __str__(self) -> str:
        return f"{label(self.file)}: {self.what}; {self.remedy}" + (f" ({self.count} files)" if self.count > 1 else "")


def counts(problems: Iterable[Problem]) -> dict[str, int]:
    """How many files each kind of problem concerns."""
    totals: Counter[str] = Counter()
    for problem in problems:
        totals[problem.kind] += problem.count
    return dict(sorted(totals.items()))


def identify(header: Header, path: Path, root: Path) -> tuple[list[Problem], Header | None]:
    """Fill in from the path what the header leaves open; problems where that does not suffice (no header then) or guesses.

    A public code (L067, C002) is taken only with a second sign of its collection: Mayo's file or folder names, TCIA's UIDs
    or folder. Without, the patient is somebody's own, and has a pseudonym."""
    folders = [root.resolve().name, *path.relative_to(root).parts[:-1]][::-1]  # the nearest first
    named = MAYO_NAME.match(path.name)
    patient, collection, problems = _who(header, path, folders, named)
    in_name = (DOSE_OF_WORD[named[2].lower()], float(named[3])) if named else (None, None)
    dose = header.dose or in_name[0] or _DOSE_OF_TOKEN.get(_token(_DOSE_TOKEN, folders, fold=True))
    thickness = header.thickness_mm or in_name[1] or float(_token(_THICKNESS_TOKEN, folders) or 0)
    kernel = header.kernel or _path_kernel(named, folders, collection)
    if not thickness:
        return [Problem(path, "no thickness", "no slice thickness in header or path", "set SliceThickness")], None
    if collection == "tcia" and patient[0] == "C" and dose == LOW:
        remedy = "name it where results are shown"
        problems.append(Problem(path, "tenth dose", "TCIA chest: the low dose is 10 %, not 25 %", remedy))
    if dose is None and collection != "other":
        remedy = "put the slices into full_ and quarter_ folders"
        return [Problem(path, "no dose", f"patient {patient}: no dose in header or path", remedy)], None
    if dose is None:
        dose, text = FULL, f"patient {patient}: no dose information, taken as normal dose"
        remedy = "name the folders full and quarter if both doses are there"
        problems.append(Problem(path, "dose assumed", text, remedy))
    known = _LOW_DOSE_FRACTION.get(collection)
    low = header.dose_fraction or (known.get(patient[0]) if isinstance(known, dict) else known)
    return problems, replace(header, patient=patient, collection=collection, dose=dose, kernel=kernel, identified=True,
                             thickness_mm=round(thickness, 3), dose_fraction=1.0 if dose == FULL else low)


def _who(header: Header, path: Path, folders: list[str], named: re.Match | None) -> tuple[str, str, list[Problem]]:
    """Patient, collection, and what was guessed or put right."""
    patient, collection, problems = header.patient, header.collection, []
    code = (named[1] if named[1][0] == "P" else named[1].upper()) if named else _token(_PATIENT_TOKEN, folders)
    tcias = any(TCIA_FOLDER == name.lower() or TCIA_DOSE.search(name) for name in folders)
    mayos = (named is not None or any(_MAYO_FOLDER.search(name) for name in folders)) and header.kernel in _MAYO_KERNELS
    if code and not header.identified and collection in OWN_MANUFACTURERS:
        return code, collection, problems
    if code and code[0] in "NCL" and collection == "other" and (not header.identified or pseudonym(code) == patient):
        public = any(uid.startswith(TCIA_UID_ROOT) for uid in (header.study_uid, header.series_uid))
        if tcias and (public or TCIA_FOLDER in (part.lower() for part in path.parts)):
            return code, "tcia", problems
        if mayos and code[0] == "L" and not tcias:  # a copy whose PatientName was rewritten, or that was anonymised
            patient, collection = code, "mayo2016"
    if collection == "mayo2016" and patient in ALIASES:
        text = f"patient {patient} is read as {ALIASES[patient]} (a misprint)"
        return ALIASES[patient], collection, [Problem(path, "alias", text, "nothing to do")]
    if collection == "other" and not header.identified:
        text = f"nothing names the patient, so that each study counts as one of its own: {patient}"
        problems.append(Problem(path, "patient assumed", text, "if two are of one person, keep them in one subset (SPLIT)"))
    return patient, collection, problems


def consistent(headers: dict[Path, Header]) -> tuple[dict[Path, Header], list[Problem]]:
    """Without the few slices that contradict their series (of SeriesInstanceUID), as one with a flipped byte in its name or
    its slope does. Where fewer than 9 of 10 slices agree, that says nothing."""
    kept, problems, series = dict(headers), [], defaultdict(list)
    for path, header in headers.items():
        if header.series_uid:
            series[header.series_uid].append((path, tuple(getattr(header, name) for name in _CONSTANT)))
    for slices in series.values():
        usual, count = Counter(values for _, values in slices).most_common(1)[0]
        if len(slices) - count > len(slices) // 10:
            continue
        for path, values in slices:
            if odd := [name for name, value, common in zip(_CONSTANT, values, usual, strict=True) if value != common]:
                what = f"{', '.join(odd)} other than in the rest of its series ({count} of {len(slices)} slices)"
                problems.append(Problem(path, "odd header", what, "copy it again or leave it out"))
                del kept[path]
    return kept, problems


def _token(pattern: re.Pattern, folders: list[str], fold: bool = False) -> str | None:
    """The token of the nearest folder that holds exactly one."""
    for name in folders:
        found = {match.lower() if fold else match for match in pattern.findall(name)}
        if len(found) == 1:
            return found.pop()
    return None


def _path_kernel(named: re.Match | None, folders: list[str], collection: str) -> str:
    if named and named[4]:
        return "D45"
    default = "B30" if collection in ("mayo2016", "simulated") else "unknown"
    return _KERNEL_OF_TOKEN.get(_token(_KERNEL_TOKEN, folders, fold=True), default)
