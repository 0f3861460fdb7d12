"""The simulated cohort: slabs of a patient, and the same pixels whatever computes them."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy._core import _multiarray_umath as numpy_core

from lib import REPOSITORY
from lib.artifacts import cache, provenance
from lib.check.scans import simulated_pairs
from lib.data.store import reading
from lib.data.store.build import build_store
from lib.errors import CohortError
from lib.simulation import cohort
from lib.simulation.cohort import LEVELS_MM, SPACING_MM, positions, simulate
from lib.simulation.exposure import GRID, expose, thin
from lib.simulation.scanner import Scanner
from lib.study import load_study
from lib.study.sections import Simulation

SMALL = {"patients": 1, "slabs": 2, "slices": 4, "size": 32, "seed": 5}
COHORTS = """
import os, sys
from pathlib import Path
from lib.simulation import cohort
from lib.simulation.insertion import insert

if CORES == 1 and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
cohort.PIXELS_A_READ = 1  # two cores, two processes
cohort.simulate(Path(sys.argv[1], "simulated"), patients=2, slices=4, size=32, seed=5)
insert(Path(sys.argv[1], "simulated"), Path(sys.argv[1], "inserted"))
"""
CONTENTS = ("simulated/contents.csv", "inserted/insertion.csv")  # with the SHA-256 of all files
PLAIN = {
    "NPY_DISABLE_CPU_FEATURES": " ".join(each for each in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[each]),
    "OPENBLAS_CORETYPE": "Nehalem", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
}  # fmt: skip
"""NumPy, BLAS and the C library without any instructions that not every processor has."""


def test_the_same_bytes_whatever_the_cores_and_instructions(tmp_path):
    """Double precision, and line integrals on a grid: each of this cohort's 4e4 counts differs with a chance below 1e-8."""
    settings = {"as it is": (2, {}), "one core": (1, {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}),
                "plain": (1, PLAIN)}  # fmt: skip
    runs = [subprocess.Popen([sys.executable, "-c", f"CORES = {cores}\n{COHORTS}", str(tmp_path / name)],
                             cwd=REPOSITORY, env=os.environ | variables) for name, (cores, variables) in settings.items()]
    assert [run.wait() for run in runs] == [0, 0, 0]
    for file in CONTENTS:
        assert len({(tmp_path / name / file).read_text(encoding="utf-8") for name in settings}) == 1, file
    for stamp in ("simulated/patients/SIM01.json", "simulated/patients/SIM02.json"):
        made = [json.loads((tmp_path / name / stamp).read_text(encoding="utf-8"))["arithmetic"][0] for name in settings]
        assert made[0] != made[1] != made[2] and made[1]["OMP_NUM_THREADS"] == "1"
        assert made[2]["OPENBLAS_CORETYPE"] == "Nehalem" and made[0]["processor"] == made[2]["processor"] != ""


@pytest.mark.parametrize("draw", [expose, thin])
def test_one_line_integral_moves_the_counts_of_its_view_alone(draw):
    """And what is below the grid moves none."""
    scanner = Scanner(size=32)
    ideal = np.random.default_rng(1).uniform(1.0, 4.0, (2, *scanner.sinogram_shape)).astype(np.float32)
    ideal = np.rint(ideal / GRID).astype(np.float32) * np.float32(GRID)
    other = ideal + np.random.default_rng(2).uniform(-0.4, 0.4, ideal.shape).astype(np.float32) * np.float32(GRID)
    moved = ideal.copy()
    view, bin_ = 7, int(ideal[1, 7].argmin())  # not the thickest: that one decides the tube current
    moved[1, view, bin_] += np.float32(2 * GRID)

    def drawn(lines) -> np.ndarray:
        noisy = draw(scanner, lines, np.random.default_rng(3), 1e5)
        return np.stack(noisy) if draw is expose else (noisy + np.rint(lines / GRID) * np.float32(GRID))[None]

    np.testing.assert_array_equal(drawn(ideal), drawn(other))
    changed = (drawn(ideal) != drawn(moved)).any(axis=0)
    assert changed[1, view, bin_] and changed.sum() == changed[1, view].sum()


def test_slabs_are_at_levels_that_patients_and_subsets_share():
    study = load_study("demo")
    simulation, split = study.cohort.simulation, study.cohort.given_split
    z = {name: positions(number, simulation.slabs, simulation.slices)
         for number, name in enumerate(cohort.patient_names(simulation.patients), start=1)}  # fmt: skip
    assert sorted(z) == sorted(name for names in split.values() for name in names)
    for name, own in z.items():
        assert (np.diff(own.ravel()) < 0).all() and np.ptp(own) > 0.6 * np.ptp(LEVELS_MM)
        others = [other for other in z if other != name and np.array_equal(z[other], own)]
        assert set(others) & set(split["train"]) and set(others) & set(split["test"])
    assert len(np.unique([own.mean(axis=1) for own in z.values()])) == cohort.LEVELS


def test_slabs_are_one_series_with_gaps(tmp_path):
    simulate(tmp_path / "scans", **SMALL)
    manifest = build_store(tmp_path / "scans", tmp_path / "store")
    z = positions(1, 2, 4)
    thin_z = reading.pairs(manifest).query("kernel == 'B30' and thickness_mm == 1")["z_mm"]
    np.testing.assert_allclose(thin_z, np.sort(z.ravel()))
    thick = reading.pairs(manifest).query("kernel == 'B30' and thickness_mm == 3")["z_mm"]
    assert len(thick) == 2 and np.abs(np.sort(z.mean(axis=1)) - thick).max() < SPACING_MM / 2, "one a slab, near its middle"
    files = [pydicom.dcmread(path) for path in sorted((tmp_path / "scans").glob("*/1mm B30/full_1mm/**/*.IMA"))]
    assert {int(each.InstanceNumber): float(each.ImagePositionPatient[2]) for each in files} == {
        n: pytest.approx(place) for n, place in enumerate(z.ravel(), start=1)}
    with np.load(tmp_path / "scans" / "masks" / "SIM01.npz") as masks:
        np.testing.assert_array_equal(masks["z_mm"], z.ravel())
        assert masks["labels"].shape == (8, 32, 32)
    names = ["patient", "kernel", "thickness_mm"]
    pd.testing.assert_series_equal(reading.pairs(manifest).groupby(names).size(),
                                   simulated_pairs(Simulation(**SMALL)).groupby(names).size())


def test_slabs_that_reach_into_each_other_are_refused(tmp_path):
    with pytest.raises(CohortError, match="3 slabs of 42 slices reach into each other; simulate fewer"):
        simulate(tmp_path / "out", patients=2, slabs=3, slices=42, size=32, seed=5)
    assert not (tmp_path / "out").exists()


def test_a_cohort_that_is_finished_elsewhere_says_so(tmp_path, monkeypatch, caplog):
    simulate(tmp_path, **SMALL)
    here = provenance.arithmetic()
    monkeypatch.setattr(cache, "arithmetic", lambda: here | {"instructions": "another set", "cores": 99})
    with caplog.at_level(logging.WARNING):
        simulate(tmp_path, **SMALL)
        assert not caplog.messages, "nothing was done elsewhere yet"
        simulate(tmp_path, **SMALL | {"patients": 2})
    (warning,) = caplog.messages
    assert "different arithmetic" in warning and provenance.worded(here) in warning and "another set, cores 99" in warning
