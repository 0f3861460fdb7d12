"""Run one command, keep what it prints in a log, pass its progress on, and measure it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.paths import REPOSITORY

PROGRESS = re.compile(r"([\w ]+: +\d+%\|.*?\|.*)")  # a line of tqdm
QUIET = 15.0  # seconds between lines of progress where there is no terminal


@dataclass(frozen=True)
class Usage:
    """How a command ended: exit status, seconds, largest resident set of its processes in MiB, last line printed."""

    status: int
    seconds: float
    peak_memory_mib: float
    last_line: str


def run(command: list[str], log: Path, name: str, tell: Callable[[str], None]) -> Usage:
    """Run ``command`` from the repository; its output is appended to ``log``, progress bars go to ``tell``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begin, told, last = time.monotonic(), 0.0, ""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", newline="")
    try:
        with open(log, "a", encoding="utf-8") as stream:
            for line in _lines(process.stdout):
                stream.write(f"{name}  {line}\n")
                stream.flush()
                last = line or last
                if (found := PROGRESS.search(line)) and time.monotonic() - told > (1.0 if _terminal() else QUIET):
                    told = time.monotonic()
                    tell(f"{name}  {found[1]}")
    except BaseException:
        process.terminate()
        raise
    finally:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return Usage(process.returncode, time.monotonic() - begin, usage.ru_maxrss / unit, last)


def _lines(stream):
    """Lines that end in a newline or a carriage return, as progress bars write them."""
    rest = ""
    while text := stream.readline():
        *whole, rest = re.split(r"[\r\n]", rest + text)
        yield from (line.rstrip() for line in whole if line.strip())
    if rest.strip():
        yield rest.rstrip()


def _terminal() -> bool:
    return sys.stdout.isatty()
