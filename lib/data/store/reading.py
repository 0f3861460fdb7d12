"""The store of Hounsfield units: one .npy per series, and a manifest with one row per slice. In the volumes of a pair, index
i at full dose and index i at quarter dose show the same place; z rises with the index."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.doses import DOSES, FULL, LOW
from lib.errors import VolumeError
from lib.paper import published

COLUMNS = {
    "patient": "str", "dose": "str", "kernel": "str", "thickness_mm": "float64", "scan": "int64", "index": "int64",
    "z_mm": "float64",
    "volume": "str", "paired": "bool", "rows": "int64", "columns": "int64", "source_sha256": "str", "collection": "str",
    "dose_fraction": "float64", "pixel_mm": "float64"}  # fmt: skip


def load_manifest(out: Path) -> pd.DataFrame:
    """One row per slice, checked against the volumes; VolumeError if anything is missing or does not fit.

    Columns: patient, dose (of ``DOSES``), kernel, thickness_mm, scan (number of the series among those of
    the patient that are alike in the three), index (in the volume), z_mm, volume (file name), paired,
    rows, columns, source_sha256 (of the DICOM file), collection, dose_fraction (of the full dose, 1.0 for it; NaN: unknown),
    pixel_mm (distance of columns; NaN: unknown).
    """
    path = Path(out) / "manifest.csv"
    if not path.is_file():
        raise _error(path, "there is no manifest, so the store is missing or incomplete")
    try:
        manifest = pd.read_csv(path, dtype=str, keep_default_na=False)
        if lacking := [name for name in COLUMNS if name not in manifest]:
            raise _error(path, f"column(s) {', '.join(lacking)} are missing")
        allowed = manifest["paired"].isin(["True", "False"]) & manifest["dose"].isin(DOSES)
        if manifest.empty or not allowed.all():
            raise ValueError("no rows, or 'paired' or 'dose' with a value that is not allowed")
        manifest["paired"] = manifest["paired"] == "True"
        for name in ("dose_fraction", "pixel_mm"):
            manifest[name] = manifest[name].replace("", "nan")
        manifest = manifest[list(COLUMNS)].astype(COLUMNS)
    except (ValueError, TypeError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise _error(path, f"not a manifest ({' '.join(str(error).split())})") from None
    for name, rows in manifest.groupby("volume"):
        expected = (len(rows), int(rows["rows"].iloc[0]), int(rows["columns"].iloc[0]))
        shape = open_volume(out, name).shape
        if shape != expected or sorted(rows["index"]) != list(range(len(rows))):
            raise _error(Path(out) / name, f"shape {shape}, the manifest expects {expected}")
    return manifest


class Volume:
    """HU of one series, `shape` (slices, rows, columns) and `dtype` int16 or float32, read through the file: mapped pages
    would count as memory of the process."""

    def __init__(self, path: Path):
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        self.path, self.shape, self.dtype, self._start = path, stored.shape, stored.dtype, stored.offset

    def slice(self, index: int) -> np.ndarray:
        """HU of one slice, (rows, columns)."""
        return self.slices([index])[0]

    def slices(self, indices: Iterable[int]) -> np.ndarray:
        """HU of some slices, (slices, rows, columns), in the order of `indices`. ValueError: there is no such slice."""
        indices = np.asarray(list(indices), int)
        if indices.size and not 0 <= indices.min() <= indices.max() < self.shape[0]:
            raise ValueError(f"slices {indices.tolist()} of {self.shape[0]} in {self.path}")
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        with open(self.path, "rb", buffering=0) as stream:
            for image, index in zip(images, indices, strict=True):
                stream.seek(self._start + int(index) * image.nbytes)
                if stream.readinto(image) != image.nbytes:
                    raise _error(self.path, "the volume is damaged (cut short)")
        return images


def open_volume(out: Path, name: str) -> Volume:
    """The volume of that file name in a store. Raises VolumeError."""
    path = Path(out) / name
    if Path(name).name != name or not path.is_file():
        raise _error(path, "the volume is missing")
    try:
        volume = Volume(path)
    except (ValueError, OSError, EOFError) as error:
        raise _error(path, f"the volume is damaged ({' '.join(str(error).split())})") from None
    if len(volume.shape) != 3 or volume.dtype not in (np.dtype("int16"), np.dtype("float32")):
        raise _error(path, f"{volume.dtype} of shape {volume.shape}, expected int16 or float32 slices")
    return volume


def load_problems(out: Path) -> pd.DataFrame:
    """What `preprocess` left out or guessed: kind, file (relative to the data), what, remedy, count of files."""
    return pd.read_csv(Path(out) / "problems.csv", dtype={"file": str}, keep_default_na=False)


def load_summary(out: Path) -> dict:
    """Counts of `preprocess`: see `lib.data.store.build`."""
    return json.loads((Path(out) / "summary.json").read_text(encoding="utf-8"))


def pairs(manifest: pd.DataFrame) -> pd.DataFrame:
    """One row per pair: patient, kernel, thickness_mm, scan, index, z_mm, pixel_mm, ldct and ndct (files of volumes).
    Raises VolumeError if a slice that is marked as paired has no partner at its index and z."""
    keys = ["patient", "kernel", "thickness_mm", "scan", "index"]
    paired = manifest[manifest["paired"]]
    low, full = (paired.loc[paired["dose"] == dose, [*keys, "z_mm", "pixel_mm", "volume"]] for dose in (LOW, FULL))
    both = low.merge(full, on=keys, how="outer", suffixes=("", "_full"), validate="one_to_one")
    wrong = both["z_mm"].isna() | both["z_mm_full"].isna() | ((both["z_mm"] - both["z_mm_full"]).abs() > 0.0100001)
    if wrong.any():
        first = both[wrong].iloc[0]
        name = f"{first['patient']} {first['kernel']} {first['thickness_mm']:g} mm index {first['index']}"
        raise _error("manifest", f"{wrong.sum()} slice(s) marked as paired have no partner at their index and z, the first "
                                 f"is {name}")  # fmt: skip
    both = both.rename(columns={"volume": "ldct", "volume_full": "ndct"})
    return both[[*keys, "z_mm", "pixel_mm", "ldct", "ndct"]].sort_values(keys, ignore_index=True)


def count_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """Pairs by patient (rows) and series (columns, 'B30 1 mm'), with totals; the paper has 16,628 in all."""
    table = pairs(manifest)
    counts = pd.crosstab(table["patient"], table["kernel"] + " " + table["thickness_mm"].map("{:g} mm".format))
    counts.columns.name, counts.index.name = None, "patient"
    counts["total"] = counts.sum(axis=1)
    counts.loc["total"] = counts.sum()
    return counts.astype(int)


def completeness(manifest: pd.DataFrame) -> str | None:
    """One line that says whether the whole of Mayo's collection is there, None for other collections: 'complete: 10
    patients, 16,628 pairs' or 'partial: 2 of 10 patients, 1 mm B30 only, 1,200 of 16,628 pairs'."""
    if manifest["collection"].iloc[0] != "mayo2016":
        return None
    counts = count_table(manifest)
    found, patients = counts.loc["total"], counts.index.drop("total")
    by_patient = published.SLICES_3MM_BY_PATIENT
    whole = all(counts[name].drop("total").to_dict() == by_patient for name in counts if name.endswith("3 mm"))
    if whole and found.drop("total").to_dict() == published.PAIRS_BY_SERIES:
        return f"complete: {len(patients)} patients, {published.PAIRS:,} pairs"
    lacking = []
    if len(known := patients.intersection(list(by_patient))) < len(by_patient):
        lacking.append(f"{len(known)} of {len(by_patient)} patients")
    series = [" ".join(name.split(" ", 1)[::-1]) for name in published.PAIRS_BY_SERIES if found.get(name, 0)]
    if 0 < len(series) < len(published.PAIRS_BY_SERIES):
        lacking.append(f"{' and '.join(series)} only")
    lacking = [*(lacking or ["not slice for slice as published"]), f"{found['total']:,} of {published.PAIRS:,} pairs"]
    return "partial: " + ", ".join(lacking)


def _error(where: Path | str, what: str) -> VolumeError:
    return VolumeError(what, where=where, remedy="run the preprocess stage again")
