"""The parts of a store, each written as a whole: a pair's two volumes, or the volume of a series without partner. A finished
part leaves a record, so that a run that was killed goes on after it. Records hold hashes, no file names."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lib.artifacts.cache import code_hash, digest
from lib.artifacts.files import TEMPORARY, sync, unchanged
from lib.data.dicom.discovery import Discovery
from lib.data.dicom.pairing import SeriesKey
from lib.data.doses import DOSES

FOLDER = "parts"
VOLUME = re.compile(rf"[\w.+-]+_({'|'.join(DOSES)})_[\w.+-]+_[\d.]+mm(-\d+)?\.npy")


@dataclass(eq=False)
class Part:
    """What is written together."""

    found: Discovery
    series: tuple[SeriesKey, ...]  # full dose and low dose, or one series without partner
    slices: list[tuple]  # (z_mm, path of each series), z rising

    @property
    def volumes(self) -> list[str]:
        """File name of each series' volume: 'SIM01_full_B30_1mm.npy'; a series that is not the first of its kind
        ends in its number."""
        names = []
        for key in self.series:
            number = f"-{key.number}" if key.number > 1 else ""
            names.append(f"{key.patient}_{key.dose}_{key.kernel}_{key.thickness_mm:g}mm{number}.npy")
        return names

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns."""
        grid = self.found.headers[self.slices[0][1]].grid
        return grid.rows, grid.columns

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the volumes: the code, and the files' names, sizes and times of change."""
        sources = [(each[0], *map(self._state, each[1:])) for each in self.slices]
        return digest({"code": code_hash({"lib.data.store.writing"}), "series": self.series, "sources": sources})[:32]

    def _state(self, path: Path) -> tuple:
        try:
            status = path.stat()
        except OSError:  # its problem is reported when it is to be read
            return (str(path),)
        return path.relative_to(self.found.root).as_posix(), status.st_size, status.st_mtime_ns


@dataclass
class Record:
    """A finished part."""

    volumes: dict[str, list] = field(default_factory=dict)  # name -> size, time, SHA-256; empty if no slice was decoded
    sources: list[list[str]] = field(default_factory=list)  # SHA-256 of the DICOM files, by series, a stored slice each
    left_out: list[list] = field(default_factory=list)  # [series, slice, what is wrong, remedy], counted from 0 in the part


def planned(found: Discovery) -> list[Part]:
    """All parts of a store: the pairs, then the series without partner."""
    parts = [Part(found, tuple(map(key.of, DOSES)), slices) for key, slices in found.pairs.items()]
    done = {series for part in parts for series in part.series}
    return parts + [Part(found, (key,), slices) for key, slices in found.series.items() if key not in done]


def resume(parts: list[Part], out: Path) -> dict[str, Record]:
    """Records, by key, of the parts that an earlier run finished; removes the rest of its store, the manifest first."""
    for name in ("manifest.csv", "summary.json", "problems.csv"):
        (out / name).unlink(missing_ok=True)
    sync(out)
    wanted, kept = {part.key for part in parts}, {}
    for path in records(out):
        if path.stem in wanted and (record := _intact(out, path)):
            kept[path.stem] = record
        else:
            path.unlink()
    volumes = {name for record in kept.values() for name in record.volumes}
    for path in [*out.iterdir(), *(out / FOLDER).glob("*")]:
        stale = VOLUME.fullmatch(path.name) and path.parent == out and path.name not in volumes
        if stale or path.name.startswith(TEMPORARY):
            path.unlink()
    if (out / FOLDER).is_dir() and not kept:
        (out / FOLDER).rmdir()
    return kept


def records(out: Path) -> list[Path]:
    """The records of a store."""
    return sorted((out / FOLDER).glob("*.json"))


def intact(out: Path) -> bool:
    """Whether every volume that a record vouches for is still the one that was written."""
    return all(_intact(out, path) for path in records(out))


def _intact(out: Path, path: Path) -> Record | None:
    """The record, unless it cannot be read or a volume is another."""
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if all(unchanged(out / name, known) for name, known in record.volumes.items()) else None
