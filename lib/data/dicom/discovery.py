"""Any folder of CT slices to paired series. Nothing depends on a layout: slices become series by UID and geometry, and pairs
across doses by geometry and z. What cannot be used is returned as a list of problems; only a folder
without any usable slice, or with two collections in it, is an error."""

import logging
import re
import stat
import sys
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lib.artifacts.files import files_below
from lib.data.dicom.identity import Problem, consistent, identify
from lib.data.dicom.kinds import NotCtImageError
from lib.data.dicom.pairing import PairKey, SeriesKey, paired
from lib.data.dicom.series import matched, series_of
from lib.data.dicom.slice import Header, read_header, readable
from lib.data.doses import DOSES
from lib.data.workers import Workers
from lib.errors import CohortError, DicomError
from lib.private import File

log = logging.getLogger(__name__)

# Folders whose files are projection data (tens of thousands a scan): counted, never opened
_PROJECTIONS = re.compile(r"\b(full|low) dose projections\b|DICOM-CT-PD", re.IGNORECASE)


# What is counted by its ending; behind the dot of any other could stand a name
CLUTTER = re.compile(r"\.(zip|gz|tar|tgz|bz2|xz|rar|7z|iso|pdf|txt|log|md|xml|csv|tsv|xlsx?|docx?|json|ya?ml|html?|png|"
                     r"jpe?g|gif|bmp|tiff?|svg|nii|nrrd|mh[ad]|hdr|img|raw|np[yz]|h5|mat|exe|dll|in[if]|py|sh|db|tmp|bak|mp4|avi)")


@dataclass(frozen=True)
class Discovery:
    """What a folder holds."""

    root: Path
    collection: str
    series: dict[SeriesKey, list[tuple[float, Path]]]  # (z_mm, path), z rising
    pairs: dict[PairKey, list[tuple[float, Path, Path]]]  # (z_mm, full-dose path, low-dose path), z rising
    headers: dict[Path, Header]  # of every slice in `series`, identity resolved
    problems: list[Problem]
    ignored: dict[str, int]  # counts of files that are no CT slice, by name or kind

    @property
    def patients(self) -> list[str]:
        """Those with pairs, by the headers: they are divided into train, validation and test, whatever can be decoded."""
        return sorted({key.patient for key in self.pairs})


def discover(folder: Path, *, jobs: int = 1, workers: Workers | None = None) -> Discovery:
    """Find, group, order and pair every CT slice below `folder`; `jobs` processes, or `workers`, read the headers. Raises
    CohortError: the folder does not exist, holds no usable CT slice, or mixes two collections."""
    root = existing(Path(folder))
    with nullcontext(workers) if workers else Workers(jobs) as parallel:
        headers, problems, ignored = _read_headers(root, parallel)
    if not headers:
        seen = ", ".join(f"{count} {kind}" for kind, count in ignored.items()) or "no files"
        unusable = f"; first unusable file: {problems[0].what}" if problems else ""
        what = f"no usable CT slice below it (found {seen}{unusable})"
        for problem in problems[:1]:
            log.warning("%s", problem)
        hint = "unzip the archives first, then " if any(".zip" in kind for kind in ignored) else ""
        remedy = f"expected DICOM CT images (.IMA, .dcm or no extension) at any depth, {hint}pass their folder as DATA=..."
        raise CohortError(what, where=root, remedy=remedy)
    headers, odd = consistent(headers)
    problems += odd
    collection = _one_collection(headers, root)
    found = series_of(headers, problems)
    if not any(each.usable for each in found):
        raise CohortError(f"every series was left out (the last one: {problems[-1].what})", where=problems[-1].file,
                          remedy=problems[-1].remedy)
    keyed, partners = paired(found, collection != "other", problems)
    series = {key: keyed[key].slices for key in sorted(keyed)}
    pairs = {}
    for key in partners:
        pairs[key] = matched(*(keyed[key.of(dose)] for dose in DOSES))
    kept = {path for slices in series.values() for _, path in slices}
    headers = {path: header for path, header in headers.items() if path in kept}
    return Discovery(root, collection, series, pairs, headers, problems, ignored)


