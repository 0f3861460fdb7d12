"""Any folder of normal-dose CT to a paired cohort: a low dose is inserted into every full-dose series. The result has the
Mayo form and pseudonyms, and every header says that it is of the collection 'inserted'. Each series has its own stamp, so a
killed run goes on where it stopped."""

import json
import logging
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step, digest, warn_of_mixture
from lib.artifacts.files import TEMPORARY, check_ours, single_writer, write_csv, write_text
from lib.data.dicom.discovery import Discovery, SeriesKey, discover, existing
from lib.data.dicom.mayo import IMAGES
from lib.data.doses import FULL, LARGEST_I0
from lib.data.patients import pseudonym_unless_known
from lib.data.workers import Workers, cores
from lib.errors import CohortError, DicomError
from lib.simulation.contents import INSERTION_PATIENTS, INSERTION_REPORT
from lib.simulation.kernels import VENDORS, family
from lib.simulation.low_dose_series import Dose, Scan, insert_series

log = logging.getLogger(__name__)

SPACING_TOLERANCE = 1e-3  # relative, between rows and columns
MIN_SIZE = 16
READS_A_SLICE = 50  # reads of a file that take as long as the insertion into one slice
RATIO_TOLERANCE = 0.05  # of the SD's ratio, in soft tissue, to that of the theory: 2.00 +- .10 at a quarter of the dose
LARGEST_SHIFT = 1.0  # HU, of the mean in soft tissue


def insert(
    data: Path, out: Path, *, dose_fraction: float = 0.25, seed: int = 5, i0: float | None = None, jobs: int | None = None
) -> pd.DataFrame:
    """Insert a low dose into every full-dose series below `data` and write both doses below `out` in the Mayo form.

    The normal dose keeps its HU (whole numbers, none below -1024); what is added to it has the noise of `dose_fraction` of
    the photons. Equal seed, equal bytes, whatever `jobs`. Series that are there already are kept. What is assumed or left
    out is logged as a warning. The result is `out`/insertion.csv, a row per series: patient, kernel, thickness_mm, slices,
    left_out, dose_fraction, half (line pairs a cm) and kernel of the noise, i0 and its source, SD at both doses in calm
    soft tissue (HU), their ratio, the shift of its mean (HU), in how many squares, SHA-256.
    Raises CohortError (no full-dose series, none usable, or `out` holds something else) or OutputError (the disk is full,
    or another run is at work in `out`).

    Parameters
    ----------
    dose_fraction, seed : low dose as a share of the full dose, between 0 and 1; of the noise, 0 or more
    i0 : photons per detector bin at full dose; None takes them from the noise of each series
    jobs : series at once, by default one per processor core
    """
    data, out = existing(Path(data)), Path(os.path.expanduser(out))  # pathlib's raises without such a user
    if not 0.0 < dose_fraction < 1.0 or seed < 0 or (i0 is not None and not 0.0 < i0 <= LARGEST_I0):
        raise ValueError("expected 0 < dose_fraction < 1, seed >= 0 and 0 < i0 <= "
                         f"{LARGEST_I0:g}, got {dose_fraction}, {seed} and {i0}")  # fmt: skip
    _check_places(data, out)
    with single_writer(out), Workers(jobs or cores()) as workers:
        return _insert(data, out, Dose(dose_fraction, seed, i0), workers)


def _insert(data: Path, out: Path, dose: Dose, workers: Workers) -> pd.DataFrame:
    found = discover(data, workers=workers)
    scans = _scans(found)
    slices = sum(len(scan.slices) for scan in scans)
    (out / "series").mkdir(parents=True, exist_ok=True)
    _remove_others(out, {scan.name for scan in scans})
    steps = []
    work = partial(_work, out=out, dose=dose, threads=2 if workers.jobs == 1 else 1)
    done = workers.map(work, scans, files=READS_A_SLICE * slices, chunk=1)
    with tqdm(total=slices, desc="inserting", unit="slice", mininterval=1.0) as bar:
        for scan, (step, failures) in zip(scans, done, strict=True):
            for failure in failures:
                log.warning("left out: %s", failure)
            steps += [step] if step else []
            bar.update(len(scan.slices))
    if not steps:
        raise CohortError("no slice of any full-dose series can be read", where=data, remedy="copy the files again")
    warn_of_mixture(steps, out)
    report = pd.concat([_row(step) for step in steps], ignore_index=True)
    for series in report.to_dict("records"):
        for remark in remarks(series):
            log.warning("%s", remark)
    patients = sorted({pseudonym_unless_known(key.patient, public=False) for key in found.series if key.dose == FULL})
    write_csv(out / INSERTION_PATIENTS, pd.DataFrame({"patient": patients}))
    write_text(out / INSERTION_REPORT, report.to_csv(index=False))
    return report


