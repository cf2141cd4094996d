"""Ladders, several prompts, draws without replacement and beams, against their definitions."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.types import (
    Ask,
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchStarted,
    CoreRequest,
    EndReason,
    Filters,
    Mode,
    SolveEnded,
)
from tests.support.core_harness import Harness, request, separate_draw
from tests.support.random_schedule import check_tokens
from tests.support.scripted_runner import EOS, ScriptedRunner

LADDER = st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0]), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 24),
    prompts=st.lists(st.lists(st.integers(1, 11), min_size=1, max_size=9), min_size=1, max_size=4),
    temperatures=LADDER,
    width=st.one_of(st.none(), st.integers(1, 6)),
    rows=st.integers(1, 12),
    spare=st.one_of(st.none(), st.integers(0, 8)),
    keep=st.one_of(st.none(), st.integers(1, 3)),
    seed=st.integers(0, 2**64 - 1),
)
def test_every_sample_follows_its_prompt_and_its_temperature(
    k: int,
    prompts: list[list[int]],
    temperatures: list[float],
    width: int | None,
    rows: int,
    spare: int | None,
    keep: int | None,
    seed: int,
) -> None:
    asked = request(
        k=k, prompts=prompts, filters=tuple(Filters(temperature=t) for t in temperatures), width=width, seed=seed
    )
    least = sum(-(-len(prompt) // 4) for prompt in prompts) + 4
    runner = ScriptedRunner(pages=4000 if spare is None else least + spare, keep=keep)
    harness = Harness(runner, rows=rows, least_prefill=4)
    harness.scheduler.submit(asked)
    harness.run()
    texts = harness.texts(1)
    assert sorted(texts) == list(range(k))
    for sample, text in texts.items():
        assert text == " ".join(map(str, separate_draw(runner, asked, sample)))
    assert harness.ended(1).reason is EndReason.COMPLETE
    assert harness.scheduler.pool.free + harness.scheduler.pool.idle == runner.pages


def sequences(runner: ScriptedRunner, asked: CoreRequest) -> dict[str, float]:
    """All texts and their probabilities, by enumeration."""
    found: dict[str, float] = {}
    open_: list[tuple[list[int], float]] = [([], 1.0)]
    while open_:
        tokens, chance = open_.pop()
        if tokens and (tokens[-1] == EOS or len(tokens) == asked.max_new_tokens):
            found[" ".join(map(str, tokens))] = chance
            continue
        ask = Ask(0, asked.filters[0], np.empty(0), whole=True)
        node = runner.distribution([*asked.prompts[0].tokens, *tokens], ask)
        for token, low, high in zip(node.ids.tolist(), node.low.tolist(), node.high.tolist(), strict=True):
            open_.append(([*tokens, token], chance * (high - low)))
    return found


def told(harness: Harness) -> list[str]:
    return [event.text for event in harness.events if isinstance(event, BranchFinished)]


def drawn(runner: ScriptedRunner, asked: CoreRequest, **limits: int) -> list[str]:
    harness = Harness(runner, **limits)
    harness.scheduler.submit(asked)
    harness.run()
    books_are_right(harness)
    return told(harness)


def books_are_right(harness: Harness) -> None:
    ended = harness.ended(1)
    counts = ended.counts
    assert counts.samples_finished + counts.samples_pruned + counts.samples_cut == counts.samples_started
    started = [event.branch for event in harness.events if isinstance(event, BranchStarted)]
    over = [event.branch for event in harness.events if isinstance(event, BranchFinished | BranchPruned | BranchCut)]
    assert sorted(started) == sorted(over), "each branch ends exactly once"
    assert isinstance(harness.events[-1], SolveEnded)
    check_tokens(harness.events, counts)
    assert harness.scheduler.pool.free + harness.scheduler.pool.idle == harness.runner.pages


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 40),
    width=st.one_of(st.none(), st.integers(1, 7)),
    rows=st.integers(1, 9),
    new=st.integers(1, 5),
    spread=st.integers(1, 4),
    keep=st.one_of(st.none(), st.integers(1, 3)),
    spare=st.one_of(st.none(), st.integers(0, 5)),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.sampled_from([0, 2]),
    seed=st.integers(0, 2**64 - 1),
)
def test_distinct_sequences_do_not_depend_on_the_schedule(
    k: int,
    width: int | None,
    rows: int,
    new: int,
    spread: int,
    keep: int | None,
    spare: int | None,
    temperature: float,
    top_k: int,
    seed: int,
) -> None:
    asked = request(
        k=k,
        new=new,
        seed=seed,
        mode=Mode.DISTINCT,
        width=width,
        filters=(Filters(temperature=temperature, top_k=top_k),),
    )
    runner = ScriptedRunner(pages=3000 if spare is None else 4 + spare, keep=keep, spread=spread)
    texts = drawn(runner, asked, rows=rows, least_prefill=4)
    every = sequences(runner, asked)
    assert len(set(texts)) == len(texts) == min(k, len(every))
    assert set(texts) <= set(every)
    one_by_one = request(**{**_fields(asked), "width": 1})
    assert texts == drawn(ScriptedRunner(pages=3000, keep=keep, spread=spread), one_by_one, rows=1)
    # The first ones of a longer run are those of a shorter one: it may stop at any candidate.
    fewer = request(**{**_fields(asked), "k": max(1, k // 2)})
    assert drawn(ScriptedRunner(pages=3000, keep=keep, spread=spread), fewer, rows=8) == texts[: max(1, k // 2)]


def _fields(asked: CoreRequest) -> dict[str, object]:
    return {
        "k": asked.k,
        "new": asked.max_new_tokens,
        "seed": asked.seed,
        "mode": asked.mode,
        "width": asked.width,
        "filters": asked.filters,
    }


@pytest.mark.parametrize("keep", [None, 1])
@pytest.mark.parametrize("width", [1, 4])
def test_distinct_sequences_are_draws_without_replacement(keep: int | None, width: int) -> None:
    """The first three of many runs against the chances of all ordered triples, by chi-square."""
    runner = ScriptedRunner(pages=3000, vocabulary=4, spread=2, keep=keep)
    asked = request(k=3, new=2, prompt=[3, 1])
    every = sequences(runner, asked)
    assert 3 <= len(every) <= 4
    runs = 900
    seen = Counter(
        tuple(
            drawn(
                ScriptedRunner(pages=300, vocabulary=4, spread=2, keep=keep),
                request(k=3, new=2, prompt=[3, 1], seed=seed, mode=Mode.DISTINCT, width=width),
            )
        )
        for seed in range(runs)
    )
    chances = {
        order: math.prod(
            every[text] / (1 - sum(every[before] for before in order[:place])) for place, text in enumerate(order)
        )
        for order in itertools.permutations(every, 3)
    }
    assert set(seen) <= set(chances)
    likely = {order: chance * runs for order, chance in chances.items() if chance * runs >= 5}
    rest = runs - sum(likely.values())
    statistic = sum((seen[order] - expected) ** 2 / expected for order, expected in likely.items())
    if rest >= 5:
        statistic += (runs - sum(seen[order] for order in likely) - rest) ** 2 / rest
    cells = len(likely) + (rest >= 5)
    # 99.99 % of chi-square, by Wilson and Hilferty.
    free = cells - 1
    assert statistic < free * (1 - 2 / (9 * free) + 3.72 * math.sqrt(2 / (9 * free))) ** 3


def test_distinct_ends_when_there_are_no_more() -> None:
    runner = ScriptedRunner(pages=3000, spread=2)
    asked = request(k=4000, new=3, mode=Mode.DISTINCT)
    harness = Harness(runner)
    harness.scheduler.submit(asked)
    harness.run()
    assert sorted(told(harness)) == sorted(sequences(runner, asked))
    assert harness.ended(1).reason is EndReason.COMPLETE


def test_distinct_wastes_nothing_but_what_is_outdone() -> None:
    """In a wide run the sequences computed are those told, up to the few that later ones outdo."""
    runner = ScriptedRunner(pages=3000, spread=3)
    harness = Harness(runner, rows=16)
    harness.scheduler.submit(request(k=16, new=6, mode=Mode.DISTINCT, seed=5))
    harness.run()
    counts = harness.ended(1).counts
    assert counts.samples_finished == 16
    assert counts.samples_started <= 32


def best(runner: ScriptedRunner, asked: CoreRequest) -> dict[str, float]:
    """Beam search from its definition, on lists: text -> log-probability."""
    k = asked.k
    beam: list[tuple[float, list[int]]] = [(0.0, [])]
    done: dict[str, float] = {}
    while beam:
        steps = sorted(
            (
                (logprob + float(one), [*tokens, token])
                for logprob, tokens in beam
                for node in [runner.distribution([*asked.prompts[0].tokens, *tokens], None)]
                for token, one in zip(node.ids.tolist(), node.logprobs.tolist(), strict=True)
            ),
            key=lambda step: -step[0],
        )
        beam = []
        for rank, (logprob, tokens) in enumerate(steps[: 2 * k]):
            if tokens[-1] == EOS or len(tokens) == asked.max_new_tokens:
                if rank < k:
                    done[" ".join(map(str, tokens))] = logprob
                continue
            beam.append((logprob, tokens))
            if len(beam) == k:
                break
        scores = sorted(
            (logprob / len(text.split()) ** asked.length_penalty for text, logprob in done.items()), reverse=True
        )
        if len(scores) >= k and all(
            logprob / len(tokens) ** asked.length_penalty <= scores[k - 1] for logprob, tokens in beam
        ):
            break
    return done


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 6),
    new=st.integers(1, 8),
    width=st.one_of(st.none(), st.integers(1, 4)),
    rows=st.integers(1, 8),
    penalty=st.sampled_from([0.0, 0.7, 1.0, 2.0]),
    prompt=st.lists(st.integers(1, 11), min_size=1, max_size=9),
    spare=st.one_of(st.none(), st.integers(0, 6)),
)
def test_a_beam_finds_what_its_definition_finds(
    k: int, new: int, width: int | None, rows: int, penalty: float, prompt: list[int], spare: int | None
) -> None:
    asked = request(k=k, new=new, width=width, prompt=prompt, mode=Mode.BEAM, length_penalty=penalty)
    runner = ScriptedRunner(pages=2000 if spare is None else -(-len(prompt) // 4) + 4 + spare)
    harness = Harness(runner, rows=rows, least_prefill=4)
    harness.scheduler.submit(asked)
    harness.run()
    books_are_right(harness)
    found = {event.text: event.logprob for event in harness.events if isinstance(event, BranchFinished)}
    expected = best(runner, asked)
    assert found.keys() == expected.keys()
    assert all(abs(found[text] - expected[text]) < 1e-4 for text in found)


def test_a_ladder_of_a_beam_is_refused() -> None:
    harness = Harness(ScriptedRunner(pages=100))
    with pytest.raises(ValueError, match="takes one prompt and one set of filters"):
        harness.scheduler.submit(request(mode=Mode.BEAM, filters=(Filters(), Filters())))


@pytest.mark.parametrize("mode", [Mode.INDEPENDENT, Mode.DISTINCT])
@pytest.mark.parametrize("most", [1, 3, 10])
def test_no_more_than_so_many_samples_are_being_drawn(mode: Mode, most: int) -> None:
    harness = Harness(ScriptedRunner(pages=4000))
    harness.scheduler.submit(request(k=60, new=6, mode=mode, at_once=most))
    harness.run()
    alive: set[int] = set()
    widest = 0
    for event in harness.events:
        if isinstance(event, BranchStarted):
            alive |= set(event.samples)
        elif isinstance(event, BranchFinished | BranchPruned | BranchCut):
            alive -= set(event.samples)
        widest = max(widest, len(alive))
    assert widest <= most
    assert harness.ended(1).counts.samples_finished == 60


def test_samples_that_repeat_finished_texts_spend_the_budget_of_tokens_too() -> None:
    harness = Harness(ScriptedRunner(pages=4000, spread=1))
    harness.scheduler.submit(request(k=500, new=6, max_tokens=100, at_once=2))
    harness.run()
    counts = harness.ended(1).counts
    assert harness.ended(1).reason is EndReason.BUDGET_TOKENS
    assert counts.generated_tokens < 100 + 2 * 6
