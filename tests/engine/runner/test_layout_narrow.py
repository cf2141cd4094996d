"""Of which tokens a GPU's kernels are told that they are stored in 8 bits: those after a prompt, wherever they lie."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_harness import Harness, request
from support.page_tree import Pages
from support.scripted_runner import ScriptedRunner

from engine.core.types import Chunk, Filters, Slots, Step
from engine.runner.layout_gpu import GpuLayout, lay_out
from kernels.gpu.items import Run

NOTHING: Slots = np.empty(0, np.int32)


def kinds(run: Run, page_size: int) -> list[tuple[int, bool]]:
    """Each slot that a run sees, and whether it is told to be narrow."""
    wide = len(run.tiles) - run.narrow
    return [
        (page * page_size + offset, number >= wide)
        for number, (page, begin, end) in enumerate(run.tiles.tolist())
        for offset in range(begin, end)
    ]


def check(step: Step, page_size: int, stored: dict[int, bool]) -> GpuLayout:
    """Each token sees its path, told as it is stored; `stored` are the slots written so far, with those of this step.

    Without `narrow` nothing is told to be so.
    """
    layout = lay_out(step, page_size, narrow=True)
    path: list[list[tuple[int, bool]]] = [[] for _ in layout.tokens]
    for write, position, place in zip(layout.writes.tolist(), layout.positions.tolist(), range(len(path)), strict=True):
        slot, narrow = (-2 - write, True) if write < 0 else (write, False)
        stored[slot] = narrow
        chunk = next(
            c for c, first in zip(step.chunks, layout.first, strict=True) if 0 <= place - first < len(c.tokens)
        )
        assert narrow == (chunk.prompt is not None and position >= chunk.prompt)
    for run in layout.decode:
        for row in range(run.first, run.first + run.rows):
            path[row] += kinds(run, page_size)
    for run in layout.prefill:
        whole = kinds(run, page_size)
        for place in range(run.rows):
            path[layout.rows + run.first + place] = whole[: len(whole) - run.rows + 1 + place]
    for chunk, first in zip(step.chunks, layout.first, strict=True):
        slots = [*chunk.prefix.tolist(), *chunk.suffix.tolist()]
        for place in range(len(chunk.tokens)):
            seen = slots[: chunk.start + place + 1]
            assert path[first + place] == [(slot, stored[slot]) for slot in seen]
    plain = lay_out(step, page_size)
    written = np.where(layout.writes < 0, -2 - layout.writes, layout.writes)
    assert sorted(plain.writes.tolist()) == sorted(written.tolist())
    assert not any(run.narrow for run in [*plain.decode, *plain.prefill])
    return layout


@settings(max_examples=60, deadline=None)
@given(
    page_size=st.sampled_from([4, 16, 64]),
    prompt=st.integers(1, 150),
    rows=st.integers(1, 8),
    whole=st.booleans(),
    again=st.integers(0, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_tokens_after_a_prompt_are_narrow(
    page_size: int, prompt: int, rows: int, whole: bool, again: int, seed: int
) -> None:
    """Rows that fork off each other, with drafts; a row that has its prompt among its own tokens; a text that is
    computed again, from a token of its prompt on."""
    random = Random(seed)
    pages = Pages(random, page_size, 4000)
    root = pages.text(prompt)
    prefix = root.array()
    stored = dict.fromkeys(prefix.tolist(), False)
    texts, chunks = [root], []
    for _ in range(rows):
        parent = random.choice(texts)
        text = parent.fork(random.randint(prompt, len(parent.slots))).grow(random.randint(1, 40))
        stored |= dict.fromkeys(text.slots[prompt:], True)
        text.grow(tokens := random.choice([1, 1, 5]))
        start = len(text.slots) - tokens
        if whole and random.random() < 0.5:
            chunks.append(Chunk(1, [7] * tokens, start, NOTHING, text.array(), [], prompt))
        else:
            chunks.append(Chunk(1, [7] * tokens, start, prefix, text.array(prompt), [], prompt))
        texts.append(text.fork(start))
    if again:
        before = random.randint(0, prompt)
        text = pages.text(prompt + again)
        stored |= dict.fromkeys(text.slots[:before], False)
        chunks.append(Chunk(2, [7] * (prompt + again - before), before, NOTHING, text.array(), [], prompt))
    chunks.append(Chunk(3, [7] * 20, 0, NOTHING, pages.text(20).array()))  # a prompt
    random.shuffle(chunks)
    check(Step(chunks), page_size, stored)


@pytest.mark.parametrize("seed", range(3))
def test_the_steps_of_a_scheduler(seed: int) -> None:
    """Late forks, drafts, several prompts, pages that are used again, prompts of the cache, texts computed again."""
    runner = ScriptedRunner(pages=110, page_size=4, vocabulary=60, spread=2)
    harness = Harness(runner, rows=16)
    prompts = [list(range(1, 30)), list(range(1, 23)) + [3] * 9]
    for solve in range(6):
        filters = (Filters(temperature=(0.2, 0.6)[solve % 2]),)
        asked = request(solve, prompts[solve % 2], k=10, new=60, seed=seed * 100 + solve, filters=filters)
        harness.scheduler.submit(asked)
    harness.run()
    stored: dict[int, bool] = {}
    layouts = [check(step, runner.page_size, stored) for step in runner.steps]
    decode = [run for layout in layouts for run in layout.decode]
    assert any(0 < run.narrow < len(run.tiles) for run in decode), "no row had its prompt among its own tokens"
    assert any(run.narrow for layout in layouts for run in layout.prefill), "no text was computed again"
