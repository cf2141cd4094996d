"""Reads a server's metrics."""

import asyncio
import urllib.error
import urllib.request
from typing import Any

from benchmarks.experiments.errors import CannotRun
from engine.exposition import Book, read, total

_SETTLE_SECONDS = 30.0
_LIVE = ("thresher_solves_running", "thresher_solves_waiting")


class Scraper:
    """Reads the metrics endpoint at host:port. Raises CannotRun where there is none."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def scrape(self) -> Book:
        """All series now."""
        return read(await asyncio.to_thread(self._get))

    async def settled(self) -> Book:
        """All series once no solve runs or waits, or after half a minute: then the books will say that one is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _SETTLE_SECONDS
        while True:
            found = await self.scrape()
            if not any(total(found, name) for name in _LIVE) or loop.time() > until:
                return found
            await asyncio.sleep(0.1)

    def _get(self) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
                content: Any = answer.read()
                return content.decode()
        except (urllib.error.URLError, OSError) as error:
            raise CannotRun(
                f"no metrics at {self.address} ({error}); start the server with --metrics HOST:PORT and name that"
            ) from error
