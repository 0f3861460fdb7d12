"""One real normal-dose series with a low dose inserted: line integrals, thinned photons, and the noise put back. The normal
dose keeps its pixel values; the low dose is the normal dose plus reconstructed noise. Slices are read and written a few at
a time, so memory depends on neither the series nor the cohort."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.artifacts.cache import Step, digest
from lib.artifacts.files import write_text
from lib.data.dicom.geometry import Grid
from lib.data.dicom.mayo import mayo_file_name, mayo_folder, write_slice
from lib.data.dicom.slice import read_hu
from lib.errors import DicomError
from lib.simulation.exposure import thin
from lib.simulation.kernels import noise_kernel
from lib.simulation.noise import Photons, TissueNoise, estimate_i0, tissue_noise
from lib.simulation.scanner import RollOff, Scanner
from lib.simulation.series import DOSES, SLICES_AT_ONCE

PROBES = 8  # slices in which the noise of a series is measured before the insertion
AIR = -1000.0
PADDED = -1024.0


@dataclass(frozen=True)
class Scan:
    """One normal-dose series."""

    patient: str  # a pseudonym
    kernel: str
    thickness_mm: float
    grid: Grid  # of its pixels, which are square
    slices: tuple[tuple[float, Path], ...]  # (z in mm, file), z rising
    collection: str = "inserted"  # what it becomes: 'simulated' if the normal dose is simulated, too
    number: int = 1  # among the patient's series of this kernel and thickness

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return self.grid.spacing_mm[0] if self.grid.spacing_mm else math.nan

    @property
    def name(self) -> str:
        """Of the stamp; one per series."""
        return f"{self.patient}_{self.kernel}_{self.thickness_mm:g}mm" + (f"-{self.number}" if self.number > 1 else "")

    @property
    def keys(self) -> dict:
        """What `lib.data.dicom.mayo` names it by, without the dose."""
        return {"patient": self.patient, "kernel": self.kernel, "thickness_mm": self.thickness_mm, "number": self.number}

    def folders(self, out: Path) -> dict[str, Path]:
        """Where the two doses are written: Mayo's name of the dose -> folder."""
        return {dose: out / mayo_folder(dose=dose, **self.keys) for dose in DOSES.values()}


class Dose(NamedTuple):
    """What to insert: share of the full dose, seed, and I0 (None: from each scan's own noise)."""

    fraction: float
    seed: int
    i0: float | None


def insert_series(scan: Scan, out: Path, dose: Dose, threads: int = 1) -> tuple[Step, list[DicomError]]:
    """Write both doses of one series below `out` and its row beside its stamp, unless they are there already: the step, and
    an error per slice that was left out (only if the work was done now). DicomError where no slice can be read."""
    config = {"series": scan.name, "collection": scan.collection, "dose_fraction": dose.fraction, "seed": dose.seed,
              "i0": dose.i0}  # fmt: skip
    state = [_state(path) for _, path in scan.slices]
    step = Step(f"inserting noise into {scan.name}", out / "series" / f"{scan.name}.json",
                {"lib.simulation.low_dose_series"}, config, {"scans": digest(state)})  # fmt: skip
    if step.is_current():
        return step, []
    for folder in scan.folders(out).values():  # what a killed run or another dose fraction left
        for path in folder.glob("*.IMA"):
            path.unlink()
    with step.making() as outputs:
        row, failures = _insert(scan, out, dose, threads, outputs)
        report = step.stamp.with_suffix(".csv")
        write_text(report, pd.DataFrame([row]).to_csv(index=False, float_format="%.6g"))
        outputs.append(report)
        os.sync()  # the slices, before the stamp vouches for them
    return step, failures


def added_noise(
    scanner: Scanner, hu: np.ndarray, rng: np.random.Generator, i0: float, dose_fraction: float, kernel: str | RollOff
) -> np.ndarray:
    """What the low dose adds to normal-dose slices, (slices, rows, columns), no side longer than the scanner's: HU, float32,
    of their shape. They are padded to its square with air; `i0` and `dose_fraction` are as for
    `lib.simulation.exposure.thin`, `kernel` of the noise is as for `lib.simulation.scanner.Scanner.reconstruct`."""
    square, place = _squared(hu, scanner.size)
    added = thin(scanner, scanner.project(square), rng, i0, dose_fraction)
    return (scanner.reconstruct(added, kernel) + np.float32(1000.0))[:, *place]


def padding(hu: np.ndarray) -> np.ndarray:
    """Pixels that a scanner fills in, bool, shape (slices, rows, columns): -1024 HU or less outside the inscribed circle
    of the (squared) image, if nearly all are so there. Both doses have the same value in them."""
    rows, columns = hu.shape[1:]
    down, across = np.ogrid[:rows, :columns]
    distance = np.hypot(down - (rows - 1) / 2, across - (columns - 1) / 2)
    low, outside = hu <= PADDED, distance > max(rows, columns) / 2
    filled = (low & outside).sum(axis=(1, 2), keepdims=True) > 0.9 * outside.sum()
    return filled & low & (distance > max(rows, columns) / 2 - 1)


