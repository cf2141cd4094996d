"""An engine in a thread whose steps are computed one by one, as a test lets them."""

import socket
import threading
import time

from engine.core.distribution import Distribution
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import CoreEvent, Filters, Mode, Step
from engine.loop.engine import Engine
from engine.loop.messages import LENGTH, Completion, StepReport, Submit, ToEngine, frame, from_engine
from engine.text.model_text import ModelText
from tests.support.scripted_engine import AheadScript, Script, byte_tokenizer

SECONDS = 20.0
"""After so long something hangs."""

_PROGRAMS = {"long": {"z" * 400: 1.0}}


class HeldScript(Script):
    """Computes a step only when it is let."""

    def __init__(self) -> None:
        super().__init__(_PROGRAMS)
        self.turns = threading.Semaphore(0)
        self.begun: list[Step] = []

    def run(self, step: Step) -> list[list[Distribution]]:
        self.begun.append(step)
        assert self.turns.acquire(timeout=SECONDS)
        return super().run(step)


class HeldAhead(AheadScript):
    """The same on a device of its own; `submitted`: the steps that it was given."""

    def __init__(self) -> None:
        super().__init__(_PROGRAMS)
        self.turns = threading.Semaphore(0)
        self.begun: list[Step] = []
        self.submitted: list[Step] = []

    def submit(self, step: Step) -> object:
        self.submitted.append(step)
        return super().submit(step)

    def run(self, step: Step) -> list[list[Distribution]]:
        self.begun.append(step)
        assert self.turns.acquire(timeout=SECONDS)
        return super().run(step)


class HeldEngine:
    """The front's end of it."""

    def __init__(self, script: HeldScript | HeldAhead, *, shared: bool = False) -> None:
        self.script = script
        # What a branch may go on with stands in its siblings' texts: without drafts each row is one token.
        limits = Limits(rows=8, drafting=isinstance(script, HeldScript))
        self.scheduler = Scheduler(pages=script.pages, page_size=script.page_size, limits=limits)
        text = ModelText(byte_tokenizer(), None, None)
        self.engine = Engine(scheduler=self.scheduler, runner=script, text=text, context_length=2000, shared=shared)
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(SECONDS)
        self.thread = threading.Thread(target=self.engine.serve, args=(theirs,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End it."""
        self.ours.shutdown(socket.SHUT_RDWR)
        self.script.turns.release(1000)
        self.thread.join(SECONDS)
        self.ours.close()

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


def submission(solve: int) -> Submit:
    """One sample of 400 tokens."""
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
