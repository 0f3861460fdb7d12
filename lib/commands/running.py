"""Commands that run studies: paper, supplement, sweep, check, train, bench."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import lib.log
from lib import REPOSITORY
from lib.commands.options import begin, jobs_of, print_json, run_of, scheduler
from lib.errors import StudyError
from lib.report.words import counted
from lib.study.config import load_study
from lib.study.grid import read_grid
from lib.workflow import make
from lib.workflow import sweep as grids
from lib.workflow.stages import stages
from lib.workflow.supplement import supplement


def paper(arguments: argparse.Namespace) -> None:
    """Bring the study up to date, or list what is out of date."""
    study, jobs, address = load_study(), arguments.jobs and jobs_of(arguments.jobs), scheduler()
    waves = (supplement if arguments.command == "supplement" else stages)(study)
    if arguments.list:
        known = {stage.name: "up to date" if stage.is_current() else "out of date" for wave in waves for stage in wave}
        if arguments.json:
            print_json({"profile": study.profile, "stages": known})
        else:
            print(*(f"{name:<32}{state}" for name, state in known.items()), sep="\n")
        return
    if arguments.json:
        raise StudyError("--json is for --list", remedy="pass both, or neither")
    started, late = time.monotonic(), make.due(waves)
    if late:
        begin(study, arguments)
    if late and not arguments.unchecked:
        _check_first({stage.name for stage in late}, study.paths.log, address is None, arguments.quiet > 0)
    ran = make.make(study, waves, jobs or study.jobs, address)
    print(f"{study.profile}: {counted(len(ran), 'stage')} ran, {time.monotonic() - started:.0f} s. Figures and tables: "
          f"{study.paths.figures}")


def sweep(arguments: argparse.Namespace) -> None:
    """Train a grid."""
    study, grid = load_study(), read_grid(arguments.grid)
    waves, started = grids.stages_of(study, grid), time.monotonic()
    begin(study, arguments)
    jobs = arguments.jobs and jobs_of(arguments.jobs)
    print(f"{study.profile}: {grids.run(study, grid, waves, jobs or study.jobs, scheduler())}, "
          f"{time.monotonic() - started:.0f} s")


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


def check(arguments: argparse.Namespace) -> int:
    """Whether a run could start."""
    from lib.check.report import Report
    from lib.check.whole import check as look

    if arguments.log:
        lib.log.to_file(arguments.log)
    study, report = load_study(), Report()
    starts = look(study, burst=not arguments.no_burst, scans=not arguments.no_scans, report=report)
    if arguments.json:
        print_json({"profile": study.profile, "could_start": starts, "errors": [str(each) for each in report.errors],
                    "warnings": [str(each) for each in report.warnings]})
    return 0 if starts else 1


def train(arguments: argparse.Namespace) -> None:
    """Train one run."""
    study = load_study()
    run = run_of(study, arguments.experiment, arguments.seed)
    from lib.stages import calibrate
    from lib.stages import train as training

    if study.compute.strategy == "multiworker":
        training.strategy("multiworker")  # before anything else computes
    history = training.train(study, run, calibrate.lambda_used(study, run.experiment))
    print(history.to_string(index=False))


def bench(arguments: argparse.Namespace) -> None:
    """Measure speed and memory."""
    from benchmarks import results, whole

    print(*results.table(whole.bench(tiny=arguments.tiny)), whole.results_file(), sep="\n")
