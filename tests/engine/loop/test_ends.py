"""A solve that is ended is told of at the step boundary, not after the step that others take then."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from engine.core.distribution import Distribution
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import BranchStarted, CoreEvent, EndReason, Filters, Mode, SolveEnded, Step
from engine.loop.engine import Engine
from engine.loop.messages import LENGTH, Completion, End, StepReport, Submit, ToEngine, frame, from_engine
from engine.text.model_text import ModelText
from tests.support.scripted_engine import Script, byte_tokenizer

SECONDS = 20.0
"""After so long something hangs."""


class HeldScript(Script):
    """Computes a step only when it is let."""

    def __init__(self) -> None:
        super().__init__({"long": {"z" * 400: 1.0}})
        self.turns = threading.Semaphore(0)
        self.begun: list[Step] = []

    def run(self, step: Step) -> list[list[Distribution]]:
        self.begun.append(step)
        assert self.turns.acquire(timeout=SECONDS)
        return super().run(step)


class Front:
    """The other end of an engine in a thread."""

    def __init__(self) -> None:
        self.script = HeldScript()
        scheduler = Scheduler(pages=self.script.pages, page_size=self.script.page_size, limits=Limits(rows=8))
        text = ModelText(byte_tokenizer(), None, None)
        self.engine = Engine(scheduler=scheduler, runner=self.script, text=text, context_length=2000)
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(SECONDS)
        self.thread = threading.Thread(target=self.engine.serve, args=(theirs,), daemon=True)
        self.thread.start()

    def send(self, message: ToEngine) -> None:
        self.ours.sendall(frame(message))

    def sent(self, message: ToEngine) -> None:
        """Send, and wait until the engine will see it at its next step boundary."""
        self.send(message)
        wait_for(lambda: not self.engine._inbox.empty())  # pyright: ignore[reportPrivateUsage]

    def report(self) -> StepReport:
        """The next one."""
        while True:
            (length,) = LENGTH.unpack(self._read(LENGTH.size))
            message = from_engine.decode(self._read(length))
            if isinstance(message, StepReport):
                return message

    def step(self) -> list[CoreEvent]:
        """Let the step in flight be computed, and wait until the next one is."""
        begun = len(self.script.begun)
        self.script.turns.release()
        events = self.report().events
        self.wait_for_step(begun + 1)
        return events

    def wait_for_step(self, count: int) -> set[int]:
        """Wait until so many steps have begun; the solves in the last."""
        wait_for(lambda: len(self.script.begun) == count)
        return {chunk.solve for chunk in self.script.begun[-1].chunks}

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.ours.recv(size - len(data))
        return data


def wait_for(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.fixture
def front() -> Iterator[Front]:
    made = Front()
    yield made
    made.ours.shutdown(socket.SHUT_RDWR)
    made.script.turns.release(1000)
    made.thread.join(SECONDS)
    made.ours.close()


def submission(solve: int) -> Submit:
    return Submit(
        solve=solve,
        prompts=(Completion("long", part_of_program=False),),
        k=1,
        mode=Mode.INDEPENDENT,
        filters=(Filters(),),
        length_penalty=1.0,
        seed=1,
        max_new_tokens=None,
        stop=(),
        end_at_program=False,
        entry_point=None,
        prune=False,
        constraint=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=True,
        delta_seconds=None,
        client="",
        seconds_left=None,
        first_pass=False,
        judges=1,
    )


def test_the_end_of_a_solve_is_told_before_the_next_step(front: Front) -> None:
    front.send(submission(1))
    front.wait_for_step(1)
    front.sent(submission(2))
    started: set[int] = set()
    while started != {1, 2}:
        started |= {event.solve for event in front.step() if isinstance(event, BranchStarted)}
    in_flight = len(front.script.begun)
    assert front.wait_for_step(in_flight) == {1, 2}
    front.sent(End(1, EndReason.CUT_OFF))
    front.script.turns.release()
    told: list[CoreEvent] = []
    while not any(isinstance(event, SolveEnded) for event in told):
        told += front.report().events  # times out where the next step has to be computed first
    assert [event.solve for event in told if isinstance(event, SolveEnded)] == [1]
    assert front.wait_for_step(in_flight + 1) == {2}, "a row of a solve that has ended"