def existing(folder: Path) -> Path:
    """The folder, '~' expanded. Raises CohortError where it is none."""
    what = "does not exist"
    try:
        folder = folder.expanduser()
        if folder.is_dir():
            return folder
        what = "is a file" if folder.exists() else what
    except (RuntimeError, OSError, ValueError):  # no such user, too long, a null character
        pass
    raise CohortError(what, where=folder, remedy="expected a folder of DICOM slices, pass its path as DATA=...")


def _read_headers(root: Path, workers: Workers) -> tuple[dict[Path, Header], list[Problem], dict[str, int]]:
    headers, ignored, first = {}, Counter(), {}
    problems: list[Problem] = []
    refused: list[OSError] = []
    paths = sorted(files_below(root, refused.append))
    problems += [Problem(Path(error.filename or root), "unreadable folder", f"cannot be read ({error.strerror})",
                         "make it readable, or move it away") for error in refused]
    looks = workers.map(partial(_look, root), paths)
    for path, found in tqdm(zip(paths, looks, strict=True), total=len(paths), desc="Headers", unit="file", delay=5):
        if isinstance(found, str):
            ignored[found] += 1
        elif isinstance(found, NotCtImageError):
            ignored[found.code] += 1
            first.setdefault(found.code, path)
        elif isinstance(found, DicomError):
            problems.append(Problem(path, found.code, found.what, found.remedy))
        else:
            remarks, header = found
            problems += remarks
            if header:  # with one copy in memory of each text that all slices of a series repeat
                texts = {name: sys.intern(value) for name, value in vars(header).items() if isinstance(value, str)}
                headers[path] = replace(header, **texts)
    problems += [Problem(path, "other image", f"{kind}, no axial CT slice in HU: {ignored[kind]} file(s) skipped",
                         "nothing to do", ignored[kind]) for kind, path in first.items()]
    return headers, _aggregated(problems), dict(sorted(ignored.items()))


def _look(root: Path, path: Path) -> tuple[list[Problem], Header | None] | DicomError | str:
    """One file: see `identify`, or what `look` says of it. Runs in a worker."""
    found = look(path)
    return identify(found, path, root) if isinstance(found, Header) else found


def look(path: Path) -> Header | DicomError | str:
    """One file of any kind: its header, or why it is no readable CT slice, or what kind of clutter it is."""
    name, suffix = path.name, path.suffix.lower()
    if name.startswith("._") or "__MACOSX" in path.parts:
        return "macOS resource fork"
    if name.upper() == "DICOMDIR":
        return "DICOMDIR"
    try:
        if _PROJECTIONS.search(path.parent.name) and suffix in (".dcm", ".ima"):
            raise NotCtImageError("projection data by its folder", where=path, code="projection data")
        with readable(path):
            if not stat.S_ISREG(path.stat().st_mode):
                return "no regular file"  # a named pipe would never end
            with path.open("rb") as file:
                dicom = file.read(132)[128:] == b"DICM"
        if dicom or suffix in (".ima", ".dcm"):
            return read_header(path)
    except DicomError as error:
        return error
    if name in (".DS_Store", "Thumbs.db"):
        return name
    return suffix if CLUTTER.fullmatch(suffix) else "other file" if suffix else "file without extension"


def _aggregated(problems: list[Problem]) -> list[Problem]:
    """Notes that repeat for every slice become one, with a count and the first file; the others stay one a file."""
    kept: dict = {}
    for problem in problems:
        each = problem.kind in ("unreadable", "unreadable folder", "no thickness")
        key = problem.file if each else (problem.kind, problem.what)
        kept[key] = replace(kept[key], count=kept[key].count + 1) if key in kept else problem
    return list(kept.values())


def _one_collection(headers: dict[Path, Header], root: Path) -> str:
    examples: dict[str, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        examples[header.collection].append(path)
    if len(examples) > 1:
        for name, paths in sorted(examples.items()):
            log.warning("%s is of the collection %s", File(paths[0]), name)
        found = " and ".join(f"{name} ({len(paths)} files)" for name, paths in sorted(examples.items()))
        raise CohortError(f"more than one collection in one folder: {found}", where=root,
                          remedy="keep each in a folder of its own, pass one as DATA=...")
    return next(iter(examples))
