"""The command line: ``python -m lib {paper,check,train,bench,simulate,insert,preprocess}``."""

import argparse
import io
import os
import signal
import sys
import time
from pathlib import Path

from lib.data.workers import cores
from lib.errors import PaperError, StudyError
from lib.study.config import Simulation, Study, load_study
from lib.workflow import pipeline
from lib.workflow.process import run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description="Perceptual Influence, from DICOM to Table 4.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    paper = commands.add_parser("paper", help="bring every figure and table of a profile up to date (make paper)",
                                description="Run what is out of date of 00 to 05. Options come from the environment: "
                                "PROFILE, DATA, ENCODER, VGG19_WEIGHTS, MEDICAL_WEIGHTS, LAMBDA, OUTPUT.")
    paper.add_argument("--jobs", default="1", metavar="N", help="experiments to train at once (default 1)")
    paper.add_argument("--list", action="store_true", help="only say which stages are out of date")
    paper.add_argument("--unchecked", action="store_true", help="start without `check`")
    check = commands.add_parser("check", help="what a run of a profile needs and what is there (make check)",
                                description="Look at scans, encoders, devices, disk, memory and time, in under a minute and "
                                "without training. Status 0 only if the run could start. Options as for `paper`.")
    check.add_argument("--no-burst", action="store_true", help="measure no training steps, estimate no time")
    check.add_argument("--no-scans", action="store_true", help="take the scans from the volumes that 01 has made")
    train = commands.add_parser("train", help="train one experiment, as notebook 03 does",
                                description="For several machines: run it on each, with TF_CONFIG set and "
                                "SET=compute.strategy=multiworker, after 02; then `paper` goes on. Options as for `paper`.")
    train.add_argument("experiment", metavar="EXPERIMENT", help="baseline, E1, E2, E3, E4 or mse")
    bench = commands.add_parser("bench", help="speed and memory beside a plain reference (make bench)",
                                description="Simulate data, measure every part beside a plain reference in one run, and "
                                "write artifacts/bench.json. About ten minutes on two cores; keep the machine idle.")
    bench.add_argument("--quick", action="store_true", help="tiny sizes: tries the code, the ratios mean nothing")
    simulate = commands.add_parser("simulate", help="simulate a paired cohort and write it as DICOM",
                                   description="Write simulated patients below OUT: a DICOM tree in the Mayo form, "
                                   "organ masks, and its noise beside that of real scans. A killed run goes on where "
                                   "it stopped.")
    simulate.add_argument("out", metavar="OUT", nargs="?", type=Path,
                          help="folder to write to (default: where the profile keeps its cohort)")
    for name, what in (("patients", "how many patients"), ("slices", "slices a patient at 0.8 mm spacing"),
                       ("size", "pixels along a side"), ("seed", "seed of the cohort")):
        simulate.add_argument(f"--{name}", type=int, metavar="N", help=f"{what} (default: the profile's)")
    insert = commands.add_parser("insert", help="insert a low dose into normal-dose scans",
                                 description="Read normal-dose CT DICOM below DATA, insert the noise of a lower dose in the "
                                 "projection domain, and write both doses below OUT. Without DATA and OUT: what DATA=folder "
                                 "INSERT=0.25 asks for. A killed run goes on where it stopped.")
    insert.add_argument("data", metavar="DATA", nargs="?", type=Path, help="folder with normal-dose DICOM files")
    insert.add_argument("out", metavar="OUT", nargs="?", type=Path, help="folder to write to")
    insert.add_argument("--dose-fraction", type=float, metavar="F", help="share of the full dose (default 0.25)")
    insert.add_argument("--i0", type=float, metavar="N", help="photons a detector bin (default: from the scan's own noise)")
    insert.add_argument("--seed", type=int, metavar="N", help="seed of the noise (default 5)")
    insert.add_argument("--jobs", default=str(cores()), metavar="N", help="series at once (default: one a core)")
    preprocess = commands.add_parser("preprocess", help="DICOM to HU volumes with a manifest",
                                     description="Read the DICOM files below DATA in any known layout, pair them, and "
                                     "write OUT/manifest.csv, OUT/problems.csv and the volumes in HU as .npy files.")
    preprocess.add_argument("data", metavar="DATA", type=Path, help="folder with DICOM files")
    preprocess.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    preprocess.add_argument("--jobs", default=str(cores()), metavar="N", help="files to read at once (default: one a core)")
    return parser


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise StudyError(f"JOBS={text} is not a number of jobs: pass 1 or more")
    return int(text)


def _paper(arguments: argparse.Namespace) -> None:
    study, jobs = load_study(), _jobs(arguments.jobs)
    if arguments.list:
        for stage in (stage for wave in pipeline.stages(study) for stage in wave):
            print(f"{stage.name:<24}{'up to date' if stage.is_current() else 'out of date'}")
        return
    begin, tell = time.monotonic(), _teller()
    if not arguments.unchecked and (due := pipeline.due(study)):
        _check_first(study, {stage.name for stage in due}, tell)
    ran = pipeline.make(study, jobs, tell)
    print(f"{study.profile}: {len(ran)} stages ran, {time.monotonic() - begin:.0f} s. Figures and tables: "
          f"{study.paths.figures}")


