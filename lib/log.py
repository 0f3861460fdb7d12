"""How the code speaks: ``logging``, to the console in plain words and to one file per run in full.

A module writes ``log = logging.getLogger(__name__)`` and calls ``log.info`` (progress that a user follows),
``log.warning`` (what the run goes on without) or ``log.debug`` (the file only). Progress bars are tqdm's. Only the
command line calls :func:`setup`; in notebooks Python's own default shows warnings.
"""

import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from lib import private

ROOT = "lib"
LINES = "lib.workflow.lines"
"""The logger of what stages print in processes of their own, line by line, at level DEBUG."""

BAR = re.compile(r".*?\d+%\|.*?\|[^[]*\[[^]]*\]")  # a line of tqdm, without what another wrote behind it

refused: list[OSError] = []
"""Why a message of another thread could not be written, which stopped the main one."""


def setup(verbosity: int = 0) -> None:
    """Show this package's messages on the console.

    Parameters
    ----------
    verbosity : int
        0: information on standard output, warnings on standard error; 1 or more (``-v``): debugging too;
        -1 or less (``-q``): warnings only.
    """
    refused.clear()
    logger = logging.getLogger(ROOT)
    for handler in [each for each in logger.handlers if isinstance(each, Console)]:
        logger.removeHandler(handler)
    console = Console()
    console.setLevel(logging.DEBUG if verbosity > 0 else logging.WARNING if verbosity < 0 else logging.INFO)
    logger.addHandler(console)
    logger.setLevel(logging.DEBUG)
    lines = logging.getLogger(LINES)
    lines.handlers = [Bars()] if verbosity == 0 and sys.stdout.isatty() else []


def to_file(path: Path) -> logging.Handler:
    """Append everything to a file, without names of a user's files; returns the handler, for
    ``logging.getLogger(ROOT).removeHandler``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(Unnamed("%(asctime)s %(levelname)s %(name)s  %(message)s"))
    handler.setLevel(logging.DEBUG)
    logging.getLogger(ROOT).addHandler(handler)
    return handler


def _stop(error: OSError) -> None:
    """Raises it in the main thread. Another, as that in which workers are heard, interrupts the main one by SIGTERM, once,
    which then finds it in :data:`refused`."""
    if threading.current_thread() is threading.main_thread():
        raise error
    if not refused:
        refused.append(error)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _heard() -> Iterator[None]:
    """A terminal that takes no more stops the run."""
    try:
        yield
    except OSError as error:
        _stop(error)


class LogFile(logging.FileHandler):
    """A disk that refuses stops the run, in one line: results could not be written either."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            error.filename = error.filename or self.baseFilename
            _stop(error)
        else:
            super().handleError(record)


class Unnamed(logging.Formatter):
    """Tells files of scans by their checksums."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another formatter's, perhaps with names
        with private.names(shown=False):
            return super().format(record)

    def formatException(self, ei) -> str:  # noqa: N802 - logging's name
        text, error = super().formatException(ei), ei[1]
        while error is not None:
            for name in {getattr(error, "filename", None), getattr(error, "filename2", None)} - {None}:
                text = text.replace(repr(name), "a file").replace(str(name), "a file")
            error = error.__cause__ or error.__context__
        return text


class Console(logging.Handler):
    """Plain lines, above any progress bar; warnings and errors begin with that word and go to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        with _heard():
            if record.levelno >= logging.WARNING:
                tqdm.write(f"{record.levelname.lower()}: {text}", file=sys.stderr)
            else:
                tqdm.write(text, file=sys.stdout)


class Bars(logging.Handler):
    """Progress bars of other processes on a terminal, from their lines, each over the one before."""

    def __init__(self):
        super().__init__()
        self.shown = float("-inf")
        self.bar = tqdm(total=0, bar_format="{desc}", leave=False, file=sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        found = BAR.match(record.getMessage())
        if not found or time.monotonic() - self.shown < 1.0:
            return
        self.shown = time.monotonic()
        with _heard():
            self.bar.set_description_str(found[0][: shutil.get_terminal_size().columns - 1])

    def close(self) -> None:
        self.bar.close()
        super().close()
