"""A simulated cohort: random abdomens, scanned at two doses, written as DICOM in the Mayo form with organ masks."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step, warn_of_mixture
from lib.artifacts.files import atomic, single_writer, write_text
from lib.data.dicom.mayo import write_series
from lib.data.workers import Workers, cores
from lib.errors import CohortError
from lib.simulation.abdomen import Abdomen
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.simulation.exposure import draw_i0
from lib.simulation.liver_noise import compare_liver_noise
from lib.simulation.phantom import Z_RANGE_MM, draw
from lib.simulation.scanner import Scanner
from lib.simulation.series import DOSES, scan

SPACING_MM = 0.8  # of the real '1 mm' series
LEVELS_MM = (-150.0, -50.0)  # where slabs are: liver to kidneys; 0 is the dome of the liver
PIXELS_A_READ = 5000  # that are simulated in the time of reading a file
LEVELS = 9  # centres of slabs, evenly spaced there: patients share them, so that z does not tell whose slice it is


def patient_names(patients: int) -> list[str]:
    """Patients that no one can mistake for real ones: SIM01, SIM02, ..."""
    return [f"SIM{number:02d}" for number in range(1, patients + 1)]


def positions(number: int, slabs: int, slices: int) -> np.ndarray:
    """Positions of a patient's '1 mm' slices in mm, shape (slabs, slices), falling as DICOM instances rise. ``LEVELS_MM`` is
    divided evenly among the slabs; within their shares they stand at the patient's place of a golden-ratio sequence, rounded
    to one of ``LEVELS``: any few patients cover all levels, and several share each."""
    low, high = LEVELS_MM
    level = LEVELS * (np.arange(slabs)[::-1] + number * 0.618034 % 1.0) // slabs
    centres = np.round(low + (high - low) * (level + 0.5) / LEVELS, 1)
    return np.round(centres[:, None] + SPACING_MM * ((slices - 1) / 2 - np.arange(slices)), 3)


def simulate(
    out: Path, *, patients: int, slices: int, size: int, seed: int, slabs: int = 1, dose_fraction: float = 0.25
) -> pd.DataFrame:
    """Write the cohort below ``out``: a DICOM tree, ``masks/<patient>.npz`` (labels, z_mm), ``noise.csv`` and
    ``contents.csv``. Patients that are there already are kept, so that a killed run goes on where it stopped.

    The result is the noise in the liver, a row per quantity: real beside simulated (mean, lowest and highest patient).
    Raises CohortError (the slices reach beyond the phantom, or the slabs into each other) or OutputError (``out`` cannot be
    written, or another run is at work in it).

    Parameters
    ----------
    patients, slices, size : how many patients, '1 mm' slices of each slab (two or more), and pixels along a side
    seed, dose_fraction : of the cohort, equal seeds give equal bytes; low dose as a share of the full dose
    slabs : of each patient, apart in z; all are of the same series
    """
    z_mm = {name: positions(number, slabs, slices) for number, name in enumerate(patient_names(patients), start=1)}
    z_all = np.stack(list(z_mm.values()))
    if z_all.min() < Z_RANGE_MM[0] or z_all.max() > Z_RANGE_MM[1]:
        raise CohortError(f"{slices} slices of a patient reach beyond the phantom ({-Z_RANGE_MM[0]:g} mm)", where=out,
                          remedy="simulate fewer slices")  # fmt: skip
    if (z_all[:, :-1, -1] - z_all[:, 1:, 0] < SPACING_MM).any():
        raise CohortError(f"{slabs} slabs of {slices} slices reach into each other", where=out,
                          remedy="simulate fewer slabs or slices")  # fmt: skip
    config = {"seed": seed, "slabs": slabs, "slices": slices, "size": size, "dose_fraction": dose_fraction}
    steps = [Step(f"simulating {name}", out / "patients" / f"{name}.json", {"lib.simulation.cohort"},
                  config | {"number": number}) for number, name in enumerate(z_mm, start=1)]  # fmt: skip
    with single_writer(out), Workers(min(cores(), patients)) as workers:
        due = [step for step in steps if not step.is_current()]
        work = partial(_simulate_patient, out, threads=1 if workers.jobs > 1 else 2)
        done = workers.map(work, due, files=len(due) * slabs * slices * size**2 // PIXELS_A_READ, chunk=1)
        for _ in tqdm(done, desc="simulating", unit="patient", total=patients, initial=patients - len(due), mininterval=1.0,
                      delay=2):  # fmt: skip
            pass
        warn_of_mixture(steps, out)
        noise = _noise_table([pd.read_csv(step.stamp.with_suffix(".csv")) for step in steps])
        write_text(out / "noise.csv", noise.to_csv(index=False))
        contents = {name: kept[2] for step in steps for name, kept in step.read()["outputs"].items()}
        write_text(out / SIMULATED_CONTENTS, pd.Series(contents, name="sha256").sort_index().rename_axis("file").to_csv())
    return noise


def _simulate_patient(out: Path, step: Step, threads: int) -> None:
    """The work of one step; runs in a worker."""
    number, size, dose_fraction = (step.config[name] for name in ("number", "size", "dose_fraction"))
    name, seed = step.stamp.stem, step.config["seed"] * 1000 + number
    z_mm = positions(number, step.config["slabs"], step.config["slices"])
    with step.making(seed=seed) as outputs:
        hu, labels = draw(Abdomen.random(seed), z_mm.ravel(), size)
        scanner = Scanner(size=size, threads=threads)
        series = scan(hu, z_mm, scanner, np.random.default_rng(seed), draw_i0(seed), dose_fraction)
        for (dose, kernel, thickness_mm), (places, images) in series.items():
            outputs.extend(write_series(
                out, images, places, patient=name, dose=DOSES[dose], kernel=kernel, thickness_mm=thickness_mm,
                pixel_spacing_mm=scanner.pixel_mm, dose_fraction=dose_fraction))  # fmt: skip
        mask = out / "masks" / f"{name}.npz"
        with atomic(mask) as temporary:
            np.savez_compressed(temporary, labels=labels, z_mm=z_mm.ravel())
        noise = step.stamp.with_suffix(".csv")
        write_text(noise, compare_liver_noise(series, labels).to_csv(index=False, float_format="%.6g"))
        outputs.extend([mask, noise])
        os.sync()  # the slices, before the stamp vouches for them


def _noise_table(patients: list[pd.DataFrame]) -> pd.DataFrame:
    measured = [table for table in patients if len(table)]
    if not measured:
        return pd.DataFrame(columns=["quantity", "real", "simulated", "lowest", "highest", "patients"])
    columns = {"real": ("real", "first"), "simulated": ("simulated", "mean"), "lowest": ("simulated", "min"),
               "highest": ("simulated", "max"), "patients": ("simulated", "count")}  # fmt: skip
    return pd.concat(measured).groupby("quantity", sort=False).agg(**columns).reset_index()
