"""DICOM files to the store of HU volumes (Section 5.1), and the simulated cohort where there are no scans.

The manifest is written last: a killed or failing run leaves no store.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.cohort import discovery
from lib.cohort.dicom import decode_hu
from lib.cohort.discovery import Discovery, PairKey, Problem, SeriesKey, discover, worker_map
from lib.errors import CohortError, DicomError, VolumeError
from lib.provenance import Step, digest, file_sha256, folder_digest
from lib.study import CONTENTS, Study
from lib.volumes import COLUMNS, load_manifest

_VOLUME = re.compile(r"[\w.+-]+_(full|quarter)_[\w.+-]+_[\d.]+mm\.npy")


def prepare(study: Study, jobs: int = 1) -> pd.DataFrame:
    """Simulate the cohort if the study reads no real scans, then store its volumes; done once and kept.

    Returns:
        The manifest, a row a slice.

    Raises:
        CohortError: nothing usable in the folder, or a subset of the split without pairs.
    """
    paths = study.paths
    if study.cohort.simulation is not None:
        from lib.cohort.simulate import simulate

        simulate(paths.cohort, study.cohort.simulation)
        contents = file_sha256(paths.cohort / CONTENTS)
    else:
        contents = folder_digest(study.data)
    step = Step("volumes", paths.volumes / "stamp.json", {"lib.preprocess"}, {"data": digest(study.data)[:12]},
                {"scans": contents})
    if not step.is_current():
        with step.making() as outputs:
            manifest = preprocess(study.data, paths.volumes, jobs=jobs)
            outputs += [paths.manifest, *(paths.volumes / name for name in manifest["volume"].unique())]
    return load_manifest(paths.volumes)


def preprocess(data: Path, out: Path, *, jobs: int = 1) -> pd.DataFrame:
    """Read every CT slice below `data` and write the store to `out`: volumes, problems.csv, summary.json, manifest.csv.

    Volumes are int16 HU, (slices, rows, columns), or float32 where int16 would lose something. A paired series holds
    its paired slices only; a series without partner is stored whole, with paired=False. What was left out, and why, is
    in problems.csv. At most one series is in memory. Returns the manifest, as `load_manifest` does.

    Raises CohortError for an unusable folder (an earlier store is then untouched) and VolumeError if `out` cannot be
    written (nothing of this run is then left behind).
    """
    found = discover(Path(data), jobs=jobs)
    out = Path(out)
    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_store(out)
        _check_space(found, out)
        problems = list(found.problems)
        rows = []
        total = sum(len(keys) * len(slices) for _, keys, slices in _planned(found))
        with (
            worker_map(jobs if total >= discovery.POOL_FROM else 1) as parallel,
            tqdm(total=total, desc="Volumes", unit="slice", delay=5) as bar,
        ):
            for pair, keys, slices in _planned(found):
                rows += _write_together(found, pair, keys, slices, out, parallel, written, problems, bar)
        if not rows:
            raise CohortError(f"{found.root}: no slice could be decoded; first reason: {problems[-1]}")
        manifest = pd.DataFrame(rows).astype(COLUMNS)[list(COLUMNS)]
        for name, text in (
            ("problems.csv", _problem_table(found, problems).to_csv(index=False)),
            ("summary.json", json.dumps(_summary(found, problems, manifest), indent=2) + "\n"),
            ("manifest.csv", manifest.to_csv(index=False)),
        ):
            written.append(out / name)
            _replace(out / name, lambda file, text=text: file.write(text.encode()))
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _cannot_write(out, error) from error
        raise
    return load_manifest(out)


def _planned(found: Discovery) -> list[tuple[PairKey | None, tuple[SeriesKey, ...], list[tuple]]]:
    """What to write together: (pair, (full, quarter), [(z, full, quarter), ...]) or (None, (series,), [(z, path), ...])."""
    plan = [
        (key, tuple(SeriesKey(key.patient, dose, key.kernel, key.thickness_mm) for dose in ("full", "quarter")), slices)
        for key, slices in found.pairs.items()
    ]
    done = {series for _, both, _ in plan for series in both}
    return plan + [(None, (key,), slices) for key, slices in found.series.items() if key not in done]


def _write_together(found, pair, keys, slices, out, parallel, written, problems, bar) -> list[dict]:
    """Write the volumes of one pair, or one series, without slices that cannot be decoded; returns manifest rows."""
    while slices:
        hashes, bad = [], {}
        for column, key in enumerate(keys, start=1):
            bar.set_postfix_str(str(key), refresh=False)
            digests, failures = _write_volume(
                out, _volume_name(key), [each[column] for each in slices], parallel, written, bar
            )
            hashes.append(digests)
            bad |= failures
            if failures:
                break
        if not bad:
            break
        for path, message in bad.values():
            what, _, remedy = message.removeprefix(f"{path}: ").rpartition("; ")
            problems.append(Problem(path, "undecodable", what or remedy, remedy if what else "copy the file again"))
        slices = [each for index, each in enumerate(slices) if index not in bad]
        for key in keys:
            (out / _volume_name(key)).unlink(missing_ok=True)
    rows = []
    for column, key in enumerate(keys, start=1):
        for index, each in enumerate(slices):
            header = found.headers[each[column]]
            rows.append(
                {
                    "patient": key.patient,
                    "dose": key.dose,
                    "kernel": key.kernel,
                    "thickness_mm": key.thickness_mm,
                    "index": index,
                    "z_mm": each[0],
                    "volume": _volume_name(key),
                    "paired": pair is not None,
                    "rows": header.rows,
                    "columns": header.columns,
                    "source_sha256": hashes[column - 1][index],
                    "collection": header.collection,
                }  # fmt: skip
            )
    return rows


def _write_volume(out, name, paths, parallel, written, bar) -> tuple[list[str], dict[int, tuple[Path, str]]]:
    """Decode one series and write it, unless slices fail: SHA-256 of the files, and {index: (path, message)}."""
    volume, digests, bad = None, [], {}
    for index, (hu, told) in enumerate(parallel(_decode, paths)):
        bar.update()
        if hu is None:
            bad[index] = (paths[index], told)
            continue
        if volume is None:
            volume = np.empty((len(paths), *hu.shape), hu.dtype)
        elif volume.dtype != hu.dtype:
            volume = volume.astype(np.float32, copy=False)  # HU of int16 are exact in float32
        volume[index] = hu
        digests.append(told)
    if not bad:
        written.append(out / name)
        _replace(out / name, lambda file: _write_npy(file, volume))
    return digests, bad


def _decode(path: Path) -> tuple[np.ndarray | None, str]:
    """One file: (HU, SHA-256), or (None, what is wrong). Runs in a worker."""
    try:
        data = path.read_bytes()
        return decode_hu(data, path), hashlib.sha256(data).hexdigest()
    except DicomError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{path}: cannot be read ({error.strerror}); check the file's permissions and the disk"


def _write_npy(file, volume: np.ndarray) -> None:
    """The .npy format slice by slice, so that a full disk is an OSError that says so (ndarray.tofile's does not)."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(volume))
    for image in volume:
        file.write(image.data)


def _replace(path: Path, write: Callable) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _volume_name(key: SeriesKey) -> str:
    kernel = re.sub(r"[^\w.+-]", "-", key.kernel)
    return f"{key.patient}_{key.dose}_{kernel}_{key.thickness_mm:g}mm.npy"


def _remove_store(out: Path) -> None:
    """Remove an earlier run's store, the manifest first, and what a killed run left; nothing else."""
    for name in ("manifest.csv", "summary.json", "problems.csv"):
        (out / name).unlink(missing_ok=True)
    for path in out.iterdir():
        name = re.sub(r"^\.(.+)\.\d+\.tmp$", r"\1", path.name)
        if _VOLUME.fullmatch(name) or (name != path.name and name in ("manifest.csv", "summary.json", "problems.csv")):
            path.unlink()


def _check_space(found: Discovery, out: Path) -> None:
    needed = sum(
        2 * found.headers[path].rows * found.headers[path].columns
        for _, keys, slices in _planned(found)
        for each in slices
        for path in each[1 : 1 + len(keys)]
    )
    free = shutil.disk_usage(out).free
    if needed > free:
        sizes = f"the volumes need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
        raise VolumeError(f"{out}: {sizes}; free space or set OUTPUT=... to another disk")


def _cannot_write(out: Path, error: OSError) -> VolumeError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return VolumeError(f"{out}: the disk is full, nothing of this run was kept; free space or set OUTPUT=...")
    return VolumeError(f"{out}: the store cannot be written ({error.strerror or error}); check its permissions")


def _problem_table(found: Discovery, problems: list[Problem]) -> pd.DataFrame:
    """File names of unknown data may hold names, so those files are told by the start of their SHA-256."""

    def label(path: Path) -> str:
        if found.collection != "other":
            return path.relative_to(found.root).as_posix()
        try:
            return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except OSError:
            return "unreadable file"

    rows = [(problem.kind, label(problem.file), problem.what, problem.remedy, problem.count) for problem in problems]
    return pd.DataFrame(rows, columns=["kind", "file", "what", "remedy", "count"])


def _summary(found: Discovery, problems: list[Problem], manifest: pd.DataFrame) -> dict:
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + problem.count
    return {
        "collection": found.collection,
        "patients": int(manifest["patient"].nunique()),
        "series": int(manifest["volume"].nunique()),
        "slices": len(manifest),
        "pairs": int(manifest["paired"].sum()) // 2,
        "ignored": found.ignored,
        "problems": dict(sorted(counts.items())),
    }