def remarks(series: dict) -> list[str]:
    """What a user must know of the noise that was inserted into a series, a row of `insert`'s report: an unknown kernel, a
    ratio of the SDs that is not the square root of the dose's, a mean that moved."""
    name = f"{series['patient']} {series['kernel']} {series['thickness_mm']:g} mm"
    right, ratio, shift = series["dose_fraction"] ** -0.5, series["ratio"], series["shift_hu"]
    where = f"{series['squares']:g} squares of soft tissue; I0 = {series['i0']:.2g}, {series['i0_source']}"
    found = []
    half = f"one half at {series['noise_half']:g} line pairs a cm"
    if family(series["kernel"]) is None:
        found.append(f"kernel {series['kernel']} is of no family known here ({', '.join(VENDORS)}); the roll-off of its "
                     f"noise is {half}: {series['noise_kernel']}")  # fmt: skip
    if series["noise_kernel"].startswith("bounded"):
        found.append("its noise is smoother than back-projection makes it (iterative reconstruction, resampling), and the "
                     f"inserted noise is not: its roll-off is {half}")  # fmt: skip
    if not series["squares"]:
        found.append("no homogeneous soft tissue, so that the inserted noise cannot be checked")
    elif abs(ratio / right - 1.0) > RATIO_TOLERANCE:
        why = ": read-out noise adds to that of few photons" if ratio > right else ": texture, which no dose changes, counts"
        if not series["i0_source"].startswith("noise of"):
            why = ""  # where I0 is from says it
        found.append(f"SD in soft tissue grew {ratio:.2f} times, {right:.2f} is right ({where}){why}")
    if abs(shift) > LARGEST_SHIFT:
        found.append(f"the mean in soft tissue moved by {shift:+.1f} HU ({where}): the logarithm of few photons is biased")
    return [f"{name}: {what}" for what in found]


def _check_places(data: Path, out: Path) -> None:
    """Both folders would be read as one cohort if one held the other; and nothing that is not ours is mixed in."""
    inner, outer = out.resolve(), data.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise CohortError("one of it and the folder of the scans holds the other", where=out,
                          remedy="write to a folder beside the scans")  # fmt: skip
    check_ours(out, "series", "the noise insertion")


def _scans(found: Discovery) -> list[Scan]:
    """What noise can be inserted into; everything else is logged."""
    full = {key: slices for key, slices in found.series.items() if key.dose == FULL}
    low = [key for key in found.series if key.dose != FULL]
    if not full:
        raise CohortError(f"no full-dose series among {len(low)}, e.g. {low[0]}", where=found.root,
                          remedy="noise is inserted into normal-dose scans, pass their folder as DATA=...")  # fmt: skip
    for problem in found.problems:
        if problem.kind != "no partner":
            log.warning("%s", problem)
    if low:
        log.warning("%d low-dose series are there too; they are left aside, noise is inserted into the full dose", len(low))
    scans: dict[str, Scan] = {}
    errors = []
    for key, slices in full.items():
        try:
            scan = _scan(key, slices, found)
            if scan.name in scans:
                raise DicomError(f"series {key} has the name of another", where=slices[0][1], remedy="rename its kernel")
            scans[scan.name] = scan
        except DicomError as error:
            errors.append(error)
            log.warning("left out: %s", error)
    if not scans:
        raise CohortError(f"no full-dose series can be used, first reason: {errors[0].what}",
                          where=errors[0].where, remedy=errors[0].remedy)  # fmt: skip
    return list(scans.values())


def _scan(key: SeriesKey, slices: list[tuple[float, Path]], found: Discovery) -> Scan:
    """The series under its pseudonym; DicomError if its geometry is not known."""
    first = slices[0][1]
    grid = found.headers[first].grid
    if grid.spacing_mm is None:
        raise DicomError(f"no PixelSpacing in series {key}", where=first, remedy="export it with PixelSpacing in mm")
    if abs(grid.spacing_mm[1] / grid.spacing_mm[0] - 1) > SPACING_TOLERANCE:
        what = f"PixelSpacing {grid.spacing_mm} in series {key}, expected one value for rows and columns"
        raise DicomError(what, where=first, remedy="export the series with square pixels")
    if max(grid.rows, grid.columns) < MIN_SIZE:
        what = f"{grid.rows} x {grid.columns} pixels in series {key}, expected {MIN_SIZE} or more"
        raise DicomError(what, where=first, remedy="export it at its full size")
    kernel = key.kernel[:15]  # with the letter that Mayo's have behind it, what an element of the VR SH can hold
    collection = "simulated" if found.collection == "simulated" else "inserted"
    patient = pseudonym_unless_known(key.patient, public=False)
    return Scan(patient, kernel, key.thickness_mm, grid, tuple(slices), collection, key.number)


def _work(scan: Scan, out: Path, dose: Dose, threads: int) -> tuple[Step | None, list[DicomError]]:
    """One series; runs in a worker. A series of which nothing can be read is left out."""
    try:
        return insert_series(scan, out, dose, threads)
    except DicomError as error:
        return None, [error]


def _row(step: Step) -> pd.DataFrame:
    outputs = step.read()["outputs"]
    row = pd.read_csv(step.stamp.with_suffix(".csv"), dtype={"patient": str, "kernel": str})
    row["sha256"] = digest({Path(name).name: kept[2] for name, kept in outputs.items() if name.endswith(".IMA")})
    return row


def _remove_others(out: Path, names: set[str]) -> None:
    """Remove every slice that no series of the data vouches for: of an earlier run, or of one that was killed in a series
    that is gone since."""
    kept = set()
    for stamp in (out / "series").glob("*.json"):
        if stamp.stem not in names:
            for path in (stamp, stamp.with_suffix(".csv")):
                path.unlink(missing_ok=True)
            continue
        with suppress(ValueError, KeyError, TypeError):  # what is no stamp
            kept |= {(stamp.parent / name).resolve() for name in json.loads(stamp.read_text(encoding="utf-8"))["outputs"]}
    for pattern in ("*.IMA", f"{TEMPORARY}*"):
        for path in (out / IMAGES).rglob(pattern):
            if path.resolve() not in kept:
                path.unlink()
