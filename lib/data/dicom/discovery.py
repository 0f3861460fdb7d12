"""Any folder of CT slices to paired series. Identity comes from headers first, then file names, then folder names.

Nothing depends on a layout: slices are grouped by (patient, dose, kernel, thickness), ordered by z, and paired across
doses by z. What cannot be used is returned as a list of problems; only a folder without any usable slice, or with two
collections in it, is an error.
"""

import hashlib
import os
import re
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lib.data.dicom.identity import Problem, consistent, identify
from lib.data.dicom.slice import Header, NotCtImageError, read_header
from lib.data.workers import Workers
from lib.errors import CohortError, DicomError

Z_DECIMALS = 2
"""Two slices are at one place if their z agree when rounded to 0.01 mm."""

_PROJECTIONS = re.compile(r"\b(full|low) dose projections\b|DICOM-CT-PD", re.IGNORECASE)
"""Folders whose files are projection data (tens of thousands a scan): counted, never opened."""


class SeriesKey(NamedTuple):
    """What tells one series from another; kernel as 'B30', slice thickness in mm."""

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


@dataclass(frozen=True)
class Discovery:
    """What a folder holds.

    Attributes:
        series: (patient, dose, kernel, thickness_mm) to [(z_mm, path), ...], z rising.
        pairs: (patient, kernel, thickness_mm) to [(z_mm, full-dose path, quarter-dose path), ...], z rising.
        headers: of every slice in `series`, identity resolved.
        ignored: counts of files that are no CT slice, by name or kind.
    """

    root: Path
    collection: str
    series: dict[SeriesKey, list[tuple[float, Path]]]
    pairs: dict[PairKey, list[tuple[float, Path, Path]]]
    headers: dict[Path, Header]
    problems: list[Problem]
    ignored: dict[str, int]

    def counts(self) -> dict[str, int]:
        """How many files each kind of problem concerns."""
        totals: Counter[str] = Counter()
        for problem in self.problems:
            totals[problem.kind] += problem.count
        return dict(sorted(totals.items()))


