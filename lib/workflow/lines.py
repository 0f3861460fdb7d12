"""What stages say, a line at a time: their prints go to the log, and an error is one line."""

import io
import logging
import re

from lib.log import LINES

lines = logging.getLogger(LINES)

KILLED = ("its process was killed from outside, most likely for want of memory: close other programs, or try JOBS=1 or a "
          "smaller SET=training.batch=...; the same command goes on from the last checkpoint")


class ProcessError(Exception):
    """A process of a stage, a notebook's kernel for one, failed in a way that another attempt may not: one line."""


def in_a_line(error: BaseException) -> str:
    """What an error says, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else error  # without the name of a file
    text = str(error) if isinstance(error, ProcessError) else f"{type(error).__name__}: {said}"
    return " ".join(text.split())


class Lines(io.TextIOBase):
    """A text stream into the log, line by line; a carriage return ends a line, too, as progress bars print them."""

    def __init__(self, name: str):
        self.name, self.rest = name, ""

    def write(self, text: str) -> int:
        *whole, self.rest = re.split(r"[\r\n]", self.rest + text)
        for line in filter(str.strip, whole):
            lines.debug("%s  %s", self.name, line.rstrip())
        return len(text)

    def close(self) -> None:
        if not self.closed:
            self.write("\n")
        super().close()
