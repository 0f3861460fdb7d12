"""A simulated cohort: random abdomens, scanned at two doses, written as DICOM in the Mayo form with organ masks."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib.artifacts.cache import Step
from lib.artifacts.files import alone, atomic
from lib.data.dicom.mayo import write_series
from lib.errors import VolumeError
from lib.simulation.contents import SIMULATED_CONTENTS
from lib.simulation.liver_noise import noise_benchmark
from lib.simulation.phantom import Abdomen
from lib.simulation.scanner import Scanner, draw_i0
from lib.simulation.series import scan
from lib.study.config import Simulation

SPACING_MM = 0.8  # of the real '1 mm' series
LEVELS_MM = (-150.0, -50.0)  # centres of the slabs: liver to kidneys; 0 is the dome of the liver
GOLDEN = 0.618034


def slab(number: int, slices: int) -> np.ndarray:
    """Positions of a patient's '1 mm' slices in mm, shape (slices,), falling as DICOM instances rise.

    The slabs' centres follow a golden-ratio sequence over ``LEVELS_MM``: any few patients cover all levels.
    """
    low, high = LEVELS_MM
    centre = round(low + (high - low) * (number * GOLDEN % 1.0), 1)
    return np.round(centre + SPACING_MM * ((slices - 1) / 2 - np.arange(slices)), 3)


def simulate(out: Path, simulation: Simulation) -> pd.DataFrame:
    """Write the cohort below ``out``: a DICOM tree, ``masks/<patient>.npz`` (labels, z_mm), ``noise.csv``
    and ``contents.csv``.

    Patients that are there already are kept, so that a killed run goes on where it stopped.

    Returns:
        The noise benchmark: a row a quantity, real beside simulated (mean, lowest and highest patient).

    Raises:
        OutputError: ``out`` cannot be written, or another run is at work in it.
    """
    with alone(out):
        return _simulate(out, simulation)


def _simulate(out: Path, simulation: Simulation) -> pd.DataFrame:
    bar = tqdm(simulation.names, desc="simulating", unit="patient", mininterval=1.0, delay=2)
    steps = [_patient(out, simulation, number, name) for number, name in enumerate(bar, start=1)]
    noise = _noise_table([pd.read_csv(step.stamp.with_suffix(".csv")) for step in steps])
    with atomic(out / "noise.csv") as temporary:
        noise.to_csv(temporary, index=False)
    contents = {name: kept[2] for step in steps for name, kept in step.read()["outputs"].items()}
    with atomic(out / SIMULATED_CONTENTS) as temporary:
        pd.Series(contents, name="sha256").sort_index().rename_axis("file").to_csv(temporary)
    return noise


def _patient(out: Path, simulation: Simulation, number: int, name: str) -> Step:
    config = simulation.model_dump(exclude={"patients"}) | {"number": number}
    step = Step(f"simulating {name}", out / "patients" / f"{name}.json", {"lib.simulation.cohort"}, config)
    if step.is_current():
        return step
    seed = simulation.seed * 1000 + number
    z_mm = slab(number, simulation.slices)
    with step.making(seed=seed) as outputs:
        hu, labels = Abdomen.random(seed).draw(z_mm, simulation.size)
        scanner = Scanner(size=simulation.size)
        series = scan(hu, z_mm, scanner, np.random.default_rng(seed), draw_i0(seed), simulation.dose_fraction)
        for (dose, kernel, thickness_mm), (positions, images) in series.items():
            outputs += write_series(out, images, positions, patient=name, dose=dose, kernel=kernel,
                                    thickness_mm=thickness_mm, pixel_spacing_mm=scanner.pixel_mm,
                                    dose_fraction=simulation.dose_fraction)
        mask = out / "masks" / f"{name}.npz"
        with atomic(mask) as temporary:
            np.savez_compressed(temporary, labels=labels, z_mm=z_mm)
        benchmark = step.stamp.with_suffix(".csv")
        with atomic(benchmark) as temporary:
            _benchmark(series, labels).to_csv(temporary, index=False)
        outputs += [mask, benchmark]
        os.sync()  # the slices, before the stamp vouches for them
    return step


def _benchmark(series: dict, labels: np.ndarray) -> pd.DataFrame:
    try:
        return noise_benchmark(series, labels)
    except VolumeError:  # a slab with too little liver: it has no part in the benchmark
        return pd.DataFrame(columns=["quantity", "real", "simulated"])


def _noise_table(patients: list[pd.DataFrame]) -> pd.DataFrame:
    measured = [table for table in patients if len(table)]
    if not measured:
        return pd.DataFrame(columns=["quantity", "real", "simulated", "lowest", "highest", "patients"])
    groups = pd.concat(measured).groupby("quantity", sort=False)
    return pd.DataFrame({
        "real": groups["real"].first(), "simulated": groups["simulated"].mean(), "lowest": groups["simulated"].min(),
        "highest": groups["simulated"].max(), "patients": groups["simulated"].count(),
    }).reset_index()

