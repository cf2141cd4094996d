"""The twin: what it predicts of servers whose every number is known, and that it draws what was recorded."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.arrivals import Chooser
from benchmarks.load.calls import Answer
from benchmarks.load.loads import Load, Rate, Replay, Users
from benchmarks.load.mix import Mix
from benchmarks.load.trace import Point
from benchmarks.plan.recorded import Measured, Problem, Program, Text
from benchmarks.plan.tape import Tape
from benchmarks.plan.twin import Twin
from tests.support.measured import STEP, measured, mix, problem

ONE = Replay(name="one", points=(Point(0.0),), speed=1.0)


def play(found: Measured, asked: Mix, load: Load, *, seed: int = 1) -> list[Answer]:
    return Twin(found, asked).play(load, seed)


def test_one_sample_alone_takes_its_steps_its_judging_and_the_way_to_the_client() -> None:
    (answer,) = play(measured(problem("p", [(40, 8, True)])), mix("p"), ONE)
    assert answer.end == "solved"
    assert answer.pass_seconds == pytest.approx(40 * STEP + 0.2 + 0.01, abs=2 * STEP)


def test_a_problem_that_nothing_solves_is_exhausted_when_all_is_judged() -> None:
    (answer,) = play(measured(problem("p", [(10, 1, False), (30, 1, False)])), mix("p", k=16), ONE)
    assert (answer.end, answer.first_pass) == ("exhausted", None)
    assert answer.seconds == pytest.approx(30 * STEP + 0.2 + 0.01, abs=2 * STEP)


def test_samples_pass_as_often_as_they_did() -> None:
    found = measured(problem("p", [(5, 3, True), (6, 5, False), (7, 2, False)]), slots=8)
    answers = play(found, mix("p"), Rate(rate=1.0, seconds=250))
    solved = sum(answer.end == "solved" for answer in answers) / len(answers)
    assert solved == pytest.approx(0.3, abs=0.1)
    more = play(found, mix("p", k=4), Rate(rate=1.0, seconds=250))
    assert sum(answer.end == "solved" for answer in more) / len(more) == pytest.approx(1 - 0.7**4, abs=0.1)


def test_users_ask_again_when_they_have_their_answer() -> None:
    found = measured(problem("p", [(40, 1, True)] * 400))  # so many that none comes twice in a row
    alone = 40 * STEP + 0.2 + 0.01
    answers = play(found, mix("p"), Users(users=1, think=1.0, seconds=60))
    assert len(answers) == pytest.approx(60 / (alone + 1.0), abs=2)
    both = play(found, mix("p"), Users(users=2, think=1.0, seconds=60))
    assert len(both) == pytest.approx(2 * len(answers), abs=2), "a second row costs nothing on this machine"


def test_a_text_that_was_drawn_before_is_drafted_as_the_server_would() -> None:
    found = measured(problem("p", [(60, 1, True)]))
    calls = Replay(name="two", points=(Point(0.0), Point(30.0)), speed=1.0)
    first, second = play(found, mix("p"), calls)
    assert first.seconds == pytest.approx(60 * STEP + 0.21, abs=2 * STEP)
    assert second.seconds < first.seconds / 2


def test_nothing_is_drafted_from_the_texts_of_another_problem() -> None:
    found = measured(problem("p", [(60, 1, True)]), problem("q", [(60, 1, True)]))
    calls = Replay(name="two", points=(Point(0.0), Point(30.0)), speed=1.0)
    answers = play(found, mix("p", "q"), calls)
    assert [answer.problem for answer in answers] == ["p", "q"]
    assert all(answer.seconds == pytest.approx(60 * STEP + 0.21, abs=2 * STEP) for answer in answers)


def test_a_draft_that_nobody_draws_changes_no_text() -> None:
    """Two texts that part after thirty tokens: each is often drafted where the other one is drawn."""
    parting = Problem(
        name="p",
        prompt_tokens=20,
        forks={0: None, 1: (0, 30)},
        texts=(Text(branch=0, tokens=60, samples=1, program=0), Text(branch=1, tokens=60, samples=1, program=1)),
        programs={0: Program(passed=True, seconds=0.0), 1: Program(passed=False, seconds=0.0)},
    )
    answers = play(measured(parting), mix("p"), Rate(rate=0.2, seconds=900))
    solved = sum(answer.end == "solved" for answer in answers)
    assert solved / len(answers) == pytest.approx(0.5, abs=0.15)
    assert solved + sum(answer.end == "exhausted" for answer in answers) == len(answers)


def test_beyond_what_it_can_do_calls_wait_for_each_other() -> None:
    found = measured(problem("p", [(40, 1, True)], seconds=1.0), slots=1)
    few = play(found, mix("p"), Rate(rate=0.2, seconds=100))
    many = play(found, mix("p"), Rate(rate=4.0, seconds=100))
    assert max(answer.seconds for answer in few) < 8
    assert max(answer.seconds for answer in many) > 50, "one sandbox judges one program a second"
    assert all(answer.end in ("solved", "failed") for answer in many)


def test_who_has_no_answer_in_the_end_is_given_up() -> None:
    found = measured(problem("p", [(40, 1, True)], seconds=1.0), slots=1)
    answers = Twin(found, mix("p")).play(Rate(rate=4.0, seconds=30), 1, patience=5.0)
    ends = Counter(answer.end for answer in answers)
    assert ends["unfinished"] > 60 and ends["solved"] == pytest.approx(33, abs=4)
    assert max(answer.ended for answer in answers) <= 30 + 5 + 2 * STEP


def test_a_queue_that_is_full_refuses() -> None:
    twin = Twin(measured(problem("p", [(400, 1, True)])), mix("p"), rows=1, waiting=3)
    answers = twin.play(Replay(name="ten", points=tuple(Point(n / 100) for n in range(10)), speed=1.0), seed=1)
    ends = Counter((answer.end, answer.reason) for answer in answers)
    assert ends["failed", "QUEUE_FULL"] > 0
    assert ends["solved", ""] + ends["failed", "QUEUE_FULL"] == 10


def test_clients_leave_and_deadlines_come_in_made_time() -> None:
    found = measured(problem("p", [(400, 1, True)]))
    (left,) = play(found, mix("p", cancel={"share": 1, "after": [3, 3]}), ONE)
    assert left.end == "cancelled" and left.seconds == pytest.approx(3, abs=2 * STEP)
    (late,) = play(found, mix("p", timeout=2), ONE)
    assert (late.end, late.code) == ("failed", "DEADLINE_EXCEEDED")
    assert late.seconds == pytest.approx(2, abs=2 * STEP)


def test_all_samples_are_drawn_where_all_are_asked_for() -> None:
    found = measured(problem("p", [(10, 1, True), (200, 1, False)]), slots=4)
    (first,) = play(found, mix("p", k=16), ONE)
    (whole,) = play(found, mix("p", k=16, policy="all"), ONE)
    assert first.seconds < 3 and whole.seconds >= 200 * STEP
    assert first.end == whole.end == "solved"


def test_the_calls_are_those_that_a_load_test_makes() -> None:
    found, asked = measured(problem("p", [(5, 1, True)]), problem("q", [(5, 1, False)])), mix("p", "q")
    load = Rate(rate=2.0, seconds=30)
    calls = list(load.calls(Chooser(asked, 7), 8))
    made = sorted(play(found, asked, load, seed=7), key=lambda answer: answer.due)
    assert [(call.due, asked.entries[0].problems[call.problem]) for call in calls] == [
        (answer.due, answer.problem) for answer in made
    ]


def test_the_same_seed_plays_the_same() -> None:
    found = measured(problem("p", [(30, 3, True), (50, 5, False)]))
    one, two = (play(found, mix("p", k=4), Rate(rate=0.5, seconds=60), seed=3) for _ in range(2))
    assert one == two
    calls = {(answer.due, answer.problem) for answer in one}
    other = Twin(found, mix("p", k=4)).play(Rate(rate=0.5, seconds=60), 3, draw=1)
    assert {(answer.due, answer.problem) for answer in other} == calls and other != one


@st.composite
def trees(draw: st.DrawFn) -> Problem:
    """Branches that leave others somewhere, each with a text."""
    tokens = {0: draw(st.integers(2, 30))}
    forks: dict[int, tuple[int, int] | None] = {0: None}
    for branch in range(1, draw(st.integers(1, 6))):
        parent = draw(st.sampled_from(sorted(tokens)))
        position = draw(st.integers(0, tokens[parent] - 1))
        forks[branch] = (parent, position)
        tokens[branch] = position + draw(st.integers(2, 20))
    return Problem(
        name="p",
        prompt_tokens=5,
        forks=forks,
        texts=tuple(
            Text(branch=branch, tokens=length, samples=draw(st.integers(1, 5)), program=branch)
            for branch, length in tokens.items()
        ),
        programs={branch: Program(passed=False, seconds=0.0) for branch in tokens},
    )


@given(trees())
@settings(max_examples=60, deadline=None)
def test_a_tape_holds_every_text_with_its_samples(found: Problem) -> None:
    tape = Tape(found, 0)
    assert tape.root.samples == sum(text.samples for text in found.texts)
    ends: Counter[int] = Counter()
    lengths: dict[int, int] = {}

    def walk(node: object, depth: int) -> None:
        assert isinstance(node, type(tape.root))
        if node.text >= 0:
            ends[node.text] += node.samples
            lengths[node.text] = depth
        for child in node.children.values():
            walk(child, depth + 1)
        if node.children:
            assert node.samples == sum(child.samples for child in node.children.values())

    walk(tape.root, 0)
    assert lengths == {number: text.tokens for number, text in enumerate(found.texts)}
    assert ends == {number: text.samples for number, text in enumerate(found.texts)}
