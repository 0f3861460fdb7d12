"""Denoise every CT series below a folder, or a NIfTI volume: what is written, kept, refused, and said of it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from lib.artifacts.cache import Step
from lib.artifacts.files import TEMPORARY, check_ours, files_below, single_writer, sync, write_json
from lib.data.dicom.deidentified import Pseudonyms
from lib.data.dicom.identity import Problem
from lib.deploy.dicom_series import Stack, derivation, stacks
from lib.deploy.model import Model
from lib.deploy.nifti import Volume, is_nifti
from lib.deploy.outcome import Report, Row, SeriesUnderTest, label_of
from lib.deploy.trained_range import Reason, TrainedRange
from lib.errors import CohortError, DicomError, OutputError, PaperError

log = logging.getLogger(__name__)

Judged = tuple[Stack | Volume, list[Reason], float]
"""A series, in what it lies outside of what was trained on, and the share of its voxels outside the HU range."""

SUMMARY: Final = "denoised.json"  # the last file that is written
SHEET: Final = ("evidence.html", "evidence.json")  # that the caller writes of what `evidence` returned
STAMPS: Final = ".series"  # what made each series, for the next run; by it a folder is known to be ours


def denoise(
    source: Path, output: Path, model: Model, seen: TrainedRange, *, force: bool = False, pseudonymise: bool = False,
    evidence: Callable[[SeriesUnderTest], Any] | None = None, moment: datetime | None = None,
) -> Report:
    """Denoise all that can be below ``source`` into a folder a series below ``output``, `series-1`, `series-2`, ...

    A series that an earlier run finished, from the same files, model and code, is kept. With ``pseudonymise`` nothing is:
    each run has other pseudonyms. ``source`` is never written to.

    Parameters
    ----------
    source : a folder with DICOM files or NIfTI volumes at any depth, or one file
    output : a new or empty folder, or one of an earlier run
    seen : what ``model`` was trained on; a series outside is refused, or with ``force`` denoised and flagged
    evidence : is called with each series that was not refused, after its files are written
    moment : of the computation, for the headers; by default now

    Raises
    ------
    CohortError, DicomError : no series can be denoised; the first file that could not be read. Beside series that can, one
    with such a file is left out as a whole. A file that becomes unreadable while its series is written stops the run.
    OutputError : ``output`` lies in ``source``, holds other files, or cannot be written. TrainingError : see `Model.denoise`
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    check_places(source, output)
    judged, left_out = _judged(source, seen)
    if not force:
        _check_range(judged, source, model)
    pseudonyms, moment = Pseudonyms() if pseudonymise else None, moment or datetime.now(UTC).astimezone()
    rows, measured = [], []
    with single_writer(output):
        (output / STAMPS).mkdir(exist_ok=True)  # before anything else: only where it is, folders `series-N` are removed
        for name in (SUMMARY, *SHEET):
            (output / name).unlink(missing_ok=True)
        _remove_others(output, len(judged))
        for number, (each, reasons, share) in enumerate(judged, start=1):
            label, begin, state = label_of(number, each), time.monotonic(), "refused"
            if force or not any(reason.refuses for reason in reasons):
                state = _one(each, output, number, model, reasons, moment, pseudonyms)
            else:
                log.warning("refused: %s: %s", label, "; ".join(map(str, reasons)))
                _remove(output, number)
            seconds = time.monotonic() - begin
            if state != "refused":
                for reason in reasons:
                    log.warning("%s: %s", label, reason)
                shown = SeriesUnderTest(label, each, each.spacing_mm, model.denoise, tuple(reasons), share, each.image_type)
                measured += [evidence(shown)] if evidence is not None else []
            rows.append(Row(label, _folder(number) * (state != "refused"), each.form, *each.shape, each.kernel,
                            each.thickness_mm, share, tuple(reasons), state, seconds))
        report = Report(f"{model.name}, SHA-256 {model.sha256}", rows, left_out, measured)
        write_json(output / SUMMARY, report.as_json())
    return report


def check_places(source: Path, output: Path) -> None:
    """Raises CohortError: there is no ``source``; OutputError: one holds the other, or ``output`` has files of others."""
    if not source.exists():
        raise CohortError("does not exist", where=source, remedy="pass a folder of DICOM files, or a NIfTI volume")
    inner, outer = output.resolve(), source.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise OutputError("one of it and the input holds the other", where=output,
                          remedy="write to a folder beside the input")
    check_ours(output, STAMPS, "the denoiser")


