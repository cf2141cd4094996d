"""Two real models on one server: both draw at the same time, by turns, each in pages of its own."""

import asyncio
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from thresher.client import AsyncClient, solve_spec
from thresher.v1 import solve_pb2

from benchmarks import steady
from benchmarks.server import free_port, own_server
from engine.exposition import Book, grown, read, total

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]

SMALL, BIG = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
CONFIG = f"""
[models]
serve = ["{BIG}", "{SMALL}"]

[engine]
kv_bytes = "256MiB"

[[engine.shares]]
model = "{SMALL}"
weight = 2
kv_bytes = "64MiB"
"""


def scraped(address: str) -> Book:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        content: Any = answer.read()
        return read(content.decode())


async def both(address: str) -> dict[str, solve_pb2.Summary]:
    """A solve of 16 samples by each model, at the same time."""

    async def one(model: str) -> solve_pb2.Summary:
        sampling = {"k": 16, "temperature": 1.0, "max_new_tokens": 96, "keep_after_program": True, "seed": 1}
        document = steady.document(0, model=model, policy="all", sampling=sampling)
        async with AsyncClient(address) as client:
            return (await client.solve_once(solve_spec(document), timeout=280)).summary

    small, big = await asyncio.gather(one(SMALL), one(BIG))
    return {SMALL: small, BIG: big}


def test_both_draw_by_turns(tmp_path: Path) -> None:
    config, metrics = tmp_path / "two.toml", f"127.0.0.1:{free_port()}"
    config.write_text(CONFIG)
    with own_server("--config", str(config), "--metrics", metrics) as server:
        before, began = scraped(metrics), time.monotonic()
        summaries = asyncio.run(both(server.address))
        lasted, after = time.monotonic() - began, scraped(metrics)
    for summary in summaries.values():
        assert summary.accounting.samples_finished == 16
    grew = grown(before, after)
    device = {model: total(grew, "thresher_device_seconds_total", model=model) for model in summaries}
    waited = {model: total(grew, "thresher_device_wait_seconds_total", model=model) for model in summaries}
    assert min(device.values()) > 0
    assert min(waited.values()) > 0
    assert sum(device.values()) <= lasted, "steps of both models at once"
    # A token of the big model needs 24 * 2 * 64 pairs of keys and values, one of the small model 30 * 3 * 64.
    pages = {model: total(after, "thresher_kv_pages", model=model) for model in summaries}
    assert pages[SMALL] / pages[BIG] == pytest.approx((64 / (30 * 3)) / (256 / (24 * 2)), rel=0.01)
