"""The conversation of a session: the prompt of each turn, what it quotes, and what is judged before it draws."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.solving.conversation import Conversation
from engine.solving.errors import InvalidRequest, SessionLimit
from engine.solving.events import CandidateJudged
from engine.solving.refine import AddTests, CandidateName, Feedback, Resample, TakeBack, TurnOutcome
from engine.solving.spec import Budget, ChatPrompt, HeldTest, Sampling
from executor.types import SnippetTest
from executor.verdict import Verdict
from tests.support.session_script import chat_spec, event, judged, summary

TWO = ("assert f() == 1", "assert f(2) == 3")


def talk(*codes: str, room: int = 1 << 20, **fields: Any) -> Conversation:
    return Conversation(chat_spec(*codes, **fields), room=room, size=100)


def turn(one: Conversation, *programs: tuple[str, int], total: int = 2, **how: bool) -> list[str]:
    """Play a turn that draws these programs, each passing so many tests. The contents of its prompt."""
    started = one.begin(**how)
    candidates = [judged(index, code, passed, total) for index, (code, passed) in enumerate(programs)]
    for candidate in candidates:
        one.take(event(1, CandidateJudged(candidate=candidate)))
    passed = [candidate for candidate in candidates if candidate.passed]
    one.take(event(2, summary(*passed)))
    one.end(TurnOutcome.SOLVED if passed else TurnOutcome.UNSOLVED, None)
    prompt = started.spec.prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages[started.kept :] == started.added
    return [message.content for message in prompt.messages]


def test_the_best_failed_program_is_quoted_with_its_failing_test() -> None:
    one = talk(*TWO)
    assert turn(one, ("a = 0", 0), ("b = 1", 1), ("c = 1", 1)) == ["Write f()."]
    task, answer, said = turn(one)
    assert task == "Write f()."
    assert answer == "```python\nb = 1\n```"
    assert "it passes 1 of 2 tests" in said
    assert "assert f(2) == 3" in said
    assert "got 0" in said
    assert said.endswith("Do not repeat the tests.")


def test_the_same_program_is_quoted_once() -> None:
    one = talk()
    turn(one, ("a = 0", 0), total=1)
    assert len(turn(one, ("a = 0", 0), total=1)) == 3
    assert len(turn(one, ("a = 0", 0), ("b = 0", 0), total=1)) == 3
    assert turn(one, total=1)[3] == "```python\nb = 0\n```"


def test_each_program_that_the_person_speaks_of_is_quoted_with_their_words() -> None:
    one = talk(*TWO)
    turn(one, ("a = 0", 0), ("b = 1", 1))
    one.note(Feedback("First.", CandidateName(1, 0)), 6)
    one.note(Feedback("Second.", CandidateName(1, 1)), 7)
    one.note(Feedback("Again.", CandidateName(1, 0)), 6)
    one.note(Feedback("Be short."), 9)
    contents = turn(one)
    assert contents[1::2] == ["```python\na = 0\n```", "```python\nb = 1\n```"]
    assert "First.\n\nAgain." in contents[2]
    assert "Second.\n\nBe short." in contents[4]


def test_words_about_a_program_that_passed_quote_it_without_a_failure() -> None:
    one = talk(*TWO)
    turn(one, ("good = 1", 2))
    one.note(Feedback("Use a generator."), 16)
    contents = turn(one)
    assert contents[1] == "```python\ngood = 1\n```"
    assert contents[2].startswith("Use a generator.")


def test_without_anything_to_say_the_prompt_is_the_same() -> None:
    one = talk(*TWO)
    turn(one, ("good = 1", 2))
    assert turn(one) == ["Write f()."]


def test_words_before_any_program_was_judged_go_to_the_task() -> None:
    one = talk()
    turn(one)
    one.note(Feedback("In one line."), 12)
    assert turn(one) == ["Write f().\n\nIn one line."]


def test_hidden_tests_are_never_quoted() -> None:
    one = talk(*TWO)
    turn(one, ("good = 1", 2))
    shown, hidden = HeldTest(SnippetTest(code="assert f(5) == 8")), HeldTest(SnippetTest(code="assert f(9)"), True)
    one.note(AddTests((hidden, shown)), 30)
    contents = turn(one, total=3)
    assert "assert f(5) == 8" in contents[-1]
    assert "f(9)" not in "".join(contents)
    assert one.tests[2:] == (hidden, shown)
    assert one.turns[-1].spec.tests == one.tests


def test_what_passed_is_judged_again_only_after_more_tests_and_only_while_it_passes() -> None:
    one = talk()
    turn(one, ("good = 1", 1), ("bad = 0", 0), total=1)
    turn(one, total=1)
    assert one.turns[-1].spec.cascade.attempts == ()
    one.note(AddTests((HeldTest(SnippetTest(code="assert f(5)")),)), 30)
    turn(one, ("good = 1", 1), total=2)
    assert [attempt.code for attempt in one.turns[-1].spec.cascade.attempts] == ["good = 1"]
    one.note(AddTests((HeldTest(SnippetTest(code="assert f(6)")),)), 30)
    turn(one, total=3)
    assert one.turns[-1].spec.cascade.attempts == ()


def test_a_program_taken_back_is_refused_in_every_later_turn() -> None:
    one = talk()
    turn(one, ("good = 1", 1), total=1)
    one.note(TakeBack(CandidateName(1, 0)), 2)
    for _ in range(2):
        turn(one, total=1)
        (attempt,) = one.turns[-1].spec.cascade.attempts
        assert attempt.report is not None
        assert (attempt.code, attempt.report.verdict) == ("good = 1", Verdict.WRONG_ANSWER)
    one.note(Feedback("Words."), 6)
    assert turn(one, total=1) == ["Write f().\n\nWords."]


def test_another_seed_for_each_turn_from_the_one_that_was_asked_for() -> None:
    one = talk(sampling=Sampling(seed=2**64 - 1))
    for _ in range(2):
        turn(one)
    one.draw(Resample(sampling=Sampling(seed=5), budget=Budget(rows=9)))
    for _ in range(2):
        turn(one)
    assert [done.spec.sampling.seed for done in one.turns] == [2**64 - 1, 0, 5, 6]
    assert [done.spec.budget.rows for done in one.turns] == [None, None, 9, 9]


def test_a_candidate_that_is_not_there_is_refused_by_name() -> None:
    one = talk()
    turn(one, ("a = 0", 0), total=1)
    with pytest.raises(InvalidRequest, match=r"feedback\.candidate: turn 1 has no judged candidate 4"):
        one.note(Feedback("?", CandidateName(1, 4)), 1)
    with pytest.raises(InvalidRequest, match=r"take_back\.candidate: turn 2"):
        one.note(TakeBack(CandidateName(2, 0)), 1)
    assert not one.since


def test_a_request_beyond_the_room_is_refused_and_words_too() -> None:
    with pytest.raises(SessionLimit, match=r"sessions\.max_bytes"):
        Conversation(chat_spec(), room=99, size=100)
    one = Conversation(chat_spec(), room=150, size=100)
    with pytest.raises(SessionLimit):
        one.note(Feedback("x" * 60), 60)
    assert not one.since


def test_where_programs_have_no_room_the_worst_are_left_out() -> None:
    one = talk(*TWO, room=4000)
    turn(one, ("w = 0" + "#" * 500, 0), ("b = 1" + "#" * 500, 1), ("g = 2" + "#" * 500, 2), ("v = 0" + "#" * 500, 0))
    assert set(one.turns[0].candidates) == {1, 2}
    assert one.turns[0].left_out == 2
    assert one.size <= 4000


NOTES = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)), max_size=3)),
        st.tuples(st.just("say"), st.text("xyz ", min_size=1, max_size=5)),
        st.tuples(st.just("tests"), st.just("assert f(7)")),
        st.tuples(st.just("same"), st.just("")),
        st.tuples(st.just("back"), st.integers(0, 20)),
    ),
    max_size=14,
)


@given(NOTES)
@settings(deadline=None)
def test_a_prompt_begins_with_the_one_before_unless_a_quoted_program_was_taken_back(
    notes: list[tuple[str, Any]],
) -> None:
    one = talk(*TWO)
    before = turn(one, ("a", 1))
    back = False
    for kind, what in notes:
        match kind:
            case "say":
                one.note(Feedback(what), 4)
            case "tests":
                one.note(AddTests((HeldTest(SnippetTest(code=what)),)), 10)
            case "back":
                names = [CandidateName(done.number, index) for done in one.turns for index in done.candidates]
                one.note(TakeBack(names[what % len(names)]), 2)
                back = True
            case _:
                contents = turn(one, *(what or ()), total=max(2, len(one.tests)), same_prompt=kind == "same")
                if not back:
                    assert contents[: len(before) - 1] == before[:-1]
                    assert contents[len(before) - 1].startswith(before[-1])
                assert len(contents) % 2 == 1
                before, back = contents, False
