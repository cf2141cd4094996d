"""Ctrl-C during a stream of replies."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType


@dataclass(slots=True)
class Interrupted:
    """Whether Ctrl-C was pressed."""

    yes: bool = False

    def __bool__(self) -> bool:
        return self.yes


@contextmanager
def on_interrupt(cancel: Callable[[], None]) -> Generator[Interrupted]:
    """Meanwhile the first SIGINT calls `cancel`, in a thread of its own, and raises nothing; the second one does.

    A KeyboardInterrupt comes between any two instructions, also where gRPC's Python takes or gives back a lock, or in a
    callback that swallows it: the call would hang, or go on. In threads other than the main one, and where SIGINT is
    ignored as a shell does it for what runs in the background, nothing changes.
    """
    interrupted = Interrupted()
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield interrupted
        return
    # Its `put` may be called by a handler that has interrupted another `put`.
    pressed: SimpleQueue[bool] = SimpleQueue()

    def wait() -> None:
        if pressed.get():
            interrupted.yes = True
            cancel()

    def press(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        pressed.put(True)

    waiter = threading.Thread(target=wait, name="interrupt", daemon=True)
    waiter.start()
    before = signal.signal(signal.SIGINT, press)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
        pressed.put(False)
        waiter.join()
