"""Any folder of normal-dose CT to a paired cohort: a low dose is inserted into every full-dose series.

The result is written in the Mayo form under pseudonyms, marked in every header as the collection 'inserted'. Each
series has its own stamp, so a killed run goes on where it stopped.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step, digest
from lib.artifacts.files import alone, atomic
from lib.data.dicom.discovery import Discovery, SeriesKey, discover
from lib.data.dicom.identity import Problem
from lib.data.patients import pseudonym
from lib.data.workers import Workers
from lib.errors import CohortError, DicomError, StudyError
from lib.simulation.contents import INSERTION_REPORT
from lib.simulation.lowdose import Dose, Scan, insert_series

SPACING_TOLERANCE = 1e-3  # relative, between rows and columns and between slices
MIN_SIZE = 16
READS_A_SLICE = 50  # reads of a file that take as long as the insertion into one slice


def insert(
    data: Path,
    out: Path,
    *,
    dose_fraction: float = 0.25,
    seed: int = 5,
    i0: float | None = None,
    jobs: int = 1,
    warn: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Insert a low dose into every full-dose series below `data` and write both doses below `out` in the Mayo form.

    The normal dose keeps its HU (rounded to whole numbers); what is added to it has the noise of `dose_fraction` of the
    photons. Equal seed, equal bytes, whatever `jobs`. Series that are there already are kept.

    Args:
        i0: photons a detector bin of the full dose; None takes them from the noise of each series.
        jobs: series at once. warn: is told what was assumed or left out.
    Returns:
        `out`/insertion.csv, a row a series: patient, kernel, thickness_mm, slices, left_out, dose_fraction,
        noise_kernel, i0 and where it comes from, SD at both doses in soft tissue (HU), their ratio, SHA-256.
    Raises:
        CohortError: no full-dose series, none usable, or `out` holds something else. StudyError: an option is out of
        range. OutputError: the disk is full, or another run is at work in `out`.
    """
    data, out = Path(data).expanduser(), Path(out).expanduser()
    if not 0.0 < dose_fraction < 1.0:
        raise StudyError(f"dose_fraction {dose_fraction}: expected a share of the full dose, for example 0.25")
    if i0 is not None and not i0 > 0.0:
        raise StudyError(f"i0 {i0}: expected photons a detector bin, for example 1.5e5; leave it out to measure it")
    _check_places(data, out)
    with alone(out), Workers(jobs) as workers:
        return _insert(data, out, Dose(dose_fraction, seed, i0), workers, warn)


def _insert(data: Path, out: Path, dose: Dose, workers: Workers, warn: Callable[[str], None]) -> pd.DataFrame:
    scans = _scans(discover(data, workers=workers), warn)
    slices = sum(len(scan.slices) for scan in scans)
    (out / "series").mkdir(parents=True, exist_ok=True)
    _remove_others(out, {scan.name for scan in scans})
    steps = []
    work = partial(_work, out=out, dose=dose, threads=2 if workers.jobs == 1 else 1)
    done = workers.map(work, scans, files=READS_A_SLICE * slices, chunk=1)
    with tqdm(total=slices, desc="inserting", unit="slice", mininterval=1.0) as bar:
        for scan, (step, messages) in zip(scans, done, strict=True):
            for message in messages:
                warn(f"left out: {message}")
            if step:
                steps.append(step)
            bar.update(len(scan.slices))
    if not steps:
        raise CohortError(f"{data}: no slice of any full-dose series can be read; copy the files again")
    report = pd.concat([_row(step) for step in steps], ignore_index=True)
    with atomic(out / INSERTION_REPORT) as temporary:
        report.to_csv(temporary, index=False)
    return report


def _check_places(data: Path, out: Path) -> None:
    """Both folders would be read as one cohort if one held the other; and nothing that is not ours is mixed in."""
    inner, outer = out.resolve(), data.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise CohortError(f"{out}: one of it and {data} holds the other; write to a folder beside the scans")
    if out.exists() and not out.is_dir():
        raise CohortError(f"{out}: is a file; pass a folder to write to")
    strange = out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir())
    if strange and not (out / "series").is_dir():
        raise CohortError(f"{out}: holds files that no noise insertion wrote; remove them or pass an empty folder")


