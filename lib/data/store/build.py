"""DICOM files to the store of HU volumes (Section 5.1). The manifest is written last: a killed or failing run leaves no
store, but what it finished is used by the next one."""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from lib.artifacts.files import cannot_write, check_ours, single_writer, write_text
from lib.data.dicom.discovery import Discovery, discover
from lib.data.dicom.identity import Problem, counts
from lib.data.store.parts import FOLDER, VOLUME, Part, Record, planned, resume
from lib.data.store.reading import COLUMNS, completeness, count_table, load_manifest
from lib.data.store.writing import write
from lib.data.workers import Workers
from lib.errors import CohortError, OutputError
from lib.paper import published
from lib.private import label, names

log = logging.getLogger(__name__)


def build_store(data: Path, out: Path, *, jobs: int = 1) -> pd.DataFrame:
    """Read every CT slice below `data` and write the store to `out`: volumes, problems.csv, summary.json, manifest.csv.

    Volumes are int16 HU, (slices, rows, columns), or float32 where int16 would lose something. A paired series holds
    its paired slices only; a series without partner is stored whole, with paired=False. What was left out, and why, is
    in problems.csv. Memory holds one slice for each of `jobs` processes. The result is what `load_manifest` returns.
    Raises CohortError where the folder is unusable; an earlier store is then untouched. After OutputError (`out` cannot be
    written), VolumeError (the disk gives back other bytes than it was given) and StageError (a process was ended from
    outside) there is no manifest, but finished series stay for the next run.
    """
    build_counted(data, out, jobs)
    return load_manifest(out)


def build_counted(data: Path, out: Path, jobs: int, patients: Collection[str] = (),
                  remark: Callable[[Problem], object] = str) -> dict[str, float]:
    """As :func:`build_store`, with further ``patients`` to be divided, of whom there may be no slice; returns how many
    slices were written and were there, and how fast. `remark` is called with each problem.
    OutputError, too, where `out` holds what no store does."""
    out, begin = Path(out), time.monotonic()
    check_ours(out, FOLDER, "preprocess", VOLUME.pattern)
    with single_writer(out), Workers(jobs) as workers:
        found = discover(Path(data), workers=workers)
        try:
            problems, new, kept = _write_store(found, out, workers, patients)
        except OSError as error:
            raise cannot_write(out, error) from error
    for problem in problems:
        remark(problem)
    seconds = time.monotonic() - begin
    speed = {"slices": new, "kept": kept, "seconds": round(seconds, 2), "slices_per_s": round(new / seconds, 1)}
    log.info("%s slices in %.1f s: %.0f slices/s%s", f"{new:,}", seconds, speed["slices_per_s"],
             f", {kept:,} were there already" if kept else "")  # fmt: skip
    return speed


def _write_store(found: Discovery, out: Path, workers: Workers, patients: Collection[str]) -> tuple[list[Problem], int, int]:
    parts = planned(found)
    done = resume(parts, out)
    due = [part for part in parts if part.key not in done]
    _check_space(due, out)
    total, new = (sum(len(part.slices) * len(part.series) for part in some) for some in (parts, due))
    with tqdm(total=total, initial=total - new, desc="Volumes", unit="slice", delay=2, smoothing=0.05) as bar:
        done |= write(due, out, workers.executor(new), workers.jobs, bar)
    problems = found.problems + [Problem(part.slices[index][1 + series], "undecodable", *why) for part in parts
                                 for series, index, *why in done[part.key].left_out]  # fmt: skip
    tables = [_rows(part, done[part.key]) for part in parts if done[part.key].volumes]
    if not tables:
        raise CohortError(f"no slice could be decoded (the last one: {problems[-1].what})", where=found.root)
    manifest = pd.concat(tables, ignore_index=True)
    write_text(out / "problems.csv", _problem_table(found, problems).to_csv(index=False))
    write_text(out / "summary.json", json.dumps(_summary(found, problems, manifest, patients), indent=2) + "\n")
    write_text(out / "manifest.csv", manifest.to_csv(index=False))
    return problems, new, total - new


def _rows(part: Part, record: Record) -> pd.DataFrame:
    """The manifest's rows of one part."""
    gone, tables, (rows, columns) = {index for _, index, _, _ in record.left_out}, [], part.matrix
    kept = [each for index, each in enumerate(part.slices) if index not in gone]
    for column, (key, name) in enumerate(zip(part.series, part.volumes, strict=True)):
        headers = [part.found.headers[each[1 + column]] for each in kept]
        tables.append(pd.DataFrame({
            "patient": key.patient, "dose": key.dose, "kernel": key.kernel, "thickness_mm": key.thickness_mm,
            "scan": key.number, "index": range(len(kept)), "z_mm": [each[0] for each in kept], "volume": name,
            "paired": len(part.series) == 2, "rows": rows, "columns": columns, "source_sha256": record.sources[column],
            "collection": [header.collection for header in headers],
            "dose_fraction": [header.dose_fraction for header in headers],
            "pixel_mm": [header.grid.spacing_mm[1] if header.grid.spacing_mm else None for header in headers],
        }).astype(COLUMNS)[list(COLUMNS)])  # fmt: skip
    return pd.concat(tables)


def _check_space(due: list[Part], out: Path) -> None:
    needed = sum(2 * math.prod(part.matrix) * len(part.slices) * len(part.series) for part in due)
    if needed > (free := shutil.disk_usage(out).free):
        raise OutputError(f"the volumes need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free", where=out,
                          remedy="free space or set OUTPUT=... to another disk")  # fmt: skip


def _problem_table(found: Discovery, problems: list[Problem]) -> pd.DataFrame:
    """The path of slices of a public collection; any other file is told by its checksum: its name may be a person's."""

    def name(path: Path) -> str:
        if found.collection == "other" or path not in found.headers:
            with names(shown=False):
                return label(path)
        return os.fsencode(path.relative_to(found.root)).decode("utf-8", "backslashreplace")

    rows = [(problem.kind, name(problem.file), problem.what, problem.remedy, problem.count) for problem in problems]
    return pd.DataFrame(rows, columns=["kind", "file", "what", "remedy", "count"])


def _summary(found: Discovery, problems: list[Problem], manifest: pd.DataFrame, patients: Collection[str]) -> dict:
    state = completeness(manifest)
    return {
        "collection": found.collection, "patients": int(manifest["patient"].nunique()),
        "series": int(manifest["volume"].nunique()), "slices": len(manifest), "pairs": int(manifest["paired"].sum()) // 2,
        "pairs_by_series": count_table(manifest).loc["total"].drop("total").to_dict(),
        "expected_by_series": None if state is None else published.PAIRS_BY_SERIES,
        "complete": None if state is None else state.startswith("complete"), "completeness": state,
        "divided": sorted({*found.patients, *patients}), "ignored": found.ignored, "problems": counts(problems),
    }  # fmt: skip
