"""A server's metrics at a moment, and what they have grown by between two."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.experiments.errors import CannotRun

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A series: its name as a query writes it, and its labels in order."""
Book = dict[Key, float]

_SETTLE_SECONDS = 30.0
_LIVE = ("thresher_solves_running", "thresher_solves_waiting")


def key(name: str, **labels: str) -> Key:
    """A series by its name and labels."""
    return name, tuple(sorted(labels.items()))


def read(text: str) -> Book:
    """All series of an exposition in Prometheus's text format."""
    found: Book = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[key(sample.name, **sample.labels)] = float(sample.value)
    return found


def grown(before: Mapping[Key, float], after: Mapping[Key, float]) -> Book:
    """What each series has grown by; one that was not there before began at zero."""
    return {series: value - before.get(series, 0.0) for series, value in after.items()}


def total(book: Mapping[Key, float], name: str, **labels: str) -> float:
    """The sum of all series of that name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, labelled), value in book.items() if found == name and wanted <= set(labelled))


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