def _scans(found: Discovery, warn: Callable[[str], None]) -> list[Scan]:
    """What noise can be inserted into; everything else is said."""
    full = {key: slices for key, slices in found.series.items() if key.dose == "full"}
    low = [key for key in found.series if key.dose != "full"]
    if not full:
        raise CohortError(f"{found.root}: no full-dose series among {len(low)}, e.g. {low[0]}; noise is inserted into "
                          "normal-dose scans, pass their folder as DATA=...")
    for problem in found.problems:
        if problem.kind != "no partner":
            warn(f"{problem.what} ({problem.count} file(s)); {problem.remedy}")
    if low:
        warn(f"{len(low)} low-dose series are there too; they are left aside, noise is inserted into the full dose")
    scans: dict[str, Scan] = {}
    first = None
    for key, slices in full.items():
        scan = _scan(key, slices, found)
        if isinstance(scan, Scan) and scan.name in scans:
            scan = Problem(slices[0][1], "same name", f"series {key} has the name of another", "rename its kernel")
        if isinstance(scan, Scan):
            scans[scan.name] = scan
        else:
            first = first or scan
            warn(f"left out: {scan}")
    if not scans:
        raise CohortError(f"{found.root}: no full-dose series can be used; first reason: {first}")
    return list(scans.values())


def _scan(key: SeriesKey, slices: list[tuple[float, Path]], found: Discovery) -> Scan | Problem:
    """The series under its pseudonym, or why its geometry is not known."""
    headers = [(path, found.headers[path]) for _, path in slices]
    first = headers[0][1]
    for path, header in headers:
        spacing = header.pixel_spacing_mm
        if spacing is None or min(spacing) <= 0:
            return Problem(path, "no spacing", f"no PixelSpacing in series {key}", "export it with PixelSpacing in mm")
        if max(abs(value / first.pixel_spacing_mm[0] - 1) for value in spacing) > SPACING_TOLERANCE:
            what = f"PixelSpacing {spacing} in series {key}, expected one value for rows, columns and all slices"
            return Problem(path, "spacing", what, "export the series with square pixels of one size")
    if max(first.rows, first.columns) < MIN_SIZE:
        what = f"{first.rows} x {first.columns} pixels in series {key}, expected {MIN_SIZE} or more"
        return Problem(headers[0][0], "matrix size", what, "export it at its full size")
    known = re.fullmatch(r"P[0-9a-f]{8}", key.patient)
    kernel = re.sub(r"[^\w.+-]", "-", key.kernel)[:15]
    patient = key.patient if known else pseudonym(key.patient)
    collection = "simulated" if found.collection == "simulated" else "inserted"
    return Scan(patient, kernel, key.thickness_mm, first.pixel_spacing_mm[0], tuple(slices), collection)


def _work(scan: Scan, out: Path, dose: Dose, threads: int) -> tuple[Step | None, list[str]]:
    """One series; runs in a worker. A series of which nothing can be read is left out."""
    try:
        return insert_series(scan, out, dose, threads)
    except DicomError as error:
        return None, [str(error)]


def _row(step: Step) -> pd.DataFrame:
    outputs = step.read()["outputs"]
    row = pd.read_csv(step.stamp.with_suffix(".csv"), dtype={"patient": str, "kernel": str})
    row["sha256"] = digest({Path(name).name: kept[2] for name, kept in outputs.items() if name.endswith(".IMA")})
    return row


def _remove_others(out: Path, names: set[str]) -> None:
    """Remove series of an earlier run that are no longer in the data, by their own stamps."""
    for stamp in (out / "series").glob("*.json"):
        if stamp.stem in names:
            continue
        with suppress(json.JSONDecodeError):  # what a killed run left half-written
            for name in json.loads(stamp.read_text(encoding="utf-8"))["outputs"]:
                path = (stamp.parent / name).resolve()
                if path.is_relative_to(out.resolve()):
                    path.unlink(missing_ok=True)
        stamp.unlink()