def _judged(source: Path, seen: TrainedRange) -> tuple[list[Judged], list[Problem]]:
    """The series that can be denoised, and what is left out. Raises CohortError, DicomError: see `denoise`."""
    found, left_out, unreadable = _series(source)
    judged: list[Judged] = []
    for each in found:
        try:
            judged.append((each, *each.reasons(seen)))
        except (DicomError, CohortError) as error:
            what = f"{error.what}, so the series is left out"
            left_out.append(Problem(Path(error.where or source), "unreadable", what, error.remedy))
            unreadable.append(error)
    for problem in left_out:
        log.warning("left out: %s", problem)
    if not judged and unreadable:
        raise unreadable[0]
    if not judged:
        first = f": {left_out[0].what}" if left_out else ""
        raise CohortError(f"no CT series that could be denoised{first}", where=source,
                          remedy="expected axial CT slices in HU as DICOM files, or NIfTI volumes")
    return judged, left_out


def _check_range(judged: list[Judged], source: Path, model: Model) -> None:
    """Raises CohortError where every series lies outside of what was trained on."""
    if not all(any(reason.refuses for reason in reasons) for _, reasons, _ in judged):
        return
    for number, (each, reasons, _) in enumerate(judged[1:], start=2):
        log.warning("refused: %s: %s", label_of(number, each), "; ".join(map(str, reasons)))
    label, why = label_of(1, judged[0][0]), "; ".join(str(each) for each in judged[0][1] if each.refuses)
    raise CohortError(f"{label} lies outside of what {model.name} was trained on: {why}"
                      + f" (and {len(judged) - 1} more series)" * (len(judged) > 1), where=source,
                      remedy="use a network that was trained on such scans, or pass --force, which flags the result")


def _series(source: Path) -> tuple[list[Stack | Volume], list[Problem], list[PaperError]]:
    """See `lib.deploy.dicom_series.Found`."""
    refused: list[OSError] = []
    files = sorted(files_below(source, refused.append)) if source.is_dir() else [source]
    if refused:
        raise CohortError(f"a folder cannot be read ({refused[0].strerror})", where=Path(refused[0].filename or source),
                          remedy="make it readable, or move it away")
    found = stacks([path for path in files if not is_nifti(path)])
    return [*found.series, *(Volume(path) for path in files if is_nifti(path))], found.left_out, [*found.unreadable]


def _one(
    source: Stack | Volume, output: Path, number: int, model: Model, reasons: list[Reason], moment: datetime,
    pseudonyms: Pseudonyms | None,
) -> str:
    """Write one series, or keep it: 'denoised' or 'kept'."""
    folder, stamp = output / _folder(number), output / STAMPS / f"{_folder(number)}.json"
    said = derivation(model, reasons, moment)
    step = Step(f"denoising series {number}", stamp, {"lib.deploy.dicom_series", "lib.deploy.nifti"}, said.text,
                {"files": source.state})
    if pseudonyms is None and step.is_current():
        return "kept"
    _remove(output, number)
    with step.making() if pseudonyms is None else nullcontext([]) as outputs, _in_place(folder) as temporary:
        if isinstance(source, Volume):
            flag = "OUTSIDE TRAINED RANGE; " * any(reason.refuses for reason in reasons)
            source.write(temporary, model, f"RESEARCH USE ONLY; {flag}{model.name}, {model.sha256[:12]}")
        elif lost := source.write(temporary, model, said, pseudonyms):
            log.warning("series %d: elements that cannot be read are left out of its headers: %s", number, ", ".join(lost))
        outputs += [folder / path.name for path in temporary.iterdir()]
    return "denoised"


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``folder`` when the block ends well, and is removed when it does not."""
    temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
    rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.iterdir():
            sync(path)
        temporary.rename(folder)
        sync(folder.parent)
    finally:
        rmtree(temporary, ignore_errors=True)


def _folder(number: int) -> str:
    return f"series-{number}"


def _remove(output: Path, number: int) -> None:
    (output / STAMPS / f"{_folder(number)}.json").unlink(missing_ok=True)
    rmtree(output / _folder(number), ignore_errors=True)


def _remove_others(output: Path, count: int) -> None:
    """What an earlier run left of series that are none any more, and of one that it did not finish."""
    for path in output.glob(f"{TEMPORARY}*"):
        rmtree(path, ignore_errors=True)
    for path in output.glob("series-*"):
        number = path.name.removeprefix("series-")
        if number.isdecimal() and int(number) > count:
            _remove(output, int(number))
