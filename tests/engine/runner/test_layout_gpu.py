"""What a GPU's kernels are told that each token sees is its path, token by token, with what is shared told once."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_harness import Harness, request
from support.page_tree import Pages
from support.scripted_runner import ScriptedRunner

from engine.core.types import Chunk, Filters, Slots, Step
from engine.runner.layout_gpu import LEAST_SHARED, ROW_TOKENS, GpuLayout, lay_out
from kernels.gpu.items import Tiles

NOTHING: Slots = np.empty(0, np.int32)


def slots_of(tiles: Tiles, page_size: int) -> list[int]:
    assert tiles.dtype == np.int32
    assert (tiles[:, 1] < tiles[:, 2]).all() and (tiles[:, 2] <= page_size).all()
    return [page * page_size + offset for page, begin, end in tiles.tolist() for offset in range(begin, end)]


def seen(layout: GpuLayout, page_size: int) -> list[list[int]]:
    """Of each token of the step the slots it sees, in the order in which it is told of them."""
    found: list[list[int]] = [[] for _ in layout.tokens]
    for run in layout.decode:
        assert run.rows > 0 and run.first + run.rows <= layout.rows
        for row in range(run.first, run.first + run.rows):
            found[row] += slots_of(run.tiles, page_size)
    for run in layout.prefill:
        path = slots_of(run.tiles, page_size)
        for place in range(run.rows):
            found[layout.rows + run.first + place] = path[: len(path) - run.rows + 1 + place]
    return found


def check(step: Step, page_size: int) -> GpuLayout:
    """All that a layout promises; the layout."""
    layout = lay_out(step, page_size)
    sights = seen(layout, page_size)
    assert len(layout.tokens) == len(layout.positions) == len(layout.writes) == step.tokens
    for chunk, first in zip(step.chunks, layout.first, strict=True):
        path = [*chunk.prefix.tolist(), *chunk.suffix.tolist()]
        for place, token in enumerate(chunk.tokens):
            number = first + place
            assert (number < layout.rows) == (len(chunk.tokens) <= ROW_TOKENS)
            assert (layout.tokens[number], layout.positions[number]) == (token, chunk.start + place)
            assert layout.writes[number] == path[chunk.start + place]
            assert sights[number] == path[: chunk.start + place + 1]
    for place, outer in enumerate(layout.decode):
        for inner in layout.decode[place + 1 :]:
            alone = inner.first >= outer.first + outer.rows or inner.first + inner.rows <= outer.first
            within = outer.first <= inner.first and inner.first + inner.rows <= outer.first + outer.rows
            assert alone or within, "a later run lies in an earlier one or apart from it"
    return layout


def told(layout: GpuLayout) -> int:
    """Tokens in the tiles of the decode runs."""
    return sum(int((run.tiles[:, 2] - run.tiles[:, 1]).sum()) for run in layout.decode)


@settings(max_examples=80, deadline=None)
@given(
    page_size=st.sampled_from([4, 16, 64]),
    groups=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 12)), max_size=4),
    runs=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 60)), max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_token_sees_its_path(
    page_size: int, groups: list[tuple[int, int]], runs: list[tuple[int, int]], seed: int
) -> None:
    random = Random(seed)
    pages = Pages(random, page_size, 4000)
    chunks: list[Chunk] = []
    for solve, (length, rows) in enumerate(groups):
        prompt = pages.text(length)
        prefix = prompt.array()
        texts = [prompt]
        for _ in range(rows):
            parent = random.choice(texts)
            at = random.randint(length, len(parent.slots))
            drafted = random.choice([0, 0, random.randint(1, ROW_TOKENS - 1)])
            texts.append(parent.fork(at).grow(random.randint(1, 40) + drafted))
            # Its own tokens are nobody else's: forks of it begin before them.
            suffix = texts[-1].array(length)
            tokens = min(1 + drafted, len(texts[-1].slots) - at)
            chunks.append(Chunk(solve, [random.randrange(99)] * tokens, length + len(suffix) - tokens, prefix, suffix))
            texts[-1] = texts[-1].fork(len(texts[-1].slots) - tokens)
    for solve, (before, tokens) in enumerate(runs):
        path = pages.text(before + tokens).array()
        chunks.append(Chunk(100 + solve, list(range(tokens)), before, NOTHING, path))
    random.shuffle(chunks)
    if chunks:
        check(Step(chunks), page_size)


def test_what_late_forks_have_in_common_is_told_once() -> None:
    """A prompt, a text of 70 tokens after it, and forks of that in the middle of a page and at its end."""
    pages = Pages(Random(1), 64, 100)
    prompt = pages.text(100)
    common = prompt.fork(100).grow(70)
    texts = [common.fork(130).grow(5) for _ in range(3)] + [common.fork(170).grow(9) for _ in range(4)]
    prefix = prompt.array()
    chunks = [Chunk(1, [7], len(text.slots) - 1, prefix, text.array(100)) for text in texts]
    Random(2).shuffle(chunks)
    layout = check(Step(chunks), 64)
    assert told(layout) == 100 + 30 + 40 + 3 * 5 + 4 * 9
    assert len(layout.decode) == 3 + 7


def test_a_little_in_common_is_no_run_of_its_own() -> None:
    pages = Pages(Random(1), 16, 100)
    prompt = pages.text(32)
    for length, runs in ((LEAST_SHARED, 4), (LEAST_SHARED - 1, 3)):
        common = prompt.fork(32).grow(length)
        prefix = prompt.array()
        texts = [common.fork(32 + length).grow(3) for _ in range(2)]
        chunks = [Chunk(1, [7], len(text.slots) - 1, prefix, text.array(32)) for text in texts]
        assert len(check(Step(chunks), 16).decode) == runs


def test_prompts_of_equal_slots_are_shared_by_identity_alone() -> None:
    pages = Pages(Random(1), 16, 100)
    prompt = pages.text(32)
    common = prompt.fork(32).grow(20)
    texts = [common.fork(52).grow(1) for _ in range(4)]
    one, other = prompt.array(), prompt.array()
    chunks = [
        Chunk(1, [7], 52, prefix, text.array(32)) for prefix, text in zip([one, other, one, other], texts, strict=True)
    ]
    assert told(check(Step(chunks), 16)) == 2 * (32 + 20) + 4


def test_what_comes_after_a_difference_is_not_in_common() -> None:
    pages = Pages(Random(1), 16, 100)
    one, other, middle = pages.text(16), pages.text(16), pages.text(32)
    paths = [np.concatenate([first.array(), middle.array(), pages.text(1).array()]) for first in (one, other)]
    check(Step([Chunk(1, [7], 48, NOTHING, path) for path in paths]), 16)


@pytest.mark.parametrize("seed", range(3))
def test_the_steps_of_a_scheduler(seed: int) -> None:
    """Solves of late forks, drafts, several prompts, a small pool and prompts of the cache."""
    runner = ScriptedRunner(pages=300, page_size=4, vocabulary=60, spread=2)
    harness = Harness(runner, rows=16)
    prompts = [list(range(1, 30)), list(range(1, 23)) + [3] * 9]
    for solve in range(6):
        filters = (Filters(temperature=(0.2, 0.6)[solve % 2]),)
        asked = request(solve, prompts[solve % 2], k=10, new=60, seed=seed * 100 + solve, filters=filters)
        harness.scheduler.submit(asked)
    harness.run()
    told_all = 0
    for step in runner.steps:
        told_all += told(check(step, runner.page_size))
    rows = [[chunk for chunk in step.chunks if len(chunk.tokens) <= ROW_TOKENS] for step in runner.steps]
    assert any(len(chunk.tokens) > 1 and chunk.asks for chunks in rows for chunk in chunks), "no drafts"
    prompts_once = sum(
        sum({id(chunk.prefix): len(chunk.prefix) for chunk in chunks}.values())
        + sum(len(chunk.suffix) for chunk in chunks)
        for chunks in rows
    )
    assert told_all < prompts_once, "no late forks that share what they have in common"
