"""Reads a server's metrics."""

import asyncio
import urllib.error
import urllib.request
from typing import Any

from benchmarks.experiments.errors import CannotRun
from engine.exposition import Book, read, total

_SETTLE_SECONDS = 30.0
_LIVE = ("thresher_solves_running", "thresher_solves_waiting")
_COUNTS = ("thresher_solves_total", "thresher_verdicts_total", "thresher_grpc_requests_total")


class Scraper:
    """Reads the metrics endpoint at host:port. Raises CannotRun where there is none."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def scrape(self) -> Book:
        """All series now."""
        return read(await asyncio.to_thread(self._get))

    async def settled(self) -> Book:
        """All series once no solve runs or waits and nothing more is counted.

        After half a minute it is what there is: then the books will say that something is left.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _SETTLE_SECONDS
        before: Book | None = None
        while True:
            found = await self.scrape()
            # A scrape is not of one moment: it may see that a solve has ended, and not yet all that it came to. Nor
            # need a call whose client has left have begun. So two in a row have to find the same.
            at_rest = not any(total(found, name) for name in _LIVE)
            same = before is not None and all(total(before, name) == total(found, name) for name in _COUNTS)
            if (at_rest and same) or loop.time() > until:
                return found
            before = found if at_rest else None
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
