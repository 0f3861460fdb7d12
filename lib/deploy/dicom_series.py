"""Series of CT slices in a folder, each to a derived series; one slice is in memory at a time."""

import hashlib
import re
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.config import disable_value_validation
from tqdm import tqdm

from lib.artifacts.code import code_hash
from lib.artifacts.files import atomic
from lib.data.dicom.deidentified import Pseudonyms, deidentified
from lib.data.dicom.derived import DENOISED, NOTICE, Derivation, derive, source_header
from lib.data.dicom.discovery import look
from lib.data.dicom.encoded import encode
from lib.data.dicom.identity import Problem
from lib.data.dicom.kinds import NotCtImageError
from lib.data.dicom.parsing import parse
from lib.data.dicom.series import Series, series_of
from lib.data.dicom.slice import Decoded, Header, decode, read_bytes, read_hu, series_uid
from lib.deploy.model import Model
from lib.deploy.trained_range import Reason, Scan, TrainedRange
from lib.errors import DicomError

HARMLESS = ("copy", "pieces")  # of the problems of a folder: nothing is left out for them
UNNAMED = ("other file", "file without extension")  # of `look`: a slice, perhaps, that was cut at its beginning
_LOOK = "nothing to do unless it should be one"
_HOLE = "a file of its series, or in its folder, cannot be read, so the series is left out"


@dataclass(frozen=True)
class Stack:
    """One series. ``kernel`` and ``thickness_mm`` are None where no header says them."""

    slices: tuple[tuple[float, Path], ...]  # (z in mm, file), z rising
    header: Header  # of the first

    form = "DICOM"

    @property
    def kernel(self) -> str | None:
        return self.header.kernel

    @property
    def thickness_mm(self) -> float | None:
        return self.header.thickness_mm

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.slices), self.header.grid.rows, self.header.grid.columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of slices, rows and columns; NaN where nothing says it."""
        apart = float(np.median(np.diff([z for z, _ in self.slices]))) if len(self.slices) > 1 else self.thickness_mm
        return apart or np.nan, *(self.header.grid.spacing_mm or (np.nan, np.nan))

    @cached_property
    def state(self) -> str:
        """A hash of what changes with the files."""
        states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for _, path in self.slices]
        return hashlib.sha256(repr((self.identity, states)).encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def identity(self) -> str:
        """A hash of the first file's contents, for what its header does not name."""
        return hashlib.sha256(read_bytes(self.slices[0][1])).hexdigest()

    @cached_property
    def image_type(self) -> str:
        """Of the first slice, 'ORIGINAL/PRIMARY/AXIAL'; '' where its header has none."""
        path = self.slices[0][1]
        value = parse(read_bytes(path), path).get("ImageType") or ""
        return re.sub(r"[^A-Z0-9_ /]", "", "/".join(value if isinstance(value, list) else [value]))

    def reasons(self, seen: TrainedRange) -> tuple[list[Reason], float]:
        """In what the series lies outside of what was trained on, and the share of its voxels outside the HU range. Decodes
        every slice. Raises DicomError for one that cannot be."""
        outside = total = 0
        for _, path in self.slices:
            decoded = decode(parse(read_bytes(path), path))
            inside = decoded.hu if decoded.outside is None else decoded.hu[~decoded.outside]
            outside += int(np.count_nonzero((inside < seen.hu[0]) | (inside > seen.hu[1])))
            total += inside.size
        share = outside / total if total else 0.0
        found = seen.reasons(Scan(self.kernel, self.thickness_mm, self.header.grid.spacing_mm, share))
        if DENOISED in self.image_type.split("/"):
            found.append(Reason("image", "denoised already", ("not denoised",)))
        return found, share

    def block(self, first: int, count: int) -> np.ndarray:
        """HU of some slices, (slices, rows, columns), float32."""
        return np.stack([read_hu(path).astype(np.float32) for _, path in self.slices[first : first + count]])

    def write(self, folder: Path, model: Model, derivation: Derivation, pseudonyms: Pseudonyms | None) -> list[str]:
        """Denoise all slices into new files below ``folder``; names of elements that could not be kept."""
        lost: Counter[str] = Counter()
        for number, (_, path) in enumerate(tqdm(self.slices, desc="denoising", unit="slice", mininterval=1.0), start=1):
            data = read_bytes(path)
            elements = parse(data, path)
            decoded = decode(elements)
            header, unreadable = source_header(parse(data, path), self.identity)
            lost.update(unreadable)
            if pseudonyms:
                header = deidentified(header, pseudonyms)
            stored = encode(denoised(model, decoded), decoded, elements)
            instance = derive(header, elements, stored, derivation)
            with atomic(folder / f"image-{number:04d}.dcm", durable=False) as temporary:
                save(instance, temporary, path)
        return sorted(lost)