def discover(folder: Path, *, jobs: int = 1, workers: Workers | None = None) -> Discovery:
    """Find, group, order and pair every CT slice below `folder`; `jobs` processes, or `workers`, read the headers.

    Raises CohortError if the folder does not exist, holds no usable CT slice, or mixes two collections.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise CohortError(f"{root}: {what}; expected a folder of DICOM slices, pass its path as DATA=...")
    with nullcontext(workers) if workers else Workers(jobs) as parallel:
        headers, problems, ignored = _read_headers(root, parallel)
    if not headers:
        seen = ", ".join(f"{count} {kind}" for kind, count in ignored.items()) or "no files"
        first = f"; first unusable file: {problems[0]}" if problems else ""
        hint = "unzip the archives first, then " if any(".zip" in kind for kind in ignored) else ""
        raise CohortError(
            f"{root}: no usable CT slice below it (found {seen}{first}); "
            f"expected DICOM CT images (.IMA, .dcm or no extension) at any depth, {hint}pass their folder as DATA=..."
        )
    headers, odd = consistent(headers)
    problems += odd
    collection = _one_collection(headers, root)
    grouped: dict[SeriesKey, list[tuple[float, Path]]] = defaultdict(list)
    for path, header in headers.items():
        grouped[SeriesKey(header.patient, header.dose, header.kernel, header.thickness_mm)].append((header.z_mm, path))
    series = {key: kept for key in sorted(grouped) if (kept := _ordered(key, grouped[key], headers, problems))}
    if not series:
        raise CohortError(f"{root}: every series was left out; first reason: {problems[-1]}")
    pairs = _paired(series, headers, problems)
    kept = {path for slices in series.values() for _, path in slices}
    headers = {path: header for path, header in headers.items() if path in kept}
    return Discovery(root, collection, series, pairs, headers, problems, ignored)


def _read_headers(root: Path, workers: Workers) -> tuple[dict[Path, Header], list[Problem], dict[str, int]]:
    headers, problems, ignored, first = {}, [], Counter(), {}
    paths = sorted(_files(root))
    looks = workers.map(partial(_look, root), paths)
    for path, (kind, found) in tqdm(
        zip(paths, looks, strict=True), total=len(paths), desc="Headers", unit="file", delay=5
    ):
        if kind == "clutter" or kind == "other image":
            ignored[found] += 1
            if kind == "other image":
                first.setdefault(found, path)
        elif kind == "unreadable":
            problems.append(Problem(path, kind, *_split_remedy(found, path)))
        else:
            problem, header = found
            if problem:
                problems.append(problem)
            if header:
                headers[path] = _shared(header)
    for kind, path in first.items():
        text = f"{kind}, not a CT image: {ignored[kind]} file(s) skipped"
        problems.append(Problem(path, "other image", text, "nothing to do", ignored[kind]))
    return headers, _aggregated(problems), dict(sorted(ignored.items()))


def _shared(header: Header) -> Header:
    """The same with one copy in memory of each text that all slices of a series repeat."""
    texts = {name: sys.intern(value) for name, value in vars(header).items() if isinstance(value, str)}
    return replace(header, **texts)


def _files(root: Path) -> Iterator[Path]:
    """Every file below `root`, through symbolic links but never twice through the same folder."""
    seen = set()
    for folder, names, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            names.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in files)


def _look(root: Path, path: Path) -> tuple[str, tuple[Problem | None, Header | None] | str]:
    """One file: ('header', see `identify`), ('unreadable', message), ('other image', kind) or ('clutter', kind)."""
    name, suffix = path.name, path.suffix.lower()
    if name.startswith("._") or "__MACOSX" in path.parts:
        return "clutter", "macOS resource fork"
    if name.upper() == "DICOMDIR":
        return "clutter", "DICOMDIR"
    if _PROJECTIONS.search(path.parent.name) and suffix in (".dcm", ".ima"):
        return "other image", "projection data"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "clutter", "no regular file"  # a named pipe would never end
        with path.open("rb") as file:
            dicom = file.read(132)[128:] == b"DICM"
        if dicom or suffix in (".ima", ".dcm"):
            return "header", identify(read_header(path), path, root)
    except NotCtImageError as error:
        return "other image", error.kind
    except DicomError as error:
        return "unreadable", str(error)
    except OSError as error:
        return "unreadable", f"{path}: cannot be read ({error.strerror}); check the file's permissions and the disk"
    if name in (".DS_Store", "Thumbs.db"):
        return "clutter", name
    if suffix and not re.fullmatch(r"\.[a-z0-9]{1,5}", suffix):
        return "clutter", "other file"  # what follows the dot could be a name
    return "clutter", suffix or "file without extension"


def _split_remedy(message: str, path: Path) -> tuple[str, str]:
    what, _, remedy = message.removeprefix(f"{path}: ").rpartition("; ")
    return (what, remedy) if what else (remedy, "copy the file again")


def _aggregated(problems: list[Problem]) -> list[Problem]:
    """Notes that repeat for every slice become one, with a count and the first file; the others stay one a file."""
    kept: dict = {}
    for problem in problems:
        each = problem.kind in ("unreadable", "no thickness")
        key = problem.file if each else (problem.kind, problem.what)
        kept[key] = replace(kept[key], count=kept[key].count + 1) if key in kept else problem
    return list(kept.values())


def _one_collection(headers: dict[Path, Header], root: Path) -> str:
    examples: dict[str, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        examples[header.collection].append(path)
    if len(examples) > 1:
        found = " and ".join(
            f"{name} ({len(paths)} files, e.g. {paths[0]})" for name, paths in sorted(examples.items())
        )
        raise CohortError(
            f"{root}: more than one collection in one folder: {found}; "
            "keep each in a folder of its own, pass one as DATA=..."
        )
    return next(iter(examples))


def _ordered(
    key: SeriesKey, slices: list[tuple[float, Path]], headers, problems: list[Problem]
) -> list[tuple[float, Path]]:
    """One series by rising z, one matrix size, one slice a place; [] if two different slices claim one place."""
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
        if len(found) > 1 and len({_sha256(path) for _, path in found}) > 1:
            clash += [(z, path, len(found)) for _, path in found]
        else:
            copies += [path for _, path in found[1:]]
    for path in copies:
        problems.append(Problem(path, "copy", f"the same file twice in series {key}", "nothing to do, one is kept"))
    for z, path, count in clash:
        what = f"{count} different slices at z = {z:g} mm in series {key}, so the series is left out"
        problems.append(Problem(path, "same z", what, "keep one reconstruction of the series in the folder"))
    return [] if clash else [found[0] for found in places.values()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _paired(
    series, headers: dict[Path, Header], problems: list[Problem]
) -> dict[PairKey, list[tuple[float, Path, Path]]]:
    pairs = {}
    for key in dict.fromkeys(PairKey(patient, kernel, thickness) for patient, _, kernel, thickness in series):
        sides = [
            series.get(SeriesKey(key.patient, dose, key.kernel, key.thickness_mm), []) for dose in ("full", "quarter")
        ]
        full, quarter = ({round(z, Z_DECIMALS): path for z, path in side} for side in sides)
        common = sorted(full.keys() & quarter.keys())
        if common:
            sizes = [(headers[side[common[0]]].rows, headers[side[common[0]]].columns) for side in (full, quarter)]
            if sizes[0] != sizes[1]:
                why = f"{sizes[0]} at full dose, {sizes[1]} at quarter dose"
                problems += [_unpaired(key, "full", full, why), _unpaired(key, "quarter", quarter, why)]
                continue
            pairs[key] = [(z, full[z], quarter[z]) for z in common]
        for dose, side, other in (("full", full, quarter), ("quarter", quarter, full)):
            missing = sorted(side.keys() - other.keys())
            if common:
                for z in missing:
                    problems.append(_unpaired(key, dose, {z: side[z]}, f"no partner slice at z = {z:g} mm"))
            elif side and other:
                problems.append(_unpaired(key, dose, side, "no slice is at the same z as one of the other dose"))
            elif side:
                problems.append(_unpaired(key, dose, side, "the series has no partner at the other dose"))
    return pairs


def _unpaired(key: PairKey, dose: str, side: dict[float, Path], why: str) -> Problem:
    label = SeriesKey(key.patient, dose, key.kernel, key.thickness_mm)
    text = f"{label}: {why}, {len(side)} slice(s) not paired"
    return Problem(side[min(side)], "no partner", text, "add the other dose, or leave it", len(side))
