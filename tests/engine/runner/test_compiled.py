"""The compiled runner in each arithmetic: its steps against the plain decoder, its rows alone and among others."""

from random import Random

import numpy as np
import pytest
import torch
from support.random_decoders import config, packed_as, random_decoder

from engine.core.types import Ask, Chunk, Filters, Slots, Step
from engine.models.decoder import Decoder
from engine.runner.choice import runner_for
from engine.runner.compiled import CompiledRunner
from engine.runner.cpu import CpuRunner
from engine.runner.smoothing import smooth
from kernels.cpu.launch import has_vnni

FILTERS = Filters(temperature=1.0, top_k=30)
NOTHING: Slots = np.empty(0, np.int32)


needs_bytes = pytest.mark.skipif(not has_vnni(), reason="this processor has no AVX512_VNNI")
ARITHMETICS = [pytest.param("int8", marks=needs_bytes), "bfloat16", "float32"]


def chunk(tokens: list[int], start: int, prefix: Slots, suffix: Slots) -> Chunk:
    return Chunk(0, tokens, start, prefix, suffix, [Ask(len(tokens) - 1, FILTERS, np.array([0.5]))])


def slots(pages: list[int], count: int, page: int = 16) -> Slots:
    return np.concatenate([np.arange(p * page, (p + 1) * page, dtype=np.int32) for p in pages])[:count]


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("qk_norm", "head_dim"), [(False, 64), (True, 64), (False, 128)])
def test_steps_are_those_of_the_plain_decoder(qk_norm: bool, head_dim: int, arithmetic: str) -> None:
    """Prefill in pieces, then rows that share the prompt: as the same weights in torch, up to the type of the keys."""
    decoder = packed_as(arithmetic, random_decoder(config(qk_norm=qk_norm, head_dim=head_dim)))
    fast = runner_for(decoder, kv_bytes=1 << 22, page_size=16)
    assert isinstance(fast, CompiledRunner)
    plain = CpuRunner(decoder, kv_bytes=1 << 22)
    tokens = torch.randint(0, 500, (40,)).tolist()
    prompt = slots([3, 9, 1], 37)
    steps = [
        Step([chunk(tokens[:20], 0, NOTHING, prompt[:20])]),
        Step([chunk(tokens[20:37], 20, NOTHING, prompt)]),
        Step([chunk([tokens[37]], 37, prompt, slots([n + 10], 1)) for n in range(9)]),
        Step([chunk([tokens[38 + n % 2]], 38, prompt, slots([n + 10], 2)) for n in range(9)]),
    ]
    for step in steps:
        for (found,), (expected,) in zip(fast.run(step), plain.run(step), strict=True):
            common, mine, theirs = np.intersect1d(found.ids, expected.ids, return_indices=True)
            assert len(common) >= 26
            bound = 1e-4 if arithmetic == "float32" else 0.08
            np.testing.assert_allclose(found.logprobs[mine], expected.logprobs[theirs], atol=bound)


def scattered(random: Random, free: list[int], start: int, count: int) -> Slots:
    """Slots of positions `start` and up as forks leave them: now and then a fresh page in the middle of one."""
    found: list[int] = []
    page = free.pop()
    for position in range(start, start + count):
        if position % 16 == 0 or random.random() < 0.1:
            page = free.pop()
        found.append(page * 16 + position % 16)
    return np.array(found, np.int32)


def told(runner: CompiledRunner, random: Random, tokens: list[int], prompt: int, mates: int) -> list[bytes]:
    """What the rows after a prompt say, computed in pieces and places of chance, among `mates` others."""
    free = list(range(runner.pages))
    random.shuffle(free)
    # Pages are used again: what an earlier owner left in them must not count.
    runner.run(Step([chunk([n % 500 for n in range(250)], 0, NOTHING, scattered(random, free, 0, 250))]))
    free = list(range(runner.pages))
    random.shuffle(free)
    path = scattered(random, free, 0, len(tokens))
    at = 0
    while at < prompt:
        count = min(random.randint(1, 70), prompt - at)
        runner.run(Step([chunk(tokens[at : at + count], at, NOTHING, path[: at + count])]))
        at += count
    others = [scattered(random, free, prompt, len(tokens) - prompt) for _ in range(mates)]
    answers: list[bytes] = []
    for at in range(prompt, len(tokens)):
        shared = random.random() < 0.7
        prefix = path[:prompt] if shared else NOTHING
        row = chunk(tokens[at : at + 1], at, prefix, path[len(prefix) : at + 1])
        rows = [chunk([n % 500], at, path[:prompt], other[: at + 1 - prompt]) for n, other in enumerate(others)]
        place = random.randint(0, mates)
        (found,) = runner.run(Step([*rows[:place], row, *rows[place:]]))[place]
        answers.append(found.ids.tobytes() + found.high.tobytes() + found.logprobs.tobytes())
    return answers


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("head_dim", [64, 128])
def test_a_row_depends_on_its_path_alone(head_dim: int, arithmetic: str) -> None:
    """Not on the batch, the pieces its prompt came in, the pages, the forks or on who shares them: bit for bit."""
    runner = CompiledRunner(packed_as(arithmetic, random_decoder(config(head_dim=head_dim))), kv_bytes=1 << 25)
    assert runner.deterministic
    tokens = torch.randint(0, 500, (150,), generator=torch.Generator().manual_seed(5)).tolist()
    for prompt in (20, 64, 101):
        expected = told(runner, Random(0), tokens, prompt, 0)
        for seed, mates in ((1, 0), (2, 1), (3, 8), (4, 19)):
            assert told(runner, Random(seed), tokens, prompt, mates) == expected


def test_smoothing_changes_nothing_in_float() -> None:
    decoder = random_decoder(config())
    tokens, positions = torch.arange(30), torch.arange(30)

    def attend(_: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out[0].transpose(0, 1).flatten(1)

    before = decoder.logits(decoder.hidden(tokens, positions, attend))
    with torch.inference_mode():
        smoothed = Decoder(decoder.config, smooth(decoder, list(range(100, 130))), torch.float32)
        after = smoothed.logits(smoothed.hidden(tokens, positions, attend))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_heads_of_another_length_run_in_torch() -> None:
    decoder = packed_as("float32", random_decoder(config(head_dim=32)))
    assert isinstance(runner_for(decoder, kv_bytes=1 << 22, page_size=16), CpuRunner)
    with pytest.raises(ValueError, match="64 or 128"):
        CompiledRunner(decoder, kv_bytes=1 << 22)


def test_a_pool_without_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_bytes"):
        CompiledRunner(packed_as("float32", random_decoder(config())), kv_bytes=100)
