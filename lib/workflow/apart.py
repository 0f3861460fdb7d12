"""A function in a process of its own, which takes its memory with it: TensorFlow keeps what a training compiled, half a GiB
each, for as long as its process lives.

On Linux these processes are copies of one that has imported what the first function needs and has done nothing else, so that
a training does not wait for TensorFlow's import; elsewhere libraries do not bear being copied, and each process begins anew.
"""

import contextlib
import logging
import multiprocessing
import os
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final

from lib.data.workers import end_with_parent
from lib.errors import PaperError
from lib.log import ROOT
from lib.workflow.lines import KILLED, Lines, ProcessError, in_a_line

LONGEST: Final = 70  # bytes of the temporary folder's path: a socket's has 107, and multiprocessing adds 32


class _Relay(logging.Handler):
    """A message of the other process, as if it were said here."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def call_apart(name: str, function: str, parameters: Mapping[str, Any]) -> None:
    """Call 'module:function' with its parameters in a new process; what it logs and prints, and its error, come back.

    Raises
    ------
    ProcessError : the process was killed, or the function failed in a way that is none of ours
    PaperError : what the function says that a user must mend
    """
    context = multiprocessing.get_context("forkserver" if _can_copy() else "spawn")
    context.set_forkserver_preload([function.partition(":")[0], "lib.workflow.imported"])
    messages: multiprocessing.Queue = context.Queue()
    listener = QueueListener(messages, _Relay())
    listener.start()
    try:
        with ProcessPoolExecutor(1, mp_context=context, initializer=_begin,
                                 initargs=(messages, dict(os.environ))) as pool:
            pool.submit(_call, name, function, dict(parameters)).result()
    except BrokenProcessPool:
        raise ProcessError(KILLED) from None
    finally:
        listener.stop()


def _can_copy() -> bool:
    """The process that is copied listens at a socket in the temporary folder, whose path has few bytes to hold."""
    return sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) <= LONGEST


def _call(name: str, function: str, parameters: Mapping[str, Any]) -> None:
    """An error comes back as what it is if it is ours, others in a line: not every library's can be sent."""
    try:
        call_here(name, function, parameters)
    except PaperError:
        raise
    except Exception as error:
        logging.getLogger(__name__).debug("%s", name, exc_info=True)
        raise ProcessError(in_a_line(error)) from None


def call_here(name: str, function: str, parameters: Mapping[str, Any]) -> None:
    """The same in this process; ``name``: what its lines begin with."""
    called = pkgutil.resolve_name(function)
    with Lines(name) as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        called(**parameters)


def _begin(messages: multiprocessing.Queue, environment: Mapping[str, str]) -> None:
    """``environment``: of the process that asked; the one that is copied has that of its own first day."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    logger = logging.getLogger(ROOT)
    logger.handlers = [QueueHandler(messages)]
    logger.setLevel(logging.DEBUG)
