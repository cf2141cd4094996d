"""A conversation at its limits: the model's context, the memory of the server, programs that are equally good."""

from dataclasses import replace

import pytest

from engine.solving.conversation import Conversation
from engine.solving.errors import SessionLimit
from engine.solving.events import CandidateJudged, SamplesJoined
from engine.solving.refine import AddTests, CandidateName, Feedback, Noted, TakeBack, TurnFailure, TurnOutcome
from engine.solving.spec import ChatPrompt, HeldTest
from engine.solving.summary import Candidate
from executor.types import SnippetTest
from tests.support.session_script import chat_spec, event, judged, summary

TOO_LONG = TurnFailure("INVALID_ARGUMENT", "PROMPT_TOO_LONG", "the prompt has 9000 tokens")


def talk(room: int = 1 << 20) -> Conversation:
    return Conversation(chat_spec(), room=room, size=100)


def turn(one: Conversation, *candidates: Candidate, same_prompt: bool = False) -> list[str]:
    """Play a turn that draws these and solves nothing. The contents of its prompt."""
    started = one.begin(same_prompt=same_prompt)
    for candidate in candidates:
        one.take(event(1, CandidateJudged(candidate=candidate)))
    one.take(event(2, summary()))
    one.end(TurnOutcome.UNSOLVED, None)
    return contents(started.spec.prompt)


def refused(one: Conversation) -> list[str]:
    """A turn whose prompt the model has no room for."""
    started = one.begin()
    one.end(TurnOutcome.FAILED, TOO_LONG)
    return contents(started.spec.prompt)


def notes(one: Conversation, *actions: Noted) -> None:
    for action in actions:
        one.note(action, 3)


def contents(prompt: object) -> list[str]:
    assert isinstance(prompt, ChatPrompt)
    return [message.content for message in prompt.messages]


def test_a_prompt_that_the_model_has_no_room_for_is_taken_back() -> None:
    one = talk()
    turn(one, judged(0, "a = 0", 0))
    one.note(Feedback("Too many words."), 15)
    assert "Too many words." in refused(one)[2]
    assert turn(one, same_prompt=True) == ["Write f()."]
    one.note(Feedback("Few."), 4)
    task, answer, said = turn(one)
    assert (task, answer) == ("Write f().", "```python\na = 0\n```")
    assert "Few." in said
    assert "Too many" not in said


def test_words_that_the_model_has_no_room_for_leave_the_task_as_it_was() -> None:
    one = talk()
    turn(one)
    one.note(Feedback("Too many words."), 15)
    assert refused(one) == ["Write f().\n\nToo many words."]
    assert turn(one) == ["Write f()."]


def test_a_program_taken_back_meanwhile_does_not_come_back_with_the_prompt_before() -> None:
    one = talk()
    turn(one, judged(0, "a = 0", 0))
    assert len(turn(one, judged(0, "b = 0", 0))) == 3
    one.begin()
    one.note(TakeBack(CandidateName(1, 0)), 2)
    one.end(TurnOutcome.FAILED, TOO_LONG)
    assert "a = 0" not in "".join(turn(one))


def test_of_many_tests_that_were_added_a_few_are_quoted() -> None:
    one = talk()
    turn(one, judged(0, "a = 0", 0))
    one.note(AddTests(tuple(HeldTest(SnippetTest(code=f"assert f({n}) == {n}")) for n in range(100, 140))), 500)
    said = turn(one)[-1]
    assert "f(100)" in said
    assert said.count("assert f(1") == 8
    assert "32 more" in said
    assert len(one.tests) == 41


def test_of_equally_good_programs_the_one_of_the_first_sample_is_quoted() -> None:
    """Which one finishes first depends on the load of the server, and a session with a seed shall not."""
    one = talk()
    late, early = judged(0, "late = 0", 0), judged(1, "early = 0", 0)
    turn(one, replace(late, samples=(7,)), replace(early, samples=(2,)))
    assert turn(one)[1] == "```python\nearly = 0\n```"


def test_samples_that_join_later_count_and_are_kept() -> None:
    one = talk()
    one.begin()
    for candidate in (replace(judged(0, "a = 0", 0), samples=(7,)), replace(judged(1, "b = 0", 0), samples=(2,))):
        one.take(event(1, CandidateJudged(candidate=candidate)))
    one.take(event(2, SamplesJoined(index=0, samples=(1,), sample_logprobs=(-0.5,))))
    one.take(event(3, summary()))
    one.end(TurnOutcome.UNSOLVED, None)
    assert one.turns[0].candidates[0].samples == (1, 7)
    assert turn(one)[1] == "```python\na = 0\n```"


def test_small_actions_take_more_than_their_bytes() -> None:
    room = 1 << 16
    one = talk(room)
    turn(one, judged(0, "a = 0", 0))
    for _ in range(200):
        one.note(Feedback("x"), 3)
    with pytest.raises(SessionLimit):
        notes(one, *[Feedback("x")] * (room // 200 - 200))


def test_a_program_that_was_taken_back_is_kept_and_counted() -> None:
    one = talk()
    code = "a = 0" + "#" * 5000
    turn(one, judged(0, code, 0))
    before = one.size
    one.note(TakeBack(CandidateName(1, 0)), 2)
    assert one.size - before >= len(code)


def test_no_more_programs_are_taken_back_than_a_solve_may_be_given() -> None:
    one = talk()
    turn(one, *(judged(index, f"a = {index}", 0) for index in range(300)))
    with pytest.raises(SessionLimit, match="taken back"):
        notes(one, *(TakeBack(CandidateName(1, index)) for index in range(300)))
    turn(one)
    assert len(one.turns[-1].spec.cascade.attempts) <= 256 - 16
