"""Turns on a device between an arbiter and engines: in any order in which messages may arrive, and in real engines."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.types import BranchFinished, CoreEvent, EndReason, Filters, Mode, SamplesFinished, SolveEnded
from engine.loop.arbiter import Arbiter, Seat
from engine.loop.client import EngineClient, thread_starter
from engine.loop.device_turn import DeviceTurn
from engine.loop.messages import (
    Completion,
    StepReport,
    Submit,
    TurnAsked,
    TurnGranted,
    TurnOver,
    TurnWanted,
)
from tests.support.scripted_engine import serve_script
from tests.support.watched_device import SECONDS, Device, Watched

PROGRAMS = {"long": {f"{first}{'z' * 300}": 1.0 for first in "abcdefgh"}}


class NoTimer:
    def cancel(self) -> None:
        pass


@dataclass(eq=False)
class Side:
    """An engine and its wires: what is under way in both directions, and the steps that it still has to do."""

    seat: Seat
    up: deque[TurnWanted | TurnOver] = field(default_factory=deque[TurnWanted | TurnOver])
    down: deque[TurnGranted | TurnAsked] = field(default_factory=deque[TurnGranted | TurnAsked])
    steps: int = 0
    interactive: bool = False
    running: bool = False
    done: int = 0

    def __post_init__(self) -> None:
        self.turn = DeviceTurn(self.up.append, shared=True)
        self.seat.tell = self.down.append

    @property
    def has_work(self) -> bool:
        return self.steps > 0

    def deliver_up(self) -> None:
        match self.up.popleft():
            case TurnWanted() as said:
                self.seat.want(interactive=said.interactive)
            case TurnOver() as said:
                self.seat.over(said.seconds, more=said.more, interactive=said.interactive)

    def look(self) -> None:
        """A boundary, as the engine's loop has it: take what has come, ask or give back, and begin a step if it may."""
        if self.has_work:
            self.turn.want(interactive=self.interactive)
        else:
            self.turn.give_back(more=False, interactive=False)
        while self.down:
            match self.down.popleft():
                case TurnGranted() as granted:
                    self.turn.take(granted)
                case TurnAsked():
                    self.turn.give_back(more=self.has_work, interactive=self.interactive)
        self.running = self.has_work and self.turn.mine

    def finish(self) -> None:
        self.running = False
        self.steps -= 1
        self.done += 1
        self.turn.ran(0.1, interactive=self.interactive)


@settings(max_examples=150, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("uulllfwcd")), max_size=120),
    engines=st.integers(2, 3),
)
def test_one_step_at_a_time_and_all_work_is_done_in_any_order_of_messages(
    moves: list[tuple[int, str]], engines: int
) -> None:
    arbiter = Arbiter(lambda seconds, callback: NoTimer())
    sides = [Side(arbiter.seat(str(n))) for n in range(engines)]
    brought = [0] * engines

    def play(number: int, move: str) -> None:
        side = sides[number]
        match move:
            case "u" if side.up:
                side.deliver_up()
            case "l" if not side.running:
                side.look()
            case "f" if side.running:
                side.finish()
            case "w":
                side.steps += 2
                brought[number] += 2
            case "c":
                side.interactive = not side.interactive
            case "d" if not side.running and side.steps:  # cancelled before it is computed
                side.steps -= 1
                brought[number] -= 1
            case _:
                pass
        assert sum(one.running for one in sides) <= 1, "two steps at a time"

    for number, move in moves:
        play(number % engines, move)
    # From here on nothing new comes: everything is done, and nobody keeps what it does not need.
    for _ in range(400):
        for number in range(engines):
            for move in "ulf":
                play(number, move)
    assert [side.done for side in sides] == brought
    assert arbiter.holder is None
    assert not any(side.up or side.down or side.turn.mine for side in sides)


# Real engines with scripted runners


def submission(*, interactive: bool = True, tokens: int = 40, k: int = 8) -> Submit:
    return Submit(
        solve=0,
        prompts=(Completion("long", part_of_program=False),),
        k=k,
        mode=Mode.INDEPENDENT,
        filters=(Filters(),),
        length_penalty=1.0,
        seed=1,
        max_new_tokens=tokens,
        stop=(),
        end_at_program=False,
        entry_point=None,
        prune=False,
        constraint=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=interactive,
        delta_seconds=None,
        client="",
        seconds_left=None,
        first_pass=False,
        judges=1,
    )


