"""Engines that share a device: what each gets of it, who goes first, and that nobody waits for ever."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.loop.arbiter import LONGEST_TURN
from engine.loop.messages import TurnAsked, TurnGranted
from tests.support.shared_device import Job, Turn, World

LONGEST = 0.2
HORIZON = 8.0
steps = st.lists(st.floats(0.01, LONGEST), min_size=1, max_size=20)
weights = st.floats(0.1, 10.0)
jobs = st.lists(st.builds(Job, at=st.floats(0, 6), interactive=st.booleans(), steps=steps), max_size=12)


def seconds_of(turns: list[Turn], name: str) -> float:
    return sum(turn.seconds for turn in turns if turn.name == name)


def endless(interactive: bool, costs: list[float]) -> list[Job]:
    """More work than there is time for, steps of these costs in turns."""
    return [Job(0.0, interactive, costs * (1 + int(HORIZON / sum(costs))))]


@settings(max_examples=40, deadline=None)
@given(one=st.tuples(weights, steps), two=st.tuples(weights, steps), interactive=st.booleans(), third=jobs, w3=weights)
def test_two_busy_engines_get_what_their_weights_say_whatever_a_third_does(
    one: tuple[float, list[float]], two: tuple[float, list[float]], interactive: bool, third: list[Job], w3: float
) -> None:
    weight = {"one": one[0], "two": two[0]}
    world = World({**weight, "third": w3})
    busy = {"one": endless(interactive, one[1]), "two": endless(interactive, two[1])}
    world.run({**busy, "third": third}, until=HORIZON)
    # Over any stretch, a step of each at most (Goyal, Vin, Cheng 1996, theorem 1).
    bound = max(one[1]) / weight["one"] + max(two[1]) / weight["two"] + 1e-6
    lead, highest, lowest = 0.0, 0.0, 0.0
    # The first turn may have been one engine's before the other was there.
    for turn in world.turns[1:]:
        if turn.name in weight:
            lead += (1 if turn.name == "one" else -1) * turn.seconds / weight[turn.name]
            highest, lowest = max(highest, lead), min(lowest, lead)
    assert highest - lowest <= bound


@settings(max_examples=40, deadline=None)
@given(
    made=st.lists(st.tuples(weights, jobs), min_size=2, max_size=4),
    costs=steps,
    interactive=st.booleans(),
    w=weights,
)
def test_nobody_starves(made: list[tuple[float, list[Job]]], costs: list[float], interactive: bool, w: float) -> None:
    """An engine that always has work waits no longer between two turns than the weights and the classes explain."""
    others = {f"other {n}": weight for n, (weight, _) in enumerate(made)}
    world = World({"mine": w, **others})
    arrivals = {f"other {n}": jobs for n, (_, jobs) in enumerate(made)}
    world.run({"mine": endless(interactive, costs), **arrivals}, until=HORIZON)
    # Until its clock is the one behind again, another engine of its class gets what our step was over our weight, in
    # its own weight, and the step that it is in.
    alike = sum(weight * max(costs) / w + LONGEST for weight in others.values()) + 1e-6
    places = [place for place, turn in enumerate(world.turns) if turn.name == "mine"]
    assert places, "it had no turn at all"
    for before, after in pairwise([*places, len(world.turns)]):
        between = world.turns[before + 1 : after]
        same = sum(turn.seconds for turn in between if turn.interactive is interactive)
        other = sum(turn.seconds for turn in between if turn.interactive is not interactive)
        assert same <= alike
        # Of the other class: batch work an eighth, up to a step that is longer than the one before; interactive work
        # seven times what batch work had, and two such steps.
        own = max(costs)
        assert other <= ((same + own) / 7 + 2 * LONGEST if interactive else 7 * (same + 2 * LONGEST) + 2 * LONGEST)


@settings(max_examples=40, deadline=None)
@given(
    fast=st.lists(st.floats(0.01, LONGEST), min_size=1, max_size=6),
    slow=steps,
    guests=jobs,
    w=st.tuples(weights, weights),
)
def test_interactive_goes_first_and_leaves_an_eighth(
    fast: list[float], slow: list[float], guests: list[Job], w: tuple[float, float]
) -> None:
    world = World({"interactive": w[0], "batch": w[1], "guest": 1.0})
    batch = [Job(job.at, False, job.steps) for job in guests]
    world.run({"interactive": endless(True, fast), "batch": endless(False, slow), "guest": batch}, until=HORIZON)
    first = seconds_of(world.turns, "interactive")
    rest = seconds_of(world.turns, "batch") + seconds_of(world.turns, "guest")
    assert first + rest >= HORIZON - 1e-6, "the device never stands still"
    # A step may be longer than the one that it was measured by.
    assert abs(rest - first / 7) <= 2 * LONGEST


def test_a_model_that_is_alone_is_never_asked_and_one_that_comes_waits_for_one_step() -> None:
    world = World({"one": 1.0, "two": 1.0})
    world.run({"one": [Job(0.0, True, [0.1] * 50)], "two": [Job(2.05, True, [0.05] * 4)]})
    names = [turn.name for turn in world.turns]
    assert names[:21] == ["one"] * 21
    assert world.turns[21].name == "two"
    assert world.turns[21].began - 2.05 <= 0.1
    # Its four steps are two of the other's, give or take one.
    shared = names[21 : len(names) - names[::-1].index("two")]
    assert (shared.count("two"), shared.count("one") in (1, 2, 3)) == (4, True)


def test_time_spent_idle_is_not_saved_up() -> None:
    world = World({"late": 1.0, "one": 1.0, "two": 1.0})
    busy = {name: [Job(0.0, True, [0.1] * 1000)] for name in ("one", "two")}
    world.run({"late": [Job(30.0, True, [0.1] * 1000)], **busy}, until=60.0)
    late = [turn for turn in world.turns if turn.began >= 30.0]
    for name in ("one", "two"):
        assert abs(seconds_of(late, "late") - seconds_of(late, name)) <= 0.2 + 1e-6


def test_an_engine_that_goes_gives_its_turn_away() -> None:
    world = World({"one": 1.0, "two": 1.0})
    one, two = world.players["one"], world.players["two"]
    one.seat.want(interactive=True)
    two.seat.want(interactive=False)
    assert world.granted is one
    world.granted = None
    one.seat.leave()
    assert world.granted is two
    assert all(timer.cancelled for timer in world.timers[:-1])


def test_an_engine_that_waits_and_goes_is_not_given_a_turn() -> None:
    world = World({"one": 1.0, "two": 1.0})
    one, two = world.players["one"], world.players["two"]
    one.seat.want(interactive=True)
    two.seat.want(interactive=True)
    two.seat.leave()
    world.granted = None
    one.seat.over(0.1, more=False, interactive=False)
    assert world.arbiter.holder is None


def test_a_step_that_does_not_end_holds_nobody_up_for_ever() -> None:
    world = World({"hangs": 1.0, "two": 1.0})
    hangs, two = world.players["hangs"], world.players["two"]
    hangs.seat.want(interactive=True)
    assert not world.timers, "alone it may go on as long as it likes"
    two.seat.want(interactive=True)
    (timer,) = world.timers
    assert (timer.seconds, timer.cancelled) == (LONGEST_TURN, False)
    world.granted = None
    timer.callback()
    assert world.granted is two
    # It comes back: its turn is another one, when the time that it took is made up for.
    hangs.seat.over(40.0, more=True, interactive=True)
    assert world.granted is two
    world.granted = None
    two.seat.over(0.1, more=True, interactive=True)
    assert world.granted is two


@pytest.mark.parametrize("interactive", [True, False])
def test_what_is_said_before_the_turn_was_there_counts_for_nothing(interactive: bool) -> None:
    world = World({"one": 1.0, "two": 1.0})
    told: list[TurnGranted | TurnAsked] = []
    seat = world.players["one"].seat
    seat.tell = told.append
    seat.want(interactive=False)
    seat.want(interactive=interactive)
    assert told == [TurnGranted(keep=True)]