def _state(path: Path) -> list:
    """What changes with a file's contents; of one that is gone, which `_batches` leaves out, its name."""
    try:
        return [path.name, path.stat().st_size, path.stat().st_mtime_ns]
    except OSError:
        return [path.name]


def _insert(scan: Scan, out: Path, dose: Dose, threads: int, outputs: list[Path]) -> tuple[dict, list[DicomError]]:
    """The work of `insert_series`: the row of the report, and what is wrong with slices left out; files go to `outputs`."""
    noise_rng, probe_rng = np.random.default_rng([dose.seed, int(digest(scan.name)[:15], 16)]).spawn(2)
    scanner, failures, sums = None, [], np.zeros(len(TissueNoise._fields))
    for batch in _batches(scan.slices, failures):
        hu = np.stack([image for _, _, image in batch])
        if scanner is None:
            size = max(hu.shape[1:])
            scanner = Scanner(size=size, fov_mm=size * scan.pixel_mm, threads=threads)
            probes = _probes(scan, size)
            kernel = noise_kernel(scan.kernel, probes, scan.pixel_mm)
            photons = Photons(dose.i0, "given") if dose.i0 else estimate_i0(scanner, probes, kernel.roll_off, probe_rng)
        added = added_noise(scanner, hu, noise_rng, photons.i0, dose.fraction, kernel.roll_off)
        low = hu + np.where(padding(hu), 0.0, added).astype(np.float32)
        low = np.minimum(low, max(3071.0, float(hu.max())))  # saturates where the scan does
        for (index, z_mm, *_), *images in zip(batch, hu, low, strict=True):
            sums += tissue_noise(*images, scan.pixel_mm)
            key = scan.keys | {"instance": len(scan.slices) - index}
            outputs += [
                write_slice(folder / mayo_file_name(dose=name, **key), image, dose=name, z_mm=z_mm, **key, grid=scan.grid,
                            pixel_spacing_mm=scan.pixel_mm, collection=scan.collection, dose_fraction=dose.fraction)
                for (name, folder), image in zip(scan.folders(out).items(), images, strict=True)
            ]  # fmt: skip
    if scanner is None:
        first, more = failures[0], f"(and {len(failures) - 1} more of series {scan.name}: none can be read)"
        raise DicomError(f"{first.what} {more}", where=first.where, remedy=first.remedy, code=first.code)
    noise = TissueNoise(*sums)
    full, low, shift = np.array([noise.full, noise.low, noise.shift]) / (noise.squares or np.nan)
    return {"patient": scan.patient, "kernel": scan.kernel, "thickness_mm": scan.thickness_mm, "slices": len(outputs) // 2,
            "left_out": len(failures), "dose_fraction": dose.fraction, "noise_half": kernel.roll_off.half,
            "noise_kernel": kernel.source, "i0": photons.i0, "i0_source": photons.source, "sd_full_hu": np.sqrt(full),
            "sd_low_hu": np.sqrt(low), "ratio": np.sqrt(low / full), "shift_hu": shift,
            "squares": noise.squares}, failures  # fmt: skip


def _batches(slices, failures: list[DicomError]) -> Iterator[list[tuple[int, float, np.ndarray]]]:
    """(index, z, HU as float32) of the slices that can be read, a few at a time."""
    batch = []
    for index, (z_mm, path) in enumerate(slices):
        try:
            batch.append((index, z_mm, read_hu(path).astype(np.float32)))
        except DicomError as error:
            failures.append(error)
        if batch and (len(batch) == SLICES_AT_ONCE or index == len(slices) - 1):
            yield batch
            batch = []


def _probes(scan: Scan, size: int) -> np.ndarray:
    """A few slices spread evenly over the series, in squares of air: HU, (slices, size, size)."""
    places = np.unique(np.linspace(0, len(scan.slices) - 1, PROBES).round().astype(int))
    probes = [image for batch in _batches([scan.slices[k] for k in places], []) for _, _, image in batch]
    return _squared(np.stack(probes), size)[0] if probes else np.full((1, size, size), AIR, np.float32)


def _squared(hu: np.ndarray, size: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Slices in the middle of squares of air, nothing below vacuum, and where they lie in them."""
    starts = [(size - length) // 2 for length in hu.shape[1:]]
    place = tuple(slice(start, start + length) for start, length in zip(starts, hu.shape[1:], strict=True))
    square = np.full((len(hu), size, size), AIR, np.float32)
    square[:, *place] = np.maximum(hu, AIR)
    return square, place