class Shared:
    """Engines on one device, by name; `steps`: seconds that their steps take at least."""

    def __init__(self, steps: dict[str, float]) -> None:
        loop = asyncio.get_running_loop()
        self.device = Device()
        self.arbiter = Arbiter(loop.call_later)
        self.scripts = {name: Watched(self.device, name, PROGRAMS, seconds) for name, seconds in steps.items()}
        self.reports: dict[str, list[StepReport]] = {name: [] for name in steps}
        self.seats = {name: self.arbiter.seat(name) for name in steps}
        self.clients = {
            name: EngineClient(
                thread_starter(serve_script(script, shared=True)),
                on_report=self.reports[name].append,
                on_change=lambda: None,
                seat=self.seats[name],
            )
            for name, script in self.scripts.items()
        }

    async def drawn(self, name: str, message: Submit) -> list[CoreEvent] | None:
        """All events of one solve; None if the engine died."""
        told: list[CoreEvent] = []
        over = asyncio.Event()
        died = False

        def sink(events: list[CoreEvent] | None) -> None:
            nonlocal died
            died = died or events is None
            told.extend(events or [])
            if died or any(isinstance(event, SolveEnded) for event in told):
                over.set()

        await self.clients[name].submit(message, sink)
        await asyncio.wait_for(over.wait(), SECONDS)
        return None if died else told


@asynccontextmanager
async def shared(**steps: float) -> AsyncGenerator[Shared]:
    made = Shared(steps)
    for client in made.clients.values():
        await client.start()
    try:
        yield made
    finally:
        for client in made.clients.values():
            await client.close()


async def test_two_engines_never_compute_at_once_and_both_go_on() -> None:
    async with shared(one=0.002, two=0.002) as made:
        one, two = await asyncio.gather(made.drawn("one", submission()), made.drawn("two", submission()))
        assert one and two
        assert made.device.most == 1
        assert set(made.device.turns) == {"one", "two"}
        await until(lambda: made.arbiter.holder is None)  # nobody keeps what it does not need
        waited = {name: sum(report.turn_seconds for report in made.reports[name]) for name in made.reports}
        assert waited["one"] > 0 and waited["two"] > 0


async def test_texts_are_those_of_an_engine_alone() -> None:
    def texts(events: list[CoreEvent] | None) -> dict[int, str]:
        by_branch: dict[int, str] = {}
        found: dict[int, str] = {}
        for event in events or []:
            if isinstance(event, BranchFinished):
                by_branch[event.branch] = event.text
            # Which samples went together is a matter of how many rows a step had.
            if isinstance(event, BranchFinished | SamplesFinished):
                found |= dict.fromkeys(event.samples, by_branch[event.branch])
        return found

    async with shared(one=0.001, two=0.001) as made:
        alone = await made.drawn("one", submission())
        both, _ = await asyncio.gather(made.drawn("one", submission()), made.drawn("two", submission()))
    assert sorted(texts(alone)) == list(range(8)) and texts(both) == texts(alone)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(SECONDS * 1000)):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to that")


@asynccontextmanager
async def in_its_step(made: Shared, name: str, message: Submit) -> AsyncGenerator[None]:
    """One engine has the device, in a step that ends with the block; its solve is drawn to its end then."""
    script = made.scripts[name]
    script.let.clear()
    script.entered.clear()
    drawing = asyncio.create_task(made.drawn(name, message))
    try:
        await until(script.entered.is_set)
        yield
    finally:
        script.let.set()
    assert await drawing


async def test_a_solve_ends_while_another_model_computes() -> None:
    """An intent is told at once: whoever waits for the last row to be gone does not wait for the other model's step."""
    async with shared(slow=0.0, fast=0.0) as made, in_its_step(made, "slow", submission(tokens=4)):
        over = asyncio.Event()

        def sink(events: list[CoreEvent] | None) -> None:
            if any(isinstance(event, SolveEnded) for event in events or []):
                over.set()

        client = made.clients["fast"]
        admitted = await client.submit(submission(), sink)
        client.end(admitted.solve, EndReason.CANCELLED)
        await asyncio.wait_for(over.wait(), SECONDS)
        assert made.scripts["fast"].steps == 0


async def test_interactive_work_goes_ahead_of_batch_work_that_waits_longer() -> None:
    async with shared(first=0.0, batch=0.0, editor=0.0) as made:
        async with in_its_step(made, "first", submission(interactive=False, tokens=4)):
            batch = asyncio.create_task(made.drawn("batch", submission(interactive=False, tokens=4)))
            await until(lambda: made.seats["batch"].wants)
            editor = asyncio.create_task(made.drawn("editor", submission(tokens=4)))
            await until(lambda: made.seats["editor"].wants)
        assert await batch and await editor
        # The first may have had one more step: it is asked for the device by a message, which takes its time.
        assert next(name for name in made.device.turns if name != "first") == "editor"
        assert made.device.most == 1


async def test_an_engine_that_dies_in_its_step_leaves_the_device_to_the_other() -> None:
    async with shared(one=0.001, two=0.001) as made:
        assert await made.drawn("one", submission(tokens=2))
        made.scripts["one"].fail = True
        one, two = await asyncio.gather(made.drawn("one", submission()), made.drawn("two", submission()))
        assert one is None
        assert two
        await until(lambda: made.clients["one"].facts is not None)
        assert await made.drawn("one", submission()), "started again, it has its turns as before"
