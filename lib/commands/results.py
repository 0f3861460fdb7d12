"""Commands on a finished run: verify, reference, report."""

import argparse
import time

from lib.commands.options import print_json
from lib.report.words import counted
from lib.study.config import load_study
from lib.workflow.stages import stages


def verify(arguments: argparse.Namespace) -> int:
    """Compare with the reference."""
    from lib.verify.whole import verify as compared

    study = load_study()
    found = compared(study.paths, stages(study))
    if arguments.json:
        print_json(found.as_dict())
    else:
        print(*found.lines(), sep="\n")
    return 0 if found.reproduced else 1


def reference(arguments: argparse.Namespace) -> None:
    """Add runs to the reference, or make it anew of them."""
    from lib.verify.reference import build

    profile = load_study().profile
    known = build(profile, arguments.runs, anew=arguments.anew)
    print(f"{profile}: {counted(len(known.runs), 'run')}, {counted(len(known.numbers()), 'number')}")


def report(_: argparse.Namespace) -> None:
    """Write the site and the PDF."""
    from lib.site import whole

    started = time.monotonic()
    index = whole.report(load_study())
    print(index, index.with_name("paper.pdf"), f"{time.monotonic() - started:.0f} s", sep="\n")
