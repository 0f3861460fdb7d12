"""The store of Hounsfield units: one memory-mappable .npy a series, and a manifest with one row a slice.

In the volumes of a pair, index i at full dose and index i at quarter dose show the same place; z rises with the index.
The manifest is written last: a store without one is not a store.
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
from lib.cohort.discovery import ALIASES, Discovery, PairKey, Problem, SeriesKey, discover, worker_map
from lib.errors import CohortError, DicomError, VolumeError

HU_MIN, HU_MAX = -1024.0, 3072.0
"""The range that becomes [0, 1] (paper, Section 5.1)."""

COLUMNS = {
    "patient": "str", "dose": "str", "kernel": "str", "thickness_mm": "float64", "index": "int64", "z_mm": "float64",
    "volume": "str", "paired": "bool", "rows": "int64", "columns": "int64", "source_sha256": "str", "collection": "str",
}  # fmt: skip
SUBSETS = ("train", "validation", "test")
_VOLUME = re.compile(r"[\w.+-]+_(full|quarter)_[\w.+-]+_[\d.]+mm\.npy")


def normalise(hu: np.ndarray) -> np.ndarray:
    """HU to the network's range, float32: -1024 becomes 0 and 3072 becomes 1; nothing is clipped."""
    return (np.asarray(hu, np.float32) - np.float32(HU_MIN)) / np.float32(HU_MAX - HU_MIN)


def denormalise(image: np.ndarray) -> np.ndarray:
    """The inverse of `normalise`: HU, float32."""
    return np.asarray(image, np.float32) * np.float32(HU_MAX - HU_MIN) + np.float32(HU_MIN)


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


