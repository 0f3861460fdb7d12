"""Processes that read files: started once, at the first piece of work that is worth their start."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from lib.errors import StageError

POOL_FROM = 1000  # files from which further processes pay for their start (0.7 s)
CHUNK = 32
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """At most `jobs` fresh processes (a context manager); work on fewer than `POOL_FROM` files stays in this process."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self._processes: ProcessPoolExecutor | None = None
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind, error, trace) -> None:
        for pool in (self._processes, self._thread):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
        if kind is not None and issubclass(kind, BrokenProcessPool):
            what = "a process that reads files was ended from outside (out of memory?)"
            raise StageError(what, remedy="run it again with fewer jobs, what is finished is kept") from error

    def executor(self, files: int) -> Executor:
        """Who works on so many files: the processes, or one thread of this process."""
        return self._pool(files) or self._thread

    def map(self, function: Callable, items: Sequence, *, files: int | None = None, chunk: int = CHUNK) -> Iterator:
        """The results of `function` in the order of `items`, which stand for so many files, by default one each."""
        pool = self._pool(len(items) if files is None else files)
        return pool.map(function, items, chunksize=chunk) if pool else map(function, items)

    def _pool(self, files: int) -> ProcessPoolExecutor | None:
        if self._processes is None and self.jobs > 1 and files >= POOL_FROM:
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_begin)
        return self._processes


def _begin() -> None:
    """A worker leaves Ctrl-C to the parent and ends with it, even if that was killed. It keeps the memory of a slice for
    the next one: to return and fetch it each time takes a tenth of the time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            libc.mallopt(parameter, 2**25)
    end_with_parent()


def end_with_parent() -> None:
    """End this process, one that :mod:`multiprocessing` started, as soon as its parent is gone, even if that was killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