def denoised(model: Model, decoded: Decoded) -> np.ndarray:
    """HU of one slice after the network, (rows, columns), float32."""
    return model.denoise(decoded.hu[None])[0]


def save(instance, target: Path, source: Path) -> None:
    """Write an instance. Raises DicomError where its source has values that no file can have."""
    try:
        with warnings.catch_warnings(), disable_value_validation():  # the source's own values stay what they are
            warnings.simplefilter("ignore")
            instance.save_as(target, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds
        what = f"its header cannot be written again ({' '.join(str(error).split())[:80]})"
        raise DicomError(what, where=source, remedy="export the file again") from None


class Found(NamedTuple):
    """What some files hold."""

    series: list[Stack]
    left_out: list[Problem]  # what is no CT slice, or is left out, and why
    unreadable: list[DicomError]  # of files that are damaged, or of a form that CT slices do not have


def stacks(files: list[Path]) -> Found:
    """The series among some files. One with a file that cannot be read is left out, since it would have a hole: that of the
    SeriesInstanceUID that the file names, or where that cannot be read, either, all in its folder."""
    headers: dict[Path, Header] = {}
    unreadable: list[DicomError] = []
    others: dict[str, list[NotCtImageError]] = {}
    people: dict[str, int] = {}
    problems: list[Problem] = []
    for path in tqdm(files, desc="headers", unit="file", delay=5):
        found = look(path)
        if isinstance(found, Header):
            patient = f"patient {people.setdefault(found.patient, len(people) + 1)}"
            headers[path] = replace(found, patient=patient, dose="any", kernel=found.kernel or "",
                                    thickness_mm=found.thickness_mm or 0.0)  # series_of compares what may not be missing
        elif isinstance(found, NotCtImageError):
            others.setdefault(found.code, []).append(found)
        elif isinstance(found, DicomError):
            unreadable.append(found)
        elif found in UNNAMED:
            others.setdefault(found, []).append(NotCtImageError(f"{found} that is no DICOM file", where=path, remedy=_LOOK))
    problems += [Problem(each[0].where, kind, each[0].what, each[0].remedy, len(each)) for kind, each in others.items()]
    series, named = series_of(headers, problems), {Path(each.where): series_uid(Path(each.where)) for each in unreadable}
    uids, folders = set(named.values()) - {None}, {path.parent for path, uid in named.items() if uid is None}
    whole = []
    for each in series:
        paths = [path for _, path in each.slices]
        if any(headers[path].series_uid in uids or path.parent in folders for path in paths):
            problems.append(Problem(paths[0], "hole", _HOLE, "copy that file again, or move it away", len(paths)))
        elif each.usable:
            whole.append(_stack(each, headers))
    problems += [Problem(Path(each.where), each.code, each.what, each.remedy) for each in unreadable]
    return Found(whole, [problem for problem in problems if problem.kind not in HARMLESS], unreadable)


def _stack(series: Series, headers: dict[Path, Header]) -> Stack:
    header = headers[series.first]
    return Stack(tuple(series.slices), replace(header, kernel=header.kernel or None,
                                               thickness_mm=header.thickness_mm or None))


def derivation(model: Model, reasons: list[Reason], moment: datetime) -> Derivation:
    """What a series says of its making."""
    outside = "; ".join(str(reason) for reason in reasons if reason.refuses)
    unknown = ", ".join(reason.quantity for reason in reasons if not reason.refuses)
    flags = " ".join(filter(None, [
        f"OUTSIDE THE TRAINED RANGE: {outside}." * bool(outside), f"Not checked: {unknown}." * bool(unknown)]))
    made_from = model.provenance.get("made_from", "")
    text = " ".join(filter(None, [
        f"Noise reduction by a U-Net, {model.name}, weights SHA-256 {model.sha256}, code {model.version}.", NOTICE, flags,
        f"Trained on: {made_from}" * bool(made_from)]))
    return Derivation(plain(text), plain(flags), f"denoised {plain(model.name)}", f"U-Net {plain(model.name)}",
                      f"commit {model.version}", (model.sha256, model.version, code_hash({__name__})), moment)


def plain(text: str) -> str:
    """A text in ASCII, which every character set of DICOM has; a backslash would begin another value."""
    for symbol, word in {"λ": "lambda", "Ψ": "Psi", "Γ": "Gamma", "\\": "/"}.items():
        text = text.replace(symbol, word)
    return text.encode("ascii", "replace").decode()
