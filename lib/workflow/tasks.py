"""One stage, done where this process runs: on a worker, which may be on another machine.

A notebook runs in a kernel of its own through papermill, which keeps it as it ran. The kernel ends by itself within a
second once its worker is gone (ipykernel looks for its parent), so that nothing trains on unseen.
"""

import contextlib
import io
import logging
import multiprocessing
import os
import pkgutil
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import nbformat
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from tqdm import tqdm

import lib.errors
from lib.artifacts.files import write_text
from lib.errors import PaperError, StageError
from lib.log import LINES
from lib.workflow.stages import Stage

log = logging.getLogger(__name__)
lines = logging.getLogger(LINES)

KILLED = ("its process was killed from outside, most likely for want of memory: close other programs, or try JOBS=1 or a "
          "smaller SET=training.batch=...; the same command goes on from the last checkpoint")
PRINTS = "PAPER_WORKER_PRINTS"  # the variable that names the file for what a worker's libraries and kernels print
LOOKS = 1.0  # seconds between two looks at memory and at whether the task is still wanted


def dask_setup(worker: object) -> None:
    """Of a worker on this machine: leave Ctrl-C to the process that started it, and the terminal, too; share GPUs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else the first takes a GPU's whole memory
    tqdm.set_lock(threading.RLock())  # its own would outlive a worker that is killed
    with open(os.environ[PRINTS], "ab") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)


def perform(stage: Stage, place: str, environment: Mapping[str, str | None],
            wanted: Callable[[], bool] = lambda: True) -> PaperError | None:
    """Do one stage; what a user must mend is returned, so that nobody tries again, and anything else is raised.

    Parameters
    ----------
    stage : Stage
        What to do.
    place : str
        Of the stage in the whole run, '3/11'.
    environment : mapping
        Variables of the process that asked; None: unset.
    wanted : callable
        Whether the result still is; otherwise the stage's processes are ended.
    """
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    log.info("[%s] %s", place, stage.name)
    begin = time.monotonic()
    try:
        with _watched(wanted, stage.notebook is not None) as peak_mib, stage.making(peak_memory_mib=peak_mib):
            if stage.notebook is not None:
                _execute(stage)
            else:
                _call(stage)
    except PaperError as error:
        return error if error.where == stage.name else StageError(f"{type(error).__name__}: {error}", where=stage.name)
    except Exception as error:
        log.warning("%s failed: %s", stage.name, in_a_line(error))
        log.debug("%s", stage.name, exc_info=True)
        raise
    log.info("[%s] %s done in %.0f s, %.1f GiB at most", place, stage.name, time.monotonic() - begin, peak_mib() / 1024)
    return None


def _execute(stage: Stage) -> None:
    stage.executed.parent.mkdir(parents=True, exist_ok=True)
    stream = Lines(stage.name)
    try:
        papermill.execute_notebook(
            stage.notebook, stage.executed, stage.parameters, kernel_name="python3", progress_bar=False,
            stdout_file=stream, stderr_file=stream, cwd=stage.notebook.parent)
    except papermill.PapermillExecutionError as error:
        line = " ".join(f"{error.ename}: {error.evalue}".split())
        if issubclass(getattr(lib.errors, error.ename, Exception), PaperError):
            raise StageError(line, where=stage.name) from None
        log.debug("%s: %s", stage.name, error)
        raise NotebookError(line) from None
    except DeadKernelError:
        raise NotebookError(KILLED) from None
    finally:
        stream.close()
        if stage.executed.is_file():
            tidy(stage.executed)


def _call(stage: Stage) -> None:
    # Dask's workers are daemons, which may have no children: ours end with their parent (lib.data.workers)
    multiprocessing.current_process()._config["daemon"] = False
    function = pkgutil.resolve_name(stage.function)
    with Lines(stage.name) as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        function(**stage.parameters)


class NotebookError(Exception):
    """A notebook failed in a way that another attempt may not: one line."""


def in_a_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error) if isinstance(error, NotebookError) else f"{type(error).__name__}: {error}"
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


@contextlib.contextmanager
def _watched(wanted: Callable[[], bool], notebook: bool) -> Iterator[Callable[[], int]]:
    """Ends this process' children if the work is not wanted any more; yields the largest resident set so far, MiB, of the
    children if the work is a notebook, else of this process, too."""
    worker, done, peak = psutil.Process(), threading.Event(), 0

    def look() -> None:
        nonlocal peak
        while not done.wait(LOOKS):
            children = worker.children(recursive=True)
            for process in children if notebook else [worker, *children]:
                with contextlib.suppress(psutil.Error):
                    peak = max(peak, process.memory_info().rss)
            if not wanted():
                end(children)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield lambda: round(peak / 1024**2)
    finally:
        done.set()
        watcher.join()


def end(processes: Iterable[psutil.Process]) -> None:
    """End processes at once."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def tidy(executed: Path) -> None:
    """Leave the last state of each progress bar in a notebook, as a terminal shows it."""
    book = nbformat.read(executed, as_version=4)
    for cell in book.cells:
        for each in cell.get("outputs", []):
            if each.output_type == "stream":
                each.text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in each.text.split("\n"))
    write_text(executed, nbformat.writes(book))