def _check_first(study: Study, due: set[str], tell) -> None:
    """`check` in a process of its own, as far as what is due needs it; its report goes to the log and the terminal.

    Raises StudyError if the run could not start.
    """
    trains = any(name.startswith("03_train") for name in due)
    if not due & {"01_preprocess", "02_calibrate_psi"} and not trains:
        return
    options = [] if trains else ["--no-burst"]
    if "01_preprocess" not in due:
        options.append("--no-scans")
    usage = run([sys.executable, "-m", "lib", "check", *options], study.paths.log, "check", tell, passing=True)
    if usage.status:
        raise StudyError("nothing was started: mend what the check says (make check shows it again), or pass "
                         "UNCHECKED=1 to start all the same")


def _check(arguments: argparse.Namespace) -> int:
    from lib.check.whole import check

    return 0 if check(load_study(), burst=not arguments.no_burst, scans=not arguments.no_scans) else 1


def _train(arguments: argparse.Namespace) -> None:
    from lib.paper.published import EXPERIMENTS

    if arguments.experiment not in EXPERIMENTS:
        raise StudyError(f"{arguments.experiment} is not an experiment: choose one of {', '.join(EXPERIMENTS)}")
    from lib.stages import calibrate, train

    study = load_study()
    if study.compute.strategy == "multiworker":
        train.strategy("multiworker")  # before anything else computes
    history = train.train(study, arguments.experiment, calibrate.lambda_used(study, arguments.experiment))
    print(history.to_string(index=False))


def _bench(arguments: argparse.Namespace) -> None:
    from benchmarks.whole import bench

    bench(quick=arguments.quick)


def _insert(arguments: argparse.Namespace) -> None:
    from lib.simulation.insertion import insert

    given = {name: value for name in ("dose_fraction", "seed", "i0") if (value := getattr(arguments, name)) is not None}
    data, out, options = arguments.data, arguments.out, {}
    if data is None:
        study = load_study()
        if study.cohort.insertion is None:
            raise StudyError("nothing to insert into: pass DATA and OUT, or the variables DATA=folder INSERT=0.25")
        data, out, options = study.cohort.data, study.paths.inserted, study.cohort.insertion.model_dump()
    elif out is None:
        raise StudyError("no folder to write to: pass OUT after DATA")
    elif not data.is_dir():
        raise StudyError(f"{data} does not exist: pass a folder with normal-dose DICOM files")
    for name, value in given.items():
        if value < 0 or (value == 0 and name != "seed") or (name == "dose_fraction" and value >= 1) or value != value:
            expected = {"dose_fraction": "a share of the full dose, for example 0.25", "seed": "0 or more",
                        "i0": "photons per detector bin, for example 1.5e5, or leave it out to measure it"}[name]
            raise StudyError(f"--{name.replace('_', '-')} {value:g}: expected {expected}")
    report = insert(data, out, **(options | given), jobs=_jobs(arguments.jobs))
    print(report.drop(columns="sha256").to_string(index=False, float_format="%.4g"))


def _teller():
    """Prints progress over itself on a terminal, and line by line elsewhere."""
    if not sys.stdout.isatty():
        return lambda text: print(text, flush=True)
    width = os.get_terminal_size().columns
    return lambda text: print(f"\r\x1b[K{text[:width - 1]}", end="" if "%|" in text else "\n", flush=True)


def _simulation(study: Study, arguments: argparse.Namespace) -> Simulation:
    if study.cohort.simulation is None:
        raise StudyError("this profile reads real scans and simulates none: pass PROFILE=demo or PROFILE=smoke")
    chosen = {name: value for name in ("patients", "slices", "size", "seed")
              if (value := getattr(arguments, name)) is not None}
    for name, value in chosen.items():
        if value < (least := {"seed": 0, "slices": 2, "size": 16, "patients": 1}[name]):
            raise StudyError(f"--{name} {value} is too small: pass {least} or more")
    return study.cohort.simulation.model_copy(update=chosen)


def _simulate(arguments: argparse.Namespace) -> None:
    from lib.simulation.cohort import simulate

    study = load_study()
    simulation = _simulation(study, arguments)
    out = arguments.out or study.paths.cohort
    noise = simulate(out, **simulation.model_dump())
    print(noise.to_string(index=False, float_format="%.2f"))
    print(f"{simulation.patients} simulated patients in {out}")


def _preprocess(arguments: argparse.Namespace) -> None:
    from lib.data.store import reading
    from lib.data.store.build import build_store

    manifest = build_store(arguments.data, arguments.out, jobs=_jobs(arguments.jobs))
    problems = reading.load_problems(arguments.out)
    for problem in problems.itertuples(index=False):
        print("warning:", "; ".join(str(part) for part in problem), file=sys.stderr)
    print(f"{len(manifest)} slices, {len(reading.pairs(manifest))} pairs, {len(problems)} problems: "
          f"{arguments.out / 'manifest.csv'}")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one line that says what is wrong."""
    parsed = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text
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
            "preprocess": _preprocess}


if __name__ == "__main__":
    sys.exit(main())
