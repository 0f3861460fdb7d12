"""A run that make started ends when make does, however that was killed: else its stage would go on unseen, and the next run
would be refused until it ends."""

import os
import signal
import threading
import time

LOOKS = 0.5  # seconds between two looks


def end_with_parent(parent: int) -> None:
    """Interrupt this process, as Ctrl-C does, once its parent, which has that number, is gone, be it before this is called:
    the system gives an orphan another parent, on Linux and macOS alike."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
