"""Work beside the page: in one thread, and of several requests only the newest matters."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

Shown = Callable[[], None]
PAUSE = 0.12  # seconds without a further request: while a slider moves nothing is begun


def page() -> Callable[[Shown], None]:
    """How a thread hands something to the page: to the kernel's loop if there is one (widgets belong to its thread), else
    by calling it."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        return lambda shown: shown()


class Latest:
    """Does what was asked last. ``pause``: seconds to wait for a further request before anything is begun."""

    def __init__(self, pause: float = PAUSE):
        self.pause, self._deliver = pause, page()
        self._pool, self._asked, self._given = ThreadPoolExecutor(1), 0, list[Future]()

    def ask(self, work: Callable[[], Iterator[Shown]]) -> None:
        """Do ``work``, step by step, in place of whatever was asked before. What a step yields is called on the page,
        unless somebody has asked for something else meanwhile. Errors of a step are raised there, too."""
        self._asked += 1
        self._given = [each for each in self._given if not each.done()]
        future = self._pool.submit(self._work, self._asked, work)
        self._given.append(future)
        future.add_done_callback(self._ended)

    def _work(self, number: int, work: Callable[[], Iterator[Shown]]) -> None:
        if self._newest(number):
            time.sleep(self.pause)
        if self._newest(number):
            for shown in work():
                self._deliver(partial(self._show, number, shown))
                if not self._newest(number):
                    return

    def _newest(self, number: int) -> bool:
        return number == self._asked and threading.main_thread().is_alive()

    def _show(self, number: int, shown: Shown) -> None:
        if number == self._asked:
            shown()

    def _ended(self, future: Future) -> None:
        if future.exception():
            self._deliver(future.result)

    def wait(self) -> None:
        """Until nothing is left to do; raises what a step of the last request raised, however long ago."""
        while self._given:
            self._given.pop(0).result()
