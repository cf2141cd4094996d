"""What every runner owes the scheduler, as calls that a test makes with a runner of its own.

Each distribution that a step asks for is the one that a plain transformer in float32 gives after the tokens on the
path, whatever else is in the step and wherever the path lies in the pool. Of a runner that stores drawn tokens in 8
bits it is the one that the plain transformer gives over what is stored.
"""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import torch
from support.core_harness import Harness, request
from support.dense_attention import DenseSequence, Stored
from support.following import Following
from support.page_tree import Pages, Text
from torch import Tensor

from engine.core.ahead import AheadRunner
from engine.core.distribution import Distribution
from engine.core.types import Ask, Chunk, Filters, Mask, Runner, Slots, Step
from engine.models.decoder import Decoder
from engine.runner.cuda import CudaRunner
from engine.runner.sorting import distribution

NOTHING: Slots = np.empty(0, np.int32)
_KEPT = 48
"""Of the most probable tokens every runner keeps so many; more, and less probable ones, where it likes to."""


class Checked:
    """A runner each of whose answers is compared with the plain transformer's; it knows what the pool must hold."""

    def __init__(self, runner: Runner, decoder: Decoder) -> None:
        self.page_size = runner.page_size
        self.pages = runner.pages
        self.steps: list[Step] = []
        self._runner = runner
        self._decoder = decoder
        self._pools = NarrowPools(runner) if isinstance(runner, CudaRunner) and runner.narrow_suffix else None
        self._held: dict[int, int] = {}
        self._known: dict[tuple[int, ...], np.ndarray] = {}
        self._following = Following()

    def run(self, step: Step) -> list[list[Distribution]]:
        self.steps.append(step)
        return self._compared(step, self._runner.run(step))

    def submit(self, step: Step) -> object:
        assert isinstance(self._runner, AheadRunner)
        self.steps.append(step)
        return step, self._runner.submit(step)

    def collect(self, flight: Any) -> list[list[Distribution]]:
        assert isinstance(self._runner, AheadRunner)
        step, inner = flight
        self._following.fill(step)
        return self._compared(step, self._runner.collect(inner))

    def _compared(self, step: Step, found: list[list[Distribution]]) -> list[list[Distribution]]:
        self._following.note(step, found)
        assert [len(part) for part in found] == [len(chunk.asks) for chunk in step.chunks]
        paths = [np.concatenate([chunk.prefix, chunk.suffix]).tolist() for chunk in step.chunks]
        for chunk, path in zip(step.chunks, paths, strict=True):
            self._held.update(zip(path[chunk.start :], chunk.tokens, strict=True))
        for chunk, path, part in zip(step.chunks, paths, found, strict=True):
            logits = self._logits(path, chunk) if chunk.asks else np.empty(0)
            for ask, one in zip(chunk.asks, part, strict=True):
                compare(one, logits[chunk.start + ask.token], ask)
        return found

    def _logits(self, path: list[int], chunk: Chunk) -> np.ndarray:
        tokens = [self._held[slot] for slot in path]
        if self._pools is not None and chunk.prompt is not None:
            stored = self._pools.stored(path, chunk.prompt)
            return DenseSequence(self._decoder, len(tokens), stored).extend(tokens).numpy()
        key = tuple(tokens)
        if key not in self._known:
            self._known[key] = DenseSequence(self._decoder, len(tokens)).extend(tokens).numpy()
        return self._known[key]


