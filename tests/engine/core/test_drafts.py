"""Guesses against a naive search; what pays; that a scheduler that drafts draws the same in fewer steps."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.distribution import Distribution
from engine.core.drafts import LONGEST, MEMORY, ORDERS, Acceptance, Bargain, Drafts, Source
from engine.core.steptime import StepTime
from engine.core.types import Ask
from tests.support.core_harness import Harness, request
from tests.support.scripted_runner import ScriptedRunner

KIND = (Source.SOLVE, ORDERS[0], False)


def free() -> Bargain:
    """Of a step in which rows cost next to nothing."""
    return Bargain(1, 0, StepTime(fixed=0.02, per_row=1e-6))


def naive(texts: list[list[int]], context: list[int]) -> list[list[int]]:
    """All that ever followed the longest run of the context that occurs, by looking everywhere."""
    for order in ORDERS:
        if len(context) < order:
            continue
        followed = [
            text[at + order : at + order + LONGEST]
            for text in texts
            for at in range(len(text) - order + 1)
            if text[at : at + order] == context[-order:] and at + order < len(text)
        ]
        if followed:
            return followed
    return []


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    growth=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40),
)
def test_a_guess_is_what_followed_the_longest_known_run(prompt: list[int], growth: list[tuple[int, int]]) -> None:
    drafts = Drafts()
    drafts.begin(1, [prompt])
    paths: dict[int, list[int]] = {}
    for branch, token in growth:
        path = paths.setdefault(branch, list(prompt))
        path.append(token)
        found = drafts.guess(1, branch, len(path) - len(prompt), 1, lambda n, path=path: path[-n:], LONGEST, free())
        known = naive([prompt, *paths.values()], path)
        assert (found is None) == (not known)
        assert found is None or any(one[: len(found.tokens)] == found.tokens for one in known)


def test_earlier_solves_are_remembered_and_forgotten() -> None:
    drafts = Drafts()
    text = list(range(100))
    drafts.begin(1, [text])
    drafts.end(1)
    drafts.begin(2, [[1000]])
    found = drafts.guess(2, 0, 7, 1, lambda n: text[20:27][-n:], LONGEST, free())
    assert found is not None
    assert found.kind == (Source.EARLIER, 6, False)
    assert found.tokens == text[27 : 27 + len(found.tokens)]
    for solve in range(3, 6):
        drafts.begin(solve, [[solve * 10_000 + n for n in range(MEMORY)]])
        drafts.end(solve)
    assert drafts.guess(2, 0, 8, 1, lambda n: text[20:28][-n:], LONGEST, free()) is None


def test_drafts_are_as_long_as_they_pay() -> None:
    acceptance, bargain = Acceptance(), Bargain(1, 0, StepTime(fixed=0.02, per_row=0.001))
    for _ in range(200):
        acceptance.learn(KIND, 4, 4)
    assert acceptance.length(KIND, LONGEST, bargain) == LONGEST
    assert acceptance.length(KIND, 3, bargain) == 3
    for _ in range(200):
        acceptance.learn(KIND, 4, 0)
    tried = [acceptance.length(KIND, LONGEST, bargain) for _ in range(400)]
    assert set(tried) == {0, 1}
    assert 5 <= sum(tried) <= 20, "what does not pay is tried now and then"


def test_the_more_rows_a_step_has_the_shorter_are_its_drafts() -> None:
    times = StepTime(fixed=0.02, per_row=0.001)
    lengths = [Bargain(rows, 0, times).best(0.7, LONGEST) for rows in (1, 4, 16, 64)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 4
    assert lengths[-1] == 0
    assert Bargain(64, 0, StepTime(fixed=0.02, per_row=0.0)).best(0.1, LONGEST) == LONGEST, "where rows are free"


def test_drafts_fill_a_tile_and_no_more() -> None:
    """Six rows cost what one does, the seventh as much as the first: the second of two drafts has what is left."""
    times = StepTime()
    times.predict = lambda rows, context, prefill_tokens: 0.01 * max(1, -(-rows // 6))  # type: ignore[method-assign]
    bargain = Bargain(2, 0, times)
    assert bargain.best(0.6, LONGEST) == 4
    bargain.take(0.6, 3)
    assert bargain.best(0.6, LONGEST) == 1
    bargain.take(0.6, 1)
    assert bargain.best(0.6, LONGEST) == 0


class Repeating(ScriptedRunner):
    """What follows depends on the last token alone, so that texts repeat themselves; none ends by itself."""

    def distribution(self, tokens: list[int], ask: Ask | None) -> Distribution:
        return replace(found := super().distribution(tokens[-1:], ask), ids=found.ids + 1)


def drawn(*, drafting: bool, k: int) -> tuple[dict[int, str], int, int]:
    harness = Harness(Repeating(pages=2000, spread=2), drafting=drafting)
    harness.scheduler.step_time = StepTime(fixed=0.02, per_row=0.0005)
    harness.seconds = lambda plan: 0.02 + 0.0005 * plan.rows
    harness.scheduler.submit(request(k=k, new=120, seed=3))
    steps = 0
    while not harness.scheduler.idle:
        steps += harness.step()
    return harness.texts(1), steps, harness.ended(1).counts.accepted_tokens


def test_drafts_save_steps_and_change_nothing() -> None:
    for k in (1, 4):
        plain, slow, none = drawn(drafting=False, k=k)
        drafted, quick, accepted = drawn(drafting=True, k=k)
        assert drafted == plain
        assert none == 0
        assert accepted > 0
        assert quick < 0.8 * slow


def test_masks_are_never_drafted_over() -> None:
    harness = Harness(Repeating(pages=2000, spread=2))
    asked = request(k=1, new=100, seed=3)
    full = np.full(1, 0xFFFFFFFF, np.uint32)
    type(asked.prompts[0].stopper).mask = property(lambda _: full)  # type: ignore[method-assign,assignment]
    try:
        harness.scheduler.submit(asked)
        harness.run()
    finally:
        type(asked.prompts[0].stopper).mask = property(lambda _: None)  # type: ignore[method-assign,assignment]
    assert harness.ended(1).counts.drafted_tokens == 0