def load_manifest(out: Path) -> pd.DataFrame:
    """One row a slice, checked against the volumes. Raises VolumeError if anything is missing or does not fit.

    Columns: patient, dose ('full', 'quarter'), kernel, thickness_mm, index (in the volume), z_mm, volume (file name),
    paired, rows, columns, source_sha256 (of the DICOM file), collection.
    """
    path = Path(out) / "manifest.csv"
    again = "run the preprocess stage again"
    if not path.is_file():
        raise VolumeError(f"{path}: there is no manifest, so the store is missing or incomplete; {again}")
    try:
        manifest = pd.read_csv(path, dtype=str, keep_default_na=False)
        lacking = [name for name in COLUMNS if name not in manifest]
        if lacking:
            raise VolumeError(f"{path}: column(s) {', '.join(lacking)} are missing; {again}")
        allowed = manifest["paired"].isin(["True", "False"]) & manifest["dose"].isin(["full", "quarter"])
        if manifest.empty or not allowed.all():
            raise ValueError("no rows, or 'paired' or 'dose' with a value that is not allowed")
        manifest["paired"] = manifest["paired"] == "True"
        manifest = manifest[list(COLUMNS)].astype(COLUMNS)
    except (ValueError, TypeError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise VolumeError(f"{path}: not a manifest ({' '.join(str(error).split())}); {again}") from None
    for name, rows in manifest.groupby("volume"):
        expected = (len(rows), int(rows["rows"].iloc[0]), int(rows["columns"].iloc[0]))
        shape = open_volume(out, name).shape
        if shape != expected or sorted(rows["index"]) != list(range(len(rows))):
            raise VolumeError(f"{Path(out) / name}: shape {shape}, the manifest expects {expected}; {again}")
    return manifest


def open_volume(out: Path, name: str) -> np.memmap:
    """HU of one series, (slices, rows, columns), int16 or float32, memory-mapped and read-only. Raises VolumeError."""
    path = Path(out) / name
    if Path(name).name != name or not path.is_file():
        raise VolumeError(f"{path}: the volume is missing; run the preprocess stage again")
    try:
        volume = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        text = " ".join(str(error).split())
        raise VolumeError(f"{path}: the volume is damaged ({text}); run the preprocess stage again") from None
    if volume.ndim != 3 or volume.dtype not in (np.dtype("int16"), np.dtype("float32")):
        found = f"{volume.dtype} of shape {volume.shape}"
        raise VolumeError(f"{path}: {found}, expected int16 or float32 slices; run the preprocess stage again")
    return volume


def load_problems(out: Path) -> pd.DataFrame:
    """What `preprocess` left out or guessed: kind, file (relative to the data), what, remedy, count of files."""
    return pd.read_csv(Path(out) / "problems.csv", dtype={"file": str}, keep_default_na=False)


def load_summary(out: Path) -> dict:
    """Counts of `preprocess`: collection, patients, series, slices, pairs, ignored files and problems by kind."""
    return json.loads((Path(out) / "summary.json").read_text())


def pairs(manifest: pd.DataFrame) -> pd.DataFrame:
    """One row a pair: patient, kernel, thickness_mm, index, z_mm, ldct and ndct (volume file names).

    Raises VolumeError if a slice that is marked as paired has no partner at its index and z.
    """
    keys = ["patient", "kernel", "thickness_mm", "index"]
    paired = manifest[manifest["paired"]]
    low, full = (paired.loc[paired["dose"] == dose, [*keys, "z_mm", "volume"]] for dose in ("quarter", "full"))
    both = low.merge(full, on=keys, how="outer", suffixes=("", "_full"), validate="one_to_one")
    wrong = both["z_mm"].isna() | both["z_mm_full"].isna() | ((both["z_mm"] - both["z_mm_full"]).abs() > 0.0100001)
    if wrong.any():
        first = both[wrong].iloc[0]
        raise VolumeError(
            f"manifest: {wrong.sum()} slice(s) marked as paired have no partner at their index and z, the first is "
            f"{first['patient']} {first['kernel']} {first['thickness_mm']:g} mm index {first['index']}; preprocess again"
        )
    both = both.rename(columns={"volume": "ldct", "volume_full": "ndct"})
    return both[[*keys, "z_mm", "ldct", "ndct"]].sort_values(keys, ignore_index=True)


def count_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """Pairs by patient (rows) and series (columns, 'B30 1 mm'), with totals; the paper has 16,628 in all."""
    table = pairs(manifest)
    series = table["kernel"] + " " + table["thickness_mm"].map("{:g} mm".format)
    counts = pd.crosstab(table["patient"], series)
    counts.columns.name, counts.index.name = None, "patient"
    counts["total"] = counts.sum(axis=1)
    counts.loc["total"] = counts.sum()
    return counts.astype(int)


def split_pairs(
    table: pd.DataFrame, split: dict[str, list[str]], *, warn: Callable[[str], None] = print
) -> dict[str, pd.DataFrame]:
    """Divide `pairs` by patient into train, validation and test; no patient can be in two of them.

    Patients that the split names but the data lack, or the other way round, and L097 for L096, go to `warn` as text.

    Raises CohortError if a patient is in two subsets, a subset is empty, or the split's keys are not the three.
    """
    if set(split) != set(SUBSETS):
        raise CohortError(f"split has the subsets {sorted(split)}; expected {', '.join(SUBSETS)}")
    present = set(table["patient"])
    owner: dict[str, str] = {}
    for subset in SUBSETS:
        for name in split[subset]:
            patient = ALIASES.get(name, name) if name not in present else name
            if patient != name:
                warn(f"split: {name} is read as {patient} (a misprint in the paper)")
            if owner.setdefault(patient, subset) != subset:
                raise CohortError(f"split: patient {patient} is in both {owner[patient]} and {subset}; keep it in one")
    if absent := sorted(owner.keys() - present):
        warn(f"split: no pairs of {', '.join(absent)} in the data; the study goes on without")
    if unused := sorted(present - owner.keys()):
        warn(f"split: {', '.join(unused)} are in the data but in no subset; their pairs are not used")
    subsets = table["patient"].map(owner)
    parts = {subset: table[subsets == subset].reset_index(drop=True) for subset in SUBSETS}
    if empty := [subset for subset, part in parts.items() if part.empty]:
        raise CohortError(
            f"split: no pairs for {', '.join(empty)}; the data have pairs of {', '.join(sorted(present)) or 'no patient'}, "
            "name at least one of them for each subset in the profile's split"
        )
    return parts


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