class NarrowPools:
    """The pools of a runner that stores drawn tokens in 8 bits.

    Two ways to compute one key agree to float32's rounding, and where that lies at the edge of two integers they store
    different ones. So what a runner has stored is held to half a scale of what the plain transformer makes, and the
    plain transformer goes on with it.
    """

    def __init__(self, runner: CudaRunner) -> None:
        self._codes = runner._keys.view(torch.int8)
        self._scales = runner._scales
        self._page_size = runner.page_size

    def stored(self, path: list[int], prompt: int) -> Stored:
        """What attention reads of the tokens on a path."""
        slots = torch.tensor(path[prompt:], dtype=torch.int64)
        pages, offsets = slots // self._page_size, slots % self._page_size

        def read(layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            dim = k.shape[2]
            found: list[Tensor] = []
            for number, made in enumerate((k, v)):
                codes = self._codes[layer][pages, :, offsets, number * dim : (number + 1) * dim].float()
                kept = codes * self._scales[layer][pages, :, number, offsets][..., None]
                largest = made[prompt:].abs().amax(dim=-1, keepdim=True)
                assert ((kept - made[prompt:]).abs() <= largest * (0.5 / 127 + 1e-4)).all()
                found.append(torch.cat([made[:prompt], kept]))
            return found[0], found[1]

        return read


def compare(found: Distribution, logits: np.ndarray, ask: Ask) -> None:
    """A runner's distribution with the one of these logits."""
    expected = distribution(logits, replace(ask, whole=True))
    assert found.ids[found.greedy] == expected.ids[expected.greedy]
    assert (np.diff(found.ids) > 0).all() and found.ids.dtype == np.int32
    common, mine, theirs = np.intersect1d(found.ids, expected.ids, return_indices=True)
    # A token at the edge of a filter may fall on its other side.
    assert len(common) >= len(found.ids) - 1
    np.testing.assert_allclose(found.logprobs[mine], expected.logprobs[theirs], atol=2e-3)
    chances = expected.high - expected.low
    np.testing.assert_allclose((found.high - found.low)[mine], chances[theirs], atol=1e-3)
    probable = np.argsort(-chances)[: None if ask.whole else _KEPT]
    wanted = expected.ids[probable[chances[probable] > (1e-9 if ask.whole else 1e-3)]]
    at_edge = ask.filters.top_p < 1 or ask.filters.min_p > 0
    assert len(set(wanted.tolist()) - set(found.ids.tolist())) <= at_edge
    for number in ask.numbers.tolist():
        near = expected.ids[expected.find(np.clip([number - 1e-3, number + 1e-3], 0, 1 - 2**-53))]
        (index,) = found.find(np.array([number]))
        assert index >= 0, "an announced number falls into a gap"
        assert near[0] != near[1] or found.ids[index] == near[0]


def asked(token: int, seed: int = 0, *, mask: Mask | None = None, whole: bool = False, **filters: float) -> Ask:
    given = Filters(**{"temperature": 1.0, **filters})  # type: ignore[arg-type]
    return Ask(token, given, np.random.default_rng(seed).random(5), mask, whole)


def last(text: Text, prompt: Text | None, tokens: list[int], prefix: Slots, *asks: Ask) -> Chunk:
    """The last tokens of a text; without a prompt in `prefix`, all but those are its prompt."""
    start = len(text.slots) - len(tokens)
    first, end = (0, start) if prompt is None else (len(prompt.slots), len(prompt.slots))
    return Chunk(1, tokens, start, prefix, text.array(first), list(asks), end)


def hand_made_steps(runner: Checked) -> None:
    """A prompt in pieces, rows that share it, forks at every place, drafts, and prompts computed beside all of them."""
    random = Random(3)
    pages = Pages(random, runner.page_size, runner.pages)
    drawn = torch.randint(0, 500, (400,), generator=torch.Generator().manual_seed(1)).tolist()

    def token(count: int = 1) -> list[int]:
        return [drawn.pop() for _ in range(count)]

    prompt = pages.text(20)
    runner.run(Step([Chunk(1, token(20), 0, NOTHING, prompt.array())]))
    prompt.grow(23)
    pieces = [asked(22), asked(22, 1, temperature=0.0), asked(3, top_k=7)]
    runner.run(Step([Chunk(1, token(23), 20, NOTHING, prompt.array(), pieces)]))
    prefix = prompt.array()
    texts = [prompt.fork(43).grow(1) for _ in range(9)]
    runner.run(Step([last(text, prompt, token(), prefix, asked(0, n)) for n, text in enumerate(texts)]))
    # One text alone goes on, and others fork off it late: at its end, in the middle of a page, at a page's beginning.
    long = texts[0]
    for _ in range(2):
        long.grow(13)
        runner.run(Step([last(long, prompt, token(13), prefix, asked(12), asked(0, whole=True))]))
    forks = [long.fork(at).grow(1) for at in (70, 70, 70, 64, 64, 66, 50, 44)]
    other = pages.text(21)
    runner.run(
        Step(
            [
                *(last(fork, prompt, token(), prefix, asked(0, n, top_p=0.7)) for n, fork in enumerate(forks)),
                Chunk(2, token(21), 0, NOTHING, other.array(), [asked(20, min_p=0.1)]),
                *(last(text.grow(1), prompt, token(), prefix, asked(0)) for text in texts[1:3]),
            ]
        )
    )
    # Drafts: rows of several tokens, asked about at each, beside rows of one; more rows than any graph was made for.
    rows = [last(fork.grow(4), prompt, token(4), prefix, *(asked(n, n) for n in range(4))) for fork in forks[:4]]
    rows += [last(fork.grow(1), prompt, token(), prefix, asked(0)) for fork in forks[4:]]
    random.shuffle(rows)
    runner.run(Step(rows))
    # A row whose path is all its own, as of a text that leaves out a part of the prompt, and a text that is computed
    # again behind its prompt.
    whole = other.fork(10).grow(1)
    again = Chunk(1, token(30), 43, NOTHING, prompt.fork(43).grow(30).array(), [asked(29)], 43)
    row = last(forks[0].grow(1), prompt, token(), prefix, asked(0))
    runner.run(Step([last(whole, None, token(), NOTHING, asked(0)), row, again]))
    go_on = last(whole.grow(1), None, token(), NOTHING, asked(0))
    go_on.prompt = 10
    runner.run(Step([go_on]))


def masks_and_filters(runner: Checked) -> None:
    """Allowed tokens, greedy and filtered draws, several asks about one token."""
    pages = Pages(Random(1), runner.page_size, runner.pages)
    prompt = pages.text(18)
    few = np.zeros(16, np.uint32)
    few[[0, 3]] = 0b101, 0xFFFFFFFF
    one = np.zeros(16, np.uint32)
    one[15] = 1 << 7
    asks = [
        asked(17, mask=few),
        asked(17, mask=one),
        asked(17, mask=few, temperature=0.0),
        asked(17, mask=few, top_k=3, whole=True),
        asked(17, mask=few, top_p=0.5),
        asked(17, temperature=0.0),
        asked(17, temperature=0.3, top_k=40, top_p=0.9, min_p=0.01),
        asked(17, temperature=2.0, whole=True),
        asked(17),
    ]
    runner.run(Step([Chunk(1, list(range(18)), 0, NOTHING, prompt.array(), asks)]))
    row = prompt.fork(18).grow(1)
    asks = [replace(ask, token=0) for ask in asks]
    runner.run(Step([last(row, prompt, [9], prompt.array(), *asks)]))


def steps_ahead(runner: Checked, new: int = 14) -> Harness:
    """Steps submitted before the one before them is collected draw what steps one after the other draw.

    `new`: tokens of a sample.
    """
    harness = Harness(runner, ahead=True, rows=8)  # type: ignore[arg-type]
    filters = (Filters(temperature=1.0), Filters(temperature=1.5, top_p=0.9))
    asked = [
        request(0, list(range(30, 50)), k=6, new=new, filters=filters, greedy_first=True),
        request(1, list(range(40, 50)), k=3, new=new - 4, filters=(Filters(temperature=0.0),)),
    ]
    for one in asked:
        harness.scheduler.submit(one)
        harness.run()
    assert harness.planned_ahead >= new - 4
    together = Harness(runner, rows=8)  # type: ignore[arg-type]
    for one in asked:
        together.scheduler.submit(replace(one, solve=one.solve + 2))
    together.run()
    for one in asked:
        assert harness.texts(one.solve) == together.texts(one.solve + 2)
    return harness
