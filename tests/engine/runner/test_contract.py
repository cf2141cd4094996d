"""All runners keep one contract; see support.runner_contract."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.core_harness import Harness, request
from support.random_decoders import config, for_device, packed_as, random_decoder
from support.runner_contract import NOTHING, Checked, asked, hand_made_steps, masks_and_filters, steps_ahead

from engine.core.types import Chunk, EndReason, Filters, Mode, Runner, SolveEnded, Step
from engine.models.decoder import Decoder
from engine.runner.compiled import CompiledRunner
from engine.runner.cpu import CpuRunner
from engine.runner.cuda import CudaRunner

POOL = 1 << 21

Make = Callable[[Decoder, int], Runner]
MAKERS: dict[str, Make] = {
    "cpu": lambda decoder, pool: CpuRunner(decoder, kv_bytes=pool),
    "compiled": lambda decoder, pool: CompiledRunner(packed_as("float32", decoder), kv_bytes=pool),
    "cuda, pages of 16": lambda decoder, pool: CudaRunner(for_device(decoder), kv_bytes=pool, page_size=16, rows=12),
    "cuda, pages of 64": lambda decoder, pool: CudaRunner(for_device(decoder), kv_bytes=4 * pool, rows=12),
    "cuda, narrow, pages of 16": lambda decoder, pool: CudaRunner(
        for_device(decoder), kv_bytes=pool, page_size=16, rows=12, narrow_suffix=True
    ),
    "cuda, narrow, pages of 64": lambda decoder, pool: CudaRunner(
        for_device(decoder), kv_bytes=4 * pool, rows=12, narrow_suffix=True
    ),
}
runners = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture(params=[(False, 64), (True, 128)], ids=["heads of 64", "normed heads of 128"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    qk_norm, head_dim = request.param
    return random_decoder(config(qk_norm=qk_norm, head_dim=head_dim))


@runners
def test_hand_made_steps(make: Make, decoder: Decoder) -> None:
    hand_made_steps(Checked(make(decoder, POOL), decoder))


@runners
def test_masks_and_filters(make: Make, decoder: Decoder) -> None:
    masks_and_filters(Checked(make(decoder, POOL), decoder))


def test_a_mask_that_leaves_nothing_is_refused() -> None:
    runner = MAKERS["cuda, pages of 16"](random_decoder(config()), POOL)
    step = Step([Chunk(1, [1], 0, NOTHING, np.array([3], np.int32), [asked(0, mask=np.zeros(16, np.uint32))])])
    with pytest.raises(ValueError, match="mask: it leaves no token"):
        runner.run(step)


@runners
def test_steps_of_a_scheduler(make: Make) -> None:
    """Solves of every mode: forks, late forks, drafts, a prompt out of the cache, pages that are used again."""
    decoder = random_decoder(replace(config(), vocab=64))
    # So sure of itself that samples go together for a while.
    head = decoder.weights.head
    head.weight *= 7  # type: ignore[attr-defined]
    runner = Checked(make(decoder, POOL // 2), decoder)
    harness = Harness(runner, rows=10)  # type: ignore[arg-type]
    prompt = [5, 6, 7, 8] * 10 + list(range(1, 9))
    for solve, mode in enumerate((Mode.INDEPENDENT, Mode.DISTINCT, Mode.BEAM, Mode.INDEPENDENT)):
        ours = prompt if runner.page_size == 16 else prompt * 3
        filters = (Filters(temperature=1.0, top_p=0.9 if mode is Mode.INDEPENDENT else 1.0),)
        harness.scheduler.submit(request(solve, ours, k=4, new=8, mode=mode, filters=filters))
        if solve % 2:
            harness.run()
    assert {harness.ended(solve).reason for solve in range(4)} == {EndReason.COMPLETE}
    counts = [event.counts for event in harness.events if isinstance(event, SolveEnded)]
    assert sum(one.cached_tokens for one in counts) > 0 and sum(one.drafted_tokens for one in counts) > 0


@pytest.mark.parametrize("name", [name for name in MAKERS if name.startswith("cuda")])
def test_steps_ahead(name: str) -> None:
    decoder = random_decoder(replace(config(), vocab=64))
    # In so small a vocabulary samples go together for a while, and a text may end anywhere.
    assert steps_ahead(Checked(MAKERS[name](decoder, POOL), decoder)).void > 0


def test_a_pool_without_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kv_bytes: 100 holds no page of 64 tokens"):
        CudaRunner(for_device(random_decoder(config())), kv_bytes=100)
    with pytest.raises(ValueError, match="kv_bytes"):
        CudaRunner(for_device(random_decoder(config())))
