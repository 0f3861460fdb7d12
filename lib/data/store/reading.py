"""The store of Hounsfield units: one memory-mappable .npy a series, and a manifest with one row a slice.

In the volumes of a pair, index i at full dose and index i at quarter dose show the same place; z rises with the index.
A store without a manifest is not a store: :mod:`lib.stages.preprocess` writes it last.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lib.errors import VolumeError
from lib.paper import published

COLUMNS = {
    "patient": "str", "dose": "str", "kernel": "str", "thickness_mm": "float64", "index": "int64", "z_mm": "float64",
    "volume": "str", "paired": "bool", "rows": "int64", "columns": "int64", "source_sha256": "str", "collection": "str",
    "dose_fraction": "float64",
}  # fmt: skip


def load_manifest(out: Path) -> pd.DataFrame:
    """One row a slice, checked against the volumes. Raises VolumeError if anything is missing or does not fit.

    Columns: patient, dose ('full', 'quarter'), kernel, thickness_mm, index (in the volume), z_mm, volume (file name),
    paired, rows, columns, source_sha256 (of the DICOM file), collection, dose_fraction (of the full dose, 1.0 for it; NaN
    where nothing tells).
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
        manifest["dose_fraction"] = manifest["dose_fraction"].replace("", "nan")
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


def read_slice(volume: np.memmap, index: int) -> np.ndarray:
    """HU of one slice, (rows, columns), read through the file: mapped pages would count as memory of the process."""
    with open(volume.filename, "rb") as stream:
        stream.seek(volume.offset + int(index) * volume[0].nbytes)
        return np.fromfile(stream, volume.dtype, volume[0].size).reshape(volume.shape[1:])


def load_problems(out: Path) -> pd.DataFrame:
    """What `preprocess` left out or guessed: kind, file (relative to the data), what, remedy, count of files."""
    return pd.read_csv(Path(out) / "problems.csv", dtype={"file": str}, keep_default_na=False)


def load_summary(out: Path) -> dict:
    """Counts of `preprocess`: collection, patients, series, slices, pairs, also by series and as expected of the whole
    collection, `completeness`, ignored files and problems by kind."""
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


def completeness(manifest: pd.DataFrame) -> str | None:
    """One line that says whether the whole of Mayo's collection is there, None for other collections.

    'complete: 10 patients, 16,628 pairs' or 'partial: 2 of 10 patients, 1 mm B30 only, 1,200 of 16,628 pairs'.
    """
    if manifest["collection"].iloc[0] != "mayo2016":
        return None
    counts = count_table(manifest)
    found, patients = counts.loc["total"], counts.index.drop("total")
    thick = {name: counts[name].drop("total").to_dict() == published.SLICES_3MM_BY_PATIENT
             for name in published.PAIRS_BY_SERIES if name.endswith("3 mm") and name in counts}
    if found.drop("total").to_dict() == published.PAIRS_BY_SERIES and all(thick.values()):
        return f"complete: {len(patients)} patients, {published.PAIRS:,} pairs"
    told = []
    everyone = list(published.SLICES_3MM_BY_PATIENT)
    if len(known := patients.intersection(everyone)) < len(everyone):
        told.append(f"{len(known)} of {len(everyone)} patients")
    series = [" ".join(name.split(" ", 1)[::-1]) for name in published.PAIRS_BY_SERIES if found.get(name, 0)]
    if 0 < len(series) < len(published.PAIRS_BY_SERIES):
        told.append(f"{' and '.join(series)} only")
    told = told or ["not slice for slice as published"]
    return "partial: " + ", ".join([*told, f"{found['total']:,} of {published.PAIRS:,} pairs"])
