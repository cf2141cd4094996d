"""Times on the device: medians over replays of a graph, and the two ceilings that every figure is held against."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.session import Session

_REPLAYS = 25
_GRAPH_SECONDS = 3e-3
"""A replay lasts so long at least, so that the events around it do not count."""
_MOST_CALLS = 400

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: the median over replays, the least and the most; whether they were a graph's."""

    median: float
    least: float
    most: float
    graph: bool

    def row(self, name: str = "us") -> dict[str, Any]:
        """For a case's row, in microseconds."""
        spread = {f"{name}_least": round(1e6 * self.least, 2), f"{name}_most": round(1e6 * self.most, 2)}
        return {name: round(1e6 * self.median, 2), **spread} | ({} if self.graph else {f"{name}_graph": False})


def measure(session: Session, calls: Sequence[Call], *, peer: bool = False) -> Timing:
    """Time the calls one after the other, over and over.

    They are one piece of work on several sets of buffers: together larger than the second-level cache, so that none
    finds its data there. A peer whose calls cannot be captured in a graph is timed with its launches by the host.
    """
    if session.dry:
        began = time.perf_counter()
        for call in calls:
            call()
        seconds = (time.perf_counter() - began) / len(calls)
        return Timing(seconds, seconds, seconds, False)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            for call in calls:
                call()
    stream.synchronize()
    once = _spanned(calls[0])
    rounds = max(1, min(_MOST_CALLS, round(_GRAPH_SECONDS / max(once, 1e-6))) // len(calls))
    replay: Call | None = None
    try:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, stream=stream):
            for _ in range(rounds):
                for call in calls:
                    call()
        replay = captured.replay
    except RuntimeError:
        if not peer:
            raise
        torch.cuda.synchronize()
    captured_all = replay is not None

    def eagerly() -> None:
        for _ in range(rounds):
            for call in calls:
                call()

    replay = replay or eagerly
    replay()
    spans = [_spanned(replay) / (rounds * len(calls)) for _ in range(_REPLAYS)]
    return Timing(statistics.median(spans), min(spans), max(spans), captured_all)


def _spanned(work: Call) -> float:
    """Seconds between two events around `work`."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured: bytes a second of a copy (read and written), operations a second of a bfloat16 product."""

    bandwidth: float
    matmul: float

    def floor(self, moved: float, operations: float) -> float:
        """Seconds that the bytes and the operations take at least."""
        return max(moved / self.bandwidth, operations / self.matmul)


def ceilings(session: Session) -> Ceilings:
    """Measure both on random numbers and note them in the file."""
    size = 1 << (12 if session.dry else 30)
    source = torch.empty(size, dtype=torch.uint8, device=session.device).random_(0, 256)
    target = torch.empty_like(source)
    copy = measure(session, [lambda: target.copy_(source)])
    n = 64 if session.dry else 8192
    a, b = (torch.randn(n, n, device=session.device).to(session.dtype) for _ in range(2))
    c = torch.empty_like(a)
    product = measure(session, [lambda: torch.mm(a, b, out=c)])
    found = Ceilings(2 * size / copy.median, 2 * n**3 / product.median)
    # An eighth of the second-level cache copied to another eighth, over and over: what it gives by itself.
    cached = 1 << 12 if session.dry else torch.cuda.get_device_properties(0).L2_cache_size // 8
    near = measure(session, [lambda: target[:cached].copy_(source[:cached])])
    session.extra["ceilings"] = {
        "copy_bytes_per_second": found.bandwidth,
        "cached_copy_bytes_per_second": 2 * cached / near.median,
        "cached_copy_bytes": 2 * cached,
        "bf16_matmul_operations_per_second": found.matmul,
        "copied_bytes": 2 * size,
        "matmul": [n, n, n],
    }
    print(f"copy {found.bandwidth / 1e9:.4g} GB/s, product {found.matmul / 1e12:.4g} TFLOP/s", flush=True)
    return found


def sets(session: Session, moved: float) -> int:
    """How many sets of buffers of `moved` bytes each it takes for three times the second-level cache, at least 2."""
    if session.dry:
        return 1
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, min(64, round(3 * cache / max(moved, 1)) + 1))
