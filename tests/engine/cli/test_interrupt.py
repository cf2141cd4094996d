"""Ctrl-C during a stream: it cancels the call instead of raising between any two instructions of it."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from engine.cli._interrupt import on_interrupt


@pytest.fixture(autouse=True)
def attended() -> Iterator[None]:
    """A shell makes what it runs in the background ignore SIGINT; these tests are of a command in the foreground."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_press_cancels_and_raises_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    cancelled = threading.Event()
    lock = threading.Lock()
    with on_interrupt(cancelled.set) as interrupted:
        assert not interrupted
        with lock:  # as gRPC holds one while it waits
            press()
            assert cancelled.wait(30)
        assert interrupted
    assert not lock.locked()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_press_raises() -> None:
    with on_interrupt(lambda: None):
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_without_a_press_nothing_is_cancelled() -> None:
    with on_interrupt(lambda: pytest.fail("cancelled")) as interrupted:
        pass
    assert not interrupted
    with pytest.raises(KeyboardInterrupt):
        press()


def test_in_another_thread_nothing_changes() -> None:
    seen: list[bool] = []

    def work() -> None:
        with on_interrupt(lambda: None) as interrupted:
            seen.append(bool(interrupted))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_in_the_background_presses_are_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with on_interrupt(lambda: pytest.fail("cancelled")) as interrupted:
        press()
    assert not interrupted
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
