"""Tokens drawn with the core's numbers follow the model's distribution: chi-square tests against plain float64.

Each test also draws with a sampler that is a little wrong, which the same bound must refuse.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.plain_network import expected_logits
from support.tiny_gguf import weights, write_gguf

from engine.core.distribution import Distribution
from engine.core.randomness import uniforms
from engine.core.types import Ask, Chunk, Filters, Mask, Step
from engine.models.load import load_decoder
from engine.runner.cpu import CpuRunner
from engine.runner.sampler import distributions

VOCAB, DRAWS, SAMPLES = 4000, 120_000, 3000
LEAST = 1e-6
"""A right sampler is refused once in a million seeds, and the seed is fixed."""

Resolve = Callable[[Distribution, np.ndarray], np.ndarray]


def resolved(found: Distribution, numbers: np.ndarray) -> np.ndarray:
    """As the core draws; an announced number never falls into a gap."""
    index = found.find(numbers)
    assert (index >= 0).all()
    return found.ids[index]


def zipf(seed: int) -> np.ndarray:
    """Logits of a few probable tokens and a long tail, as a model's at a name or at a comment: [VOCAB] float32."""
    random = np.random.default_rng(seed)
    ranks = random.permutation(VOCAB) + 1
    return (-1.2 * np.log(ranks) + random.normal(0, 0.3, VOCAB)).astype(np.float32)


def expected(logits: np.ndarray, filters: Filters, allowed: np.ndarray | None) -> np.ndarray:
    """Probabilities [VOCAB] in float64, step by step over the whole vocabulary."""
    values = logits.astype(np.float64)
    if allowed is not None:
        outside = np.ones(len(values), bool)
        outside[allowed] = False
        values[outside] = -np.inf
    p = np.exp((values - values.max()) / filters.temperature)
    p /= p.sum()
    for kept in (
        lambda p: np.argsort(-p, kind="stable")[: filters.top_k] if filters.top_k else np.arange(len(p)),
        lambda p: np.argsort(-p, kind="stable")[: 1 + (np.sort(p)[::-1].cumsum() < filters.top_p).sum()],
        lambda p: np.flatnonzero(p >= filters.min_p * p.max()),
    ):
        left = np.zeros_like(p)
        left[kept(p)] = p[kept(p)]
        p = left / left.sum()
    return p


def drawn(
    logits: np.ndarray,
    filters: Filters,
    mask: Mask | None = None,
    *,
    samples: int = SAMPLES,
    resolve: Resolve = resolved,
) -> tuple[np.ndarray, list[Distribution]]:
    """Tokens of DRAWS samples at one position, those of one seed in one ask, and what they were drawn from."""
    numbers = [uniforms(seed, np.arange(samples), 7) for seed in range(DRAWS // samples)]
    asks = [Ask(0, filters, one, mask) for one in numbers]
    found = distributions(torch.from_numpy(logits)[None], [0] * len(asks), asks)
    tokens = [resolve(one, those) for one, those in zip(found, numbers, strict=True)]
    return np.concatenate(tokens), found


def likelihood(tokens: np.ndarray, p: np.ndarray) -> float:
    """The chance of counts so far from the expected ones; 0 if a token is there that cannot be drawn.

    Tokens of few expected counts are put together with their neighbours by id, so that the tail is looked at as well.
    """
    counts = np.bincount(tokens, minlength=len(p))
    if counts[p == 0].any():
        return 0.0
    wanted = p * len(tokens)
    likely = wanted >= 12
    tail = (np.cumsum(np.where(likely, 0, wanted)) // 12).astype(int)[~likely]
    found = np.concatenate([counts[likely], np.bincount(tail, counts[~likely])])
    hoped = np.concatenate([wanted[likely], np.bincount(tail, wanted[~likely])])
    used = hoped > 0
    statistic = ((found[used] - hoped[used]) ** 2 / hoped[used]).sum()
    freedom = int(used.sum()) - 1
    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1])) if freedom else 1.0


