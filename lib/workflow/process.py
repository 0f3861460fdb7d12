"""Run one command, keep what it prints in a log, pass its progress on, and measure it."""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib import REPOSITORY

PROGRESS = re.compile(r"([\w ]+: +\d+%\|.*?\|.*)")  # a line of tqdm
RUNNING: set[subprocess.Popen] = set()
QUIET = 15.0  # seconds between lines of progress where there is no terminal


@dataclass(frozen=True)
class Usage:
    """How a command ended: exit status, seconds, largest resident set of its processes in MiB, last line printed."""

    status: int
    seconds: float
    peak_memory_mib: float
    last_line: str


def run(command: list[str], log: Path, name: str, tell: Callable[[str], None], passing: bool = False) -> Usage:
    """Run ``command`` from the repository; its output is appended to ``log``, progress bars go to ``tell``.

    With ``passing`` every line goes to ``tell``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begin, told, last = time.monotonic(), 0.0, ""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    RUNNING.add(process)
    try:
        # newline="": a carriage return ends a line, too, as progress bars print them
        output = io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace", newline="")
        with open(log, "a", encoding="utf-8") as stream:
            for line in filter(None, map(str.rstrip, output)):
                stream.write(f"{name}  {line}\n")
                stream.flush()
                last = line
                if passing and not PROGRESS.search(line):
                    tell(line)
                if (found := PROGRESS.search(line)) and time.monotonic() - told > (1.0 if _terminal() else QUIET):
                    told = time.monotonic()
                    tell(f"{name}  {found[1]}")
    except BaseException:
        process.terminate()
        raise
    finally:
        RUNNING.discard(process)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return Usage(process.returncode, time.monotonic() - begin, usage.ru_maxrss / unit, last)


def stop() -> None:
    """End every command that runs."""
    for process in list(RUNNING):
        process.terminate()


def _terminal() -> bool:
    return sys.stdout.isatty()
