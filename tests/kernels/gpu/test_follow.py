"""Tokens of the next step's rows, out of draws that are still on the device."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.gpu.sampling import Asks, Sampler
from tests.support.codegen import Build, generate

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def asks(counts: list[int], random: np.random.Generator) -> Asks:
    """One ask for each row of logits; every third is greedy."""
    n = len(counts)
    return Asks(
        rows=np.arange(n, dtype=np.int32),
        temperature=np.where(np.arange(n) % 3 == 2, 0.0, 1.5),
        top_k=np.zeros(n, np.int32),
        top_p=np.ones(n),
        min_p=np.zeros(n),
        counts=np.array(counts, np.int32),
        numbers=random.random(sum(counts)),
    )


@settings(max_examples=12)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=9), seed=st.integers(0, 1000))
def test_what_follows_is_what_the_answers_say(counts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(len(counts), 700)).astype(np.float32)).to(DEVICE)
    sampler = Sampler(700, len(counts) + 2, sum(counts) + 3, DEVICE)
    sampler.load(asks(counts, random))
    sampler.run(logits)
    fetched = sampler.fetch()
    draws = [
        (int(ask), None if random.random() < 0.3 else int(random.integers(counts[ask])))
        for ask in random.permutation(len(counts))
    ]
    tokens = torch.full((3, len(draws) + 1), -7, dtype=torch.int64, device=DEVICE)
    places = torch.from_numpy(sampler.places(draws)).to(DEVICE)
    sampler.follow(places, tokens[1, : len(draws)])
    # Another step is loaded, drawn and fetched before the answers of this one are taken.
    sampler.load(asks(counts, random))
    sampler.run(logits.flip(1).contiguous())
    later = sampler.fetch()
    found, starts = fetched.answers(), np.cumsum(counts) - counts
    expected = [
        found.drawn.ids[starts[ask] + number] if number is not None else found.listed[ask].ids[found.greedy[ask]]
        for ask, number in draws
    ]
    assert tokens[1, : len(draws)].tolist() == expected
    assert (tokens[[0, 2]] == -7).all() and tokens[1, -1] == -7
    best = logits.flip(1).argmax(1).tolist()
    after = later.answers()
    assert [int(one.ids[greedy]) for one, greedy in zip(after.listed, after.greedy, strict=True)] == best


@pytest.mark.slow
def test_nothing_is_spilled() -> None:
    types = {"ids": "*i32", "heads": "*i32", "which": "*i64", "tokens": "*i64", "count": "i32"}
    (code,) = generate([Build("kernels.gpu.follow:follow_kernel", types, {"LISTED": 64, "BLOCK": 128})])
    assert code.stack == 0 and code.registers <= 40
