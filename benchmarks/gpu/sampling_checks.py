"""Draws on the device against full sorting in float64, bit-equality of numbers and across batches, graphs."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.gpu.errors import require
from benchmarks.gpu.problems import HALF, TINY
from benchmarks.gpu.sampling_times import FILTERS, asks_of, logits_like
from benchmarks.gpu.session import Session
from engine.core.randomness import uniforms
from kernels.gpu.sampling import Answers, Asks, Sampler
from kernels.reference_sampling import distribution, draws

_ATOL = 4e-6
"""What exponentials in float32, approximated as the device does, may move an interval's end by."""

_MORE = {
    "top-k 3": (0.5, 3, 1.0, 0.0),
    "top-k 5,000, top-p 0.99": (1.5, 5000, 0.99, 0.0),
    "min-p 1e-7": (1.0, 0, 1.0, 1e-7),
    "temperature 30": (30.0, 0, 1.0, 0.0),
}


def run(session: Session) -> None:
    """Filters over a whole vocabulary, masks, ties, and what must not change a bit."""
    vocab = TINY.vocab if session.dry else HALF.vocab
    filters = {**FILTERS, **_MORE}
    for name in ["top-p 0.95", "top-k 3"] if session.dry else filters:
        for dtype in [session.dtype] if session.dry else [torch.bfloat16, torch.float32]:
            for masked in (False, True):
                about: dict[str, Any] = {"filters": name, "type": str(dtype), "masked": masked, "vocab": vocab}
                session.case("sampling", about, partial(_sorted, session, vocab, filters[name], dtype, masked))
    session.case("sampling", {"what": "numbers bit by bit"}, partial(_numbers, session, vocab))
    session.case("sampling", {"what": "the same in any batch"}, partial(_batches, session, vocab))
    session.case("sampling", {"what": "equal logits"}, partial(_equal, session, vocab))
    if not session.dry:
        session.case("sampling", {"what": "replayed for other asks"}, partial(_replayed, session, vocab))


def _answers(sampler: Sampler, asks: Asks, logits: torch.Tensor) -> Answers:
    sampler.load(asks)
    sampler.run(logits)
    return sampler.fetch().answers()


def _sorted(
    session: Session, vocab: int, filters: tuple[float, int, float, float], dtype: torch.dtype, masked: bool
) -> dict[str, Any]:
    rows, each = (2, 3) if session.dry else (6, 40)
    logits = logits_like(rows, vocab, session.device, 3).to(dtype)
    asks = asks_of(rows, each, filters)
    random = np.random.default_rng(5)
    allowed = random.random(vocab) < 0.3
    if masked:
        bits = np.packbits(allowed, bitorder="little")
        asks.masks = np.pad(bits, (0, -len(bits) % 4)).view(np.uint32)[None]
        asks.mask_of = np.where(np.arange(rows) % 2 == 0, 0, -1).astype(np.int32)
    sampler = Sampler(vocab, rows, rows * each, session.device, max_masks=1)
    found = _answers(sampler, asks, logits)
    worst = 0.0
    for row in range(rows):
        mask = allowed if masked and row % 2 == 0 else None
        p, logprobs = distribution(logits[row].double().cpu().numpy(), *filters, allowed=mask)
        worst = max(worst, _compare(found, row, each, asks, p, logprobs, filters))
    return {"interval_error": worst}


def _compare(
    found: Answers,
    row: int,
    each: int,
    asks: Asks,
    p: npt.NDArray[np.float64],
    logprobs: npt.NDArray[np.float64],
    filters: tuple[float, int, float, float],
) -> float:
    high = np.cumsum(p)
    low = high - p
    part = slice(row * each, (row + 1) * each)
    ids, listed = found.drawn.ids[part], found.listed[row]
    require(bool((ids >= 0).all()), "a number drew nothing")
    numbers = np.asarray(asks.numbers)[part]
    inside = (found.drawn.low[part] <= numbers) & (numbers < found.drawn.high[part])
    require(bool(inside.all()), "a number is not in its token's interval")
    # Where a nucleus ends between two tokens, rounding decides about one of them.
    slack = _ATOL + (p[p > 0].min() if filters[2] < 1 and filters[0] > 0 else 0.0)
    errors = [
        np.abs(found.drawn.low[part] - low[ids]).max(),
        np.abs(found.drawn.high[part] - high[ids]).max(),
        np.abs(listed.low - low[listed.ids]).max(),
        np.abs(listed.high - high[listed.ids]).max(),
    ]
    require(max(errors) <= slack, f"an interval is off by {max(errors):.3g}")
    for tokens, values in ((ids, found.drawn.logprobs[part]), (listed.ids, listed.logprobs)):
        off = float(np.abs(values - logprobs[tokens]).max())
        require(off <= 2e-5, f"a log-probability is off by {off:.3g}")
    near = np.abs(high[None, :] - numbers[:, None]).min(axis=1) <= slack
    require(bool(((ids == draws(p, numbers)) | near).all()), "a number drew another token than by definition")
    require(int(listed.ids[found.greedy[row]]) == int(p.argmax()), "the greedy token is another")
    return float(max(errors))


