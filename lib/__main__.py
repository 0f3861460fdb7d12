"""The command line: ``python -m lib {paper,supplement,sweep,check,train,bench,simulate,insert,preprocess,real-data}``."""

import argparse
import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lib.log
from lib import REPOSITORY, private
from lib.arguments import parser
from lib.artifacts.files import cannot_write
from lib.errors import PaperError, StudyError
from lib.study.config import Study, load_study
from lib.study.grid import read_grid
from lib.study.paths import Paths
from lib.study.runs import Run
from lib.study.sections import Simulation
from lib.workflow import make, sweep
from lib.workflow.parent import end_with_parent
from lib.workflow.stages import stages
from lib.workflow.supplement import supplement

log = logging.getLogger("lib.command")


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise StudyError(f"JOBS={text} is not a number of jobs", remedy="pass 1 or more")
    return int(text)


def _scheduler() -> str | None:
    address = os.environ.get("SCHEDULER") or None
    if address and not re.fullmatch(r"[a-z]+://.+", address):
        raise StudyError(f"SCHEDULER={address} is no address", remedy="for example SCHEDULER=tcp://host:8786")
    return address


def _paper(arguments: argparse.Namespace) -> None:
    study, jobs, scheduler = load_study(), arguments.jobs and _jobs(arguments.jobs), _scheduler()
    waves = (supplement if arguments.command == "supplement" else stages)(study)
    if arguments.list:
        for stage in (stage for wave in waves for stage in wave):
            print(f"{stage.name:<32}{'up to date' if stage.is_current() else 'out of date'}")
        return
    begin, late = time.monotonic(), make.due(waves)
    if late:
        _begin(study, arguments)
    if late and not arguments.unchecked:
        _check_first({stage.name for stage in late}, study.paths.log, scheduler is None, arguments.quiet > 0)
    ran = make.make(study, waves, jobs or study.jobs, scheduler)
    print(f"{study.profile}: {len(ran)} stages ran, {time.monotonic() - begin:.0f} s. Figures and tables: "
          f"{study.paths.figures}")


def _sweep(arguments: argparse.Namespace) -> None:
    study, grid = load_study(), read_grid(arguments.grid)
    waves, begin = sweep.stages_of(study, grid), time.monotonic()
    _begin(study, arguments)
    jobs = arguments.jobs and _jobs(arguments.jobs)
    print(f"{study.profile}: {sweep.run(study, grid, waves, jobs or study.jobs, _scheduler())}, "
          f"{time.monotonic() - begin:.0f} s")


def _begin(study: Study, arguments: argparse.Namespace) -> None:
    if arguments.end_with_parent:
        end_with_parent(arguments.end_with_parent)
    try:
        lib.log.to_file(study.paths.log)
    except OSError as error:
        raise cannot_write(study.paths.log, error) from error


def _check_first(late: set[str], logged: Path, burst: bool, quiet: bool) -> None:
    """`check` in a process of its own, as far as what is due needs it; its report goes to the terminal
    and, without names of files, to the log.

    Raises StudyError if the run could not start.
    """
    trains = any(name.startswith("03_train") for name in late)
    if not late & {"01_preprocess", "02_calibrate_psi"} and not trains:
        return
    options = [*(() if trains and burst else ("--no-burst",)), *(() if "01_preprocess" in late else ("--no-scans",))]
    command = [sys.executable, "-m", "lib", "check", "--log", str(logged), *options, *(["-q"] if quiet else [])]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            process.wait()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise StudyError("nothing was started", remedy="mend what the check says (make check shows it again), or pass "
                         "UNCHECKED=1 to start all the same")


def _check(arguments: argparse.Namespace) -> int:
    from lib.check.whole import check

    if arguments.log:
        lib.log.to_file(arguments.log)
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
    from lib.data.doses import LARGEST_I0
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
    sound = {"dose_fraction": lambda value: 0 < value < 1, "seed": lambda value: value >= 0,
             "i0": lambda value: 0 < value <= LARGEST_I0}  # fmt: skip
    for name, value in given.items():
        if not sound[name](value):
            expected = {"dose_fraction": "a share of the full dose, for example 0.25", "seed": "0 or more",
                        "i0": f"photons per detector bin up to {LARGEST_I0:g}, or leave it out to measure them"}[name]
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
    from lib.data.store.build import build_counted

    problems: list[object] = []
    build_counted(arguments.data, arguments.out, _jobs(arguments.jobs), remark=problems.append)
    for problem in problems:
        log.warning("%s", problem)
    manifest = reading.load_manifest(arguments.out)
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
    parsed = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text
    lib.log.setup(parsed.verbose - parsed.quiet)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the stages, too, as Ctrl-C does
    try:
        with private.names(), _interrupted():
            return COMMANDS[parsed.command](parsed) or 0
    except PaperError as error:
        with private.names():
            return _failed(error)
    except BrokenPipeError:  # `paper | head`: nobody reads on
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - Python flushes it at the end
        return _failed("nobody reads the output any more, so the run was stopped; the same command goes on from here")
    except OSError as error:
        return _failed(cannot_write(Path(error.filename), error) if error.filename else error)
    except MemoryError:
        return _failed("out of memory: close other programs, or try JOBS=1 or a smaller SET=training.batch=...")
    except KeyboardInterrupt:
        return _failed("stopped; the same command goes on from here", "", 130)


@contextmanager
def _interrupted() -> Iterator[None]:
    """Another thread that could not write stops this one: its error is the reason."""
    try:
        yield
    except KeyboardInterrupt:
        if lib.log.refused:
            raise lib.log.refused[0] from None
        raise


def _failed(what: object, begin: str = "error: ", status: int = 1) -> int:
    with suppress(OSError):
        print(f"{begin}{what}", file=sys.stderr)
    return status


COMMANDS = {"paper": _paper, "supplement": _paper, "sweep": _sweep, "check": _check, "train": _train, "bench": _bench,
            "simulate": _simulate, "insert": _insert, "preprocess": _preprocess, "real-data": _real_data}


if __name__ == "__main__":
    sys.exit(main())
