"""Commands on a finished run: verify, reference, report."""

import argparse
import time

from lib.commands.options import print_json
from lib.study.config import load_study


def verify(arguments: argparse.Namespace) -> int:
    """Compare with the reference."""
    from lib.verify import whole

    found = whole.verify(load_study())
    if arguments.json:
        print_json(found.as_dict())
    else:
        print(*found.lines(), sep="\n")
    return 0 if found.reproduced else 1


def reference(arguments: argparse.Namespace) -> None:
    """Add runs to the reference."""
    from lib.verify import reference as references

    print(references.extend(load_study(), arguments.runs))


def report(_: argparse.Namespace) -> None:
    """Write the site and the PDF."""
    from lib.site import whole

    started = time.monotonic()
    print(f"{whole.report(load_study())}, {time.monotonic() - started:.0f} s")