def _numbers(session: Session, vocab: int) -> dict[str, Any]:
    random = np.random.default_rng(2)
    count = 30 if session.dry else 5000
    asks = asks_of(2, count // 2, FILTERS["temperature 0.8"])
    seeds = random.integers(0, 2**64, count, np.uint64)
    samples, positions = random.integers(0, 2**32, (2, count)).astype(np.uint32)
    asks.seeds, asks.samples, asks.positions, asks.numbers = seeds, samples, positions, None
    logits = logits_like(2, vocab, session.device, 1)
    keyed = _answers(Sampler(vocab, 2, count, session.device), asks, logits)
    asks.numbers = uniforms(seeds, samples, positions)
    given = _answers(Sampler(vocab, 2, count, session.device), asks, logits)
    # The numbers themselves stay on the device; intervals that hold the host's number for every draw tell the same.
    require(np.array_equal(keyed.drawn.ids, given.drawn.ids), "numbers made on the device draw other tokens")
    inside = (keyed.drawn.low <= asks.numbers) & (asks.numbers < keyed.drawn.high)
    require(bool(inside.all()), "a number of the host's is not in the interval of the device's draw")
    return {"numbers": count}


def _batches(session: Session, vocab: int) -> dict[str, Any]:
    rows = 3 if session.dry else 64
    logits = logits_like(rows, vocab, session.device, 9).to(session.dtype)
    asks = asks_of(rows, 2, FILTERS["top-p 0.95"])
    together = _answers(Sampler(vocab, rows, 2 * rows, session.device), asks, logits)
    sampler = Sampler(vocab, 2, 4, session.device)
    for row in range(rows):
        one = asks_of(2, 2, FILTERS["top-p 0.95"])
        one.rows = np.array([rows - 1 - row, row], np.int32)
        one.numbers = np.asarray(asks.numbers)[[0, 1, 2 * row, 2 * row + 1]]
        alone = _answers(sampler, one, logits)
        for name in ("ids", "low", "high", "logprobs"):
            same = np.array_equal(getattr(alone.listed[1], name), getattr(together.listed[row], name))
            drawn = getattr(together.drawn, name)[2 * row : 2 * row + 2]
            require(same and np.array_equal(getattr(alone.drawn, name)[2:], drawn), f"row {row}: {name} differ")
    return {"rows": rows}


def _equal(session: Session, vocab: int) -> dict[str, Any]:
    logits = torch.full((1, vocab), 3.5, device=session.device)
    numbers = np.array([0.0, 0.25, np.nextafter(1, 0)])
    for filters, left in (((1.0, 0, 1.0, 0.0), vocab), ((1.0, 1000, 1.0, 0.0), 1000)):
        asks = asks_of(1, 3, filters)
        asks.numbers = numbers
        found = _answers(Sampler(vocab, 1, 3, session.device), asks, logits)
        wanted = [0, left // 4, left - 1]
        require(found.drawn.ids.tolist() == wanted, f"drew {found.drawn.ids.tolist()}, not {wanted}")
    return {}


def _replayed(session: Session, vocab: int) -> dict[str, Any]:
    """A graph captured for one set of asks answers others, fewer of them too, as direct launches do."""
    sampler = Sampler(vocab, 8, 16, session.device)
    plain = Sampler(vocab, 8, 16, session.device)
    logits = logits_like(8, vocab, session.device, 4).to(session.dtype)
    sampler.load(asks_of(8, 2, FILTERS["top-p 0.95"]))
    sampler.run(logits, room=8)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sampler.run(logits, room=8)
    for rows, name in ((8, "top-k 50, min-p 0.05"), (3, "temperature 0.8"), (5, "greedy")):
        asks = asks_of(rows, 2, FILTERS[name])
        sampler.load(asks)
        graph.replay()
        found, wanted = sampler.fetch().answers(), _answers(plain, asks, logits)
        require(np.array_equal(found.drawn.ids, wanted.drawn.ids), f"{name}: other tokens")
        require(np.array_equal(found.drawn.low, wanted.drawn.low), f"{name}: other intervals")
    return {}
