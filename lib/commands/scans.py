"""Commands that make or read scans: simulate, insert, preprocess, real-data."""

import argparse
import logging

from lib import REPOSITORY
from lib.commands.options import jobs_of, print_json
from lib.errors import StudyError
from lib.study.config import load_study
from lib.study.paths import Paths
from lib.study.sections import Simulation

log = logging.getLogger(__name__)


def insert(arguments: argparse.Namespace) -> None:
    """Insert a low dose."""
    from lib.data.doses import LARGEST_I0
    from lib.simulation.insertion import insert as insert_into

    given = {name: value for name in ("dose_fraction", "seed", "i0") if (value := getattr(arguments, name)) is not None}
    data, out, options = arguments.data, arguments.out, {}
    if data is None:
        study = load_study()
        if study.cohort.insertion is None:
            raise StudyError("nothing to insert into", remedy="pass DATA and OUT, or the variables DATA=folder INSERT=0.25")
        data, out, options = study.cohort.data, study.paths.inserted, study.cohort.insertion.model_dump()
    elif out is None:
        raise StudyError("no folder to write to", remedy="pass OUT after DATA")
    elif not data.is_dir():
        raise StudyError(f"{data} does not exist", remedy="pass a folder with normal-dose DICOM files")
    sound = {"dose_fraction": lambda value: 0 < value < 1, "seed": lambda value: value >= 0,
             "i0": lambda value: 0 < value <= LARGEST_I0}
    for name, value in given.items():
        if not sound[name](value):
            expected = {"dose_fraction": "a share of the full dose, for example 0.25", "seed": "0 or more",
                        "i0": f"photons per detector bin up to {LARGEST_I0:g}, or leave it out to measure them"}[name]
            raise StudyError(f"--{name.replace('_', '-')} {value:g}: expected {expected}")
    report = insert_into(data, out, **(options | given), jobs=jobs_of(arguments.jobs))
    print(report.drop(columns="sha256").to_string(index=False, float_format="%.4g"))


def _simulation(default: Simulation | None, arguments: argparse.Namespace) -> Simulation:
    if default is None:
        raise StudyError("this profile reads real scans and simulates none", remedy="pass PROFILE=demo or PROFILE=smoke")
    chosen = {name: value for name in ("patients", "slabs", "slices", "size", "seed")
              if (value := getattr(arguments, name)) is not None}
    for name, value in chosen.items():
        if value < (least := {"seed": 0, "slices": 2, "size": 16, "slabs": 1, "patients": 1}[name]):
            raise StudyError(f"--{name} {value} is too small", remedy=f"pass {least} or more")
    return default.model_copy(update=chosen)


def simulate(arguments: argparse.Namespace) -> None:
    """Simulate a cohort."""
    from lib.simulation import cohort
    from lib.simulation.croissant import describe

    study = load_study()
    simulation = _simulation(study.cohort.simulation, arguments)
    noise = cohort.simulate(out := arguments.out or study.paths.cohort, **simulation.model_dump())
    describe(out, REPOSITORY / "CITATION.cff")
    print(noise.to_string(index=False, float_format="%.2f"))
    print(f"{simulation.patients} simulated patients in {out}")


def preprocess(arguments: argparse.Namespace) -> None:
    """DICOM to volumes."""
    from lib.data.store import reading
    from lib.data.store.build import build_counted

    problems: list[object] = []
    build_counted(arguments.data, arguments.out, jobs_of(arguments.jobs), remark=problems.append)
    for problem in problems:
        log.warning("%s", problem)
    manifest = reading.load_manifest(arguments.out)
    counts = {"slices": len(manifest), "pairs": len(reading.pairs(manifest))}
    if arguments.json:
        print_json(counts | {"problems": [str(each) for each in problems], "manifest": str(arguments.out / "manifest.csv")})
    else:
        print(f"{counts['slices']} slices, {counts['pairs']} pairs, {len(problems)} problems: "
              f"{arguments.out / 'manifest.csv'}")


def real_data(_: argparse.Namespace) -> None:
    """Unpack the public scans."""
    from lib.data.public_scans import SCANS
    from lib.stages.real_anatomy import prepare

    report = prepare(folder := Paths.of("real").real_data)
    print(*(f"{scan.code} ({scan.patient}): {scan.what}; {scan.terms}" for scan in SCANS),
          report.drop(columns="sha256").to_string(index=False, float_format="%.4g"), folder, sep="\n")
