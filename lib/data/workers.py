"""Processes that read files: started once, at the first piece of work that is worth their start."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from lib.errors import StageError

POOL_FROM = 1000
"""Files from which further processes pay for their start (0.7 s)."""

CHUNK = 32
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """At most `jobs` fresh processes (a context manager); work on fewer than `POOL_FROM` files stays in this process."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if kind is not None and issubclass(kind, BrokenProcessPool):
            raise StageError(
                "a process that reads files was ended from outside (out of memory?); run it again with fewer jobs, "
                "what is finished is kept"
            ) from error

    def executor(self, files: int) -> Executor:
        """Who works on so many files: the processes, or this process at once when something is submitted."""
        if self._pool is None and (self.jobs <= 1 or files < POOL_FROM):
            return _Here()
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_begin)
        return self._pool

    def map(self, function: Callable, items: Sequence) -> Iterator:
        """The results of `function` in the order of `items`."""
        return self.executor(len(items)).map(function, items, chunksize=CHUNK)


class _Here(Executor):
    def submit(self, function, /, *arguments) -> Future:
        future: Future = Future()
        future.set_result(function(*arguments))
        return future

    def map(self, function, *items, chunksize=1):
        return map(function, *items)


def _begin() -> None:
    """A worker leaves Ctrl-C to the parent and ends with it, even if that was killed. It keeps the memory of a slice for
    the next one: to return and fetch it each time takes a tenth of the time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            libc.mallopt(parameter, 2**25)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