FILTERS = [
    Filters(temperature=1.0),
    Filters(temperature=1.4),
    Filters(temperature=0.6, top_p=0.95),
    Filters(temperature=0.9, top_k=40),
    Filters(temperature=1.0, min_p=0.02),
    Filters(temperature=1.2, top_k=1500, top_p=0.9, min_p=1e-4),
]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("masked", [False, True])
def test_draws_follow_the_filtered_distribution(filters: Filters, masked: bool) -> None:
    logits, allowed, mask = zipf(1), None, None
    if masked:
        allowed = np.sort(np.random.default_rng(2).choice(VOCAB, 900, replace=False))
        mask = np.packbits(np.isin(np.arange(VOCAB), allowed), bitorder="little").view(np.uint32)
    p = expected(logits, filters, allowed)
    tokens, _ = drawn(logits, filters, mask)
    assert likelihood(tokens, p) > LEAST
    warmer = Filters(
        temperature=filters.temperature * 1.06, top_k=filters.top_k, top_p=filters.top_p, min_p=filters.min_p
    )
    assert likelihood(drawn(logits, warmer, mask)[0], p) < LEAST, "a temperature that is 6 % off is seen"
    if masked:
        after, _ = drawn(logits, filters)
        after = after[np.isin(after, allowed)]
        if filters.top_k or filters.top_p < 1 or filters.min_p:
            assert likelihood(after, p) < LEAST, "a mask that comes after the filters is seen"


def test_draws_from_gaps_find_their_tokens() -> None:
    """Most of this distribution is not kept; what the numbers lead to is, and is drawn as often as it should be."""
    logits, filters = zipf(3), Filters(temperature=1.4)
    p = expected(logits, filters, None)
    tokens, found = drawn(logits, filters, samples=200)
    assert all(one.missing > 0.1 for one in found)
    assert likelihood(tokens, p) > LEAST

    def into_the_next(one: Distribution, numbers: np.ndarray) -> np.ndarray:
        """A gap is given to the token after it, as if numbers had not been announced."""
        probable = one.high - one.low >= 1e-4
        place = np.searchsorted(one.high[probable], numbers, side="right")
        return one.ids[probable][np.minimum(place, probable.sum() - 1)]

    assert likelihood(drawn(logits, filters, samples=200, resolve=into_the_next)[0], p) < LEAST


def test_numbers_that_are_used_twice_are_seen() -> None:
    logits, filters = zipf(4), Filters(temperature=0.8)
    p = expected(logits, filters, None)
    assert likelihood(drawn(logits, filters)[0], p) > LEAST

    def in_pairs(one: Distribution, numbers: np.ndarray) -> np.ndarray:
        return np.repeat(resolved(one, numbers)[::2], 2)

    assert likelihood(drawn(logits, filters, resolve=in_pairs)[0], p) < LEAST


def test_draws_after_a_prompt_follow_the_network(tmp_path: Path) -> None:
    """From the file to the tokens: runner and sampler against the network written plainly in float64."""
    tensors, prompt = weights("qwen2", tied=False), [3, 200, 17, 17, 260, 0, 99, 41]
    decoder = load_decoder(write_gguf(tmp_path / "tiny.gguf", "qwen2", tensors=tensors), arithmetic="float32")
    runner = CpuRunner(decoder, kv_bytes=1 << 20)
    slots = np.arange(len(prompt), dtype=np.int32)
    numbers = uniforms(5, np.arange(DRAWS), 0)
    for token in (2, len(prompt) - 1):
        for filters in (Filters(temperature=1.0), Filters(temperature=0.7, top_p=0.9)):
            asks = [Ask(token, filters, numbers)]
            ((found,),) = runner.run(Step([Chunk(0, prompt, 0, slots[:0], slots, asks)]))
            p = expected(expected_logits(tensors, prompt)[token], filters, None)
            tokens = resolved(found, numbers)
            assert likelihood(tokens, p) > LEAST
            before = expected(expected_logits(tensors, prompt)[token - 1], filters, None)
            assert likelihood(tokens, before) < LEAST, "the answer for another token is seen"
