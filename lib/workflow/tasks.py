"""One stage, done where this process runs: on a worker, which may be on another machine."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil
from tqdm import tqdm

from lib.errors import PaperError, StageError
from lib.workflow.apart import call_apart, call_here
from lib.workflow.lines import in_a_line
from lib.workflow.stages import Stage

log = logging.getLogger(__name__)

PRINTS = "PAPER_WORKER_PRINTS"  # the variable that names the file for what a worker's libraries and kernels print
LOOKS = 1.0  # seconds between two looks at memory and at whether the task is still wanted
_under_way: list[Path] = []  # files that count the attempts of what this worker is at


def dask_setup(worker: object) -> None:
    """Of a worker on this machine: leave Ctrl-C to the process that started it, and the terminal, too; share GPUs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else the first takes a GPU's whole memory
    tqdm.set_lock(threading.RLock())  # its own would outlive a worker that is killed
    with open(os.environ[PRINTS], "ab") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)


def dask_teardown(worker: object) -> None:
    """Dask closes the worker, as it does one that was slow to come back: what it was at has not failed."""
    for path in _under_way:
        with contextlib.suppress(OSError):
            os.truncate(path, max(path.stat().st_size - 1, 0))


@contextlib.contextmanager
def attempt(path: Path, most: int) -> Iterator[bool]:
    """Count an attempt, a byte in a file, before it is made; yields whether fewer than ``most`` were made before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        left = stream.tell() < most
        stream.write(b"." * left)
    if left:
        _under_way.append(path)
    try:
        yield left
    finally:
        if left:
            _under_way.remove(path)


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
                from lib.workflow.notebook import execute  # papermill's import takes longer than all the rest of a worker's

                execute(stage)
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


def _call(stage: Stage) -> None:
    # Dask's workers are daemons, which may have no children: ours end with their parent (lib.data.workers)
    multiprocessing.current_process()._config["daemon"] = False
    (call_apart if stage.apart else call_here)(stage.name, stage.function, stage.parameters)


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
