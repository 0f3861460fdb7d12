"""The command line: ``python -m lib {paper,simulate,preprocess}``."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from lib import pipeline
from lib.errors import PaperError, StudyError
from lib.study import Simulation, Study, load_study


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description="Perceptual Influence, from DICOM to Table 4.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    paper = commands.add_parser("paper", help="bring every figure and table of a profile up to date (make paper)",
                                description="Run what is out of date of 00 to 05. Options come from the environment: "
                                "PROFILE, DATA, ENCODER, VGG19_WEIGHTS, MEDICAL_WEIGHTS, LAMBDA, OUTPUT.")
    paper.add_argument("--jobs", default="1", metavar="N", help="experiments to train at once (default 1)")
    paper.add_argument("--list", action="store_true", help="only say which stages are out of date")
    simulate = commands.add_parser("simulate", help="simulate a paired cohort and write it as DICOM",
                                   description="Write simulated patients below OUT: a DICOM tree in the Mayo form, "
                                   "organ masks, and a noise benchmark. A killed run goes on where it stopped.")
    simulate.add_argument("out", metavar="OUT", nargs="?", type=Path,
                          help="folder to write to (default: where the profile keeps its cohort)")
    for name, what in (("patients", "how many patients"), ("slices", "slices a patient at 0.8 mm spacing"),
                       ("size", "pixels along a side"), ("seed", "seed of the cohort")):
        simulate.add_argument(f"--{name}", type=int, metavar="N", help=f"{what} (default: the profile's)")
    preprocess = commands.add_parser("preprocess", help="DICOM to HU volumes with a manifest",
                                     description="Read the DICOM files below DATA in any known layout, pair them, and "
                                     "write OUT/manifest.csv, OUT/problems.csv and the volumes in HU as .npy files.")
    preprocess.add_argument("data", metavar="DATA", type=Path, help="folder with DICOM files")
    preprocess.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    preprocess.add_argument("--jobs", default="1", metavar="N", help="files to read at once (default 1)")
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
    begin = time.monotonic()
    ran = pipeline.make(study, jobs, _teller())
    print(f"{study.profile}: {len(ran)} stages ran, {time.monotonic() - begin:.0f} s. Figures and tables: "
          f"{study.paths.figures}")


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
        if value < (0 if name == "seed" else 2 if name == "slices" else 1):
            raise StudyError(f"--{name} {value} is too small")
    return study.cohort.simulation.model_copy(update=chosen)


def _simulate(arguments: argparse.Namespace) -> None:
    from lib.cohort.simulate import simulate

    study = load_study()
    simulation = _simulation(study, arguments)
    out = arguments.out or study.paths.cohort
    noise = simulate(out, simulation)
    print(noise.to_string(index=False, float_format="%.2f"))
    print(f"{simulation.patients} simulated patients in {out}")


def _preprocess(arguments: argparse.Namespace) -> None:
    from lib import volumes
    from lib.preprocess import preprocess

    manifest = preprocess(arguments.data, arguments.out, jobs=_jobs(arguments.jobs))
    problems = volumes.load_problems(arguments.out)
    for problem in problems.itertuples(index=False):
        print("warning:", "; ".join(str(part) for part in problem), file=sys.stderr)
    print(f"{len(manifest)} slices, {len(volumes.pairs(manifest))} pairs, {len(problems)} problems: "
          f"{arguments.out / 'manifest.csv'}")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one line that says what is wrong."""
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the stages, too, as Ctrl-C does
    try:
        {"paper": _paper, "simulate": _simulate, "preprocess": _preprocess}[parsed.command](parsed)
    except PaperError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
