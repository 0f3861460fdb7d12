"""The command line: ``python -m lib COMMAND``; ``--help`` lists the commands."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if __name__ == "__main__" and not sys.stderr.isatty():
    os.environ.setdefault("TQDM_DISABLE", "1")  # here and in every process that is started: bars are for terminals

import lib.log
from lib import private
from lib.arguments import parser
from lib.artifacts.files import cannot_write
from lib.commands import models, results, running, scans
from lib.commands.options import Command
from lib.errors import PaperError

COMMANDS: dict[str, Command] = {
    "paper": running.paper, "supplement": running.paper, "sweep": running.sweep, "check": running.check,
    "train": running.train, "bench": running.bench,
    "verify": results.verify, "reference": results.reference, "report": results.report,
    "denoise": models.denoise, "export": models.export, "release": models.release,
    "simulate": scans.simulate, "insert": scans.insert, "preprocess": scans.preprocess, "real-data": scans.real_data}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one line that says what is wrong (:data:`lib.arguments.STATUSES`)."""
    parsed = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text
    lib.log.setup(min(parsed.verbose - parsed.quiet, -1 if parsed.json else parsed.verbose))
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


if __name__ == "__main__":
    sys.exit(main())
