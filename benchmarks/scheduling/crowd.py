"""Clients of one server that keep asking, each under a name of its own."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from thresher.client import AsyncClient, solve_spec
from thresher.v1 import solve_pb2


async def ask(client: AsyncClient, document: dict[str, Any]) -> dict[str, float]:
    """One solve to its end, times in seconds: the whole, until the first pass (if any), and its rows."""
    began = time.monotonic()
    async for event in client.solve(solve_spec(document)):
        if event.HasField("summary"):
            books = event.summary.accounting
            found = {"seconds": time.monotonic() - began, "rows": float(books.rows_computed)}
            if event.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED:
                found["first_pass"] = books.time_to_first_pass.ToNanoseconds() / 1e9
            return found
    raise RuntimeError("a solve without a summary")


async def keep_asking(
    address: str, name: str, documents: list[dict[str, Any]], until: float, pause: float = 0.0
) -> list[dict[str, float]]:
    """One solve after the other, the documents in turns, until that time (monotonic); `pause` seconds between two."""
    found: list[dict[str, float]] = []
    async with AsyncClient(address, name=name) as client:
        while time.monotonic() < until:
            found.append(await ask(client, documents[len(found) % len(documents)]))
            await asyncio.sleep(pause)
    return found


@asynccontextmanager
async def load(address: str, asked: dict[str, list[dict[str, Any]]]) -> AsyncGenerator[None]:
    """Clients by name, each of which keeps asking for its documents meanwhile."""
    tasks = [
        asyncio.create_task(keep_asking(address, name, documents, float("inf"))) for name, documents in asked.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def percentiles(values: list[float]) -> dict[str, float]:
    """Count, and p50, p90 and p99."""
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {"count": len(values), "p50": round(float(p50), 3), "p90": round(float(p90), 3), "p99": round(float(p99), 3)}
