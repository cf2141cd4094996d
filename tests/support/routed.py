"""A router in this process before scripted servers, also in this process, each on a Unix socket of its own."""

import os
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from thresher.client import AsyncClient

from engine.cli._tiers import build_router
from engine.config import Settings
from engine.metrics import Metrics
from engine.remote import replica
from engine.serving.front import Front
from engine.solving.routing import Router
from tests.support.served import until


@dataclass
class Server:
    """A front with a scripted solver."""

    name: str
    solver: Any
    front: Front | None = None

    async def begin(self, address: str) -> None:
        settings = Settings.model_validate({"serving": {"listen": (address,)}})
        self.front = Front(settings, self.solver, Metrics())
        await self.front.start()

    async def end(self) -> None:
        if self.front is not None:
            await self.front.stop(0)
            self.front = None


@dataclass
class Routed:
    """The router, its servers by name, and a client of it."""

    router: Router
    front: Front
    metrics: Metrics
    client: AsyncClient
    folder: Path
    servers: dict[str, Server] = field(default_factory=dict)

    def address(self, name: str) -> str:
        return f"unix:{self.folder}/{name}"

    async def kill(self, name: str) -> None:
        """The server is gone, without a word."""
        await self.servers[name].end()

    async def revive(self, name: str) -> None:
        await self.servers[name].begin(self.address(name))

    async def up(self, *names: str, seconds: float = 60) -> None:
        """Until exactly these servers are up to the router."""

        def those() -> bool:
            tiers: Any = self.router._elsewhere  # pyright: ignore[reportPrivateUsage]
            found = {r.name.rpartition("/")[2] for tier in tiers for r in tier._replicas if r.up}
            return found == set(names)

        await until(those, seconds)


@asynccontextmanager
async def routed(
    *tiers: Sequence[tuple[str, Any]],
    cascade: dict[str, Any] | None = None,
    terms: dict[str, dict[str, Any]] | None = None,
    sessions: dict[str, Any] | None = None,
) -> AsyncGenerator[Routed]:
    """Tiers of (name, solver) replicas; a tier is called after its first one. The others are more settings."""
    with tempfile.TemporaryDirectory(prefix="thr") as folder, mock.patch.dict(os.environ, XDG_RUNTIME_DIR=folder):
        async with AsyncExitStack() as stack:
            # All of them are in one loop: on a busy machine a server is late when the router is, and no worse than it.
            stack.enter_context(mock.patch.object(replica, "_ASK_SECONDS", 60.0))
            servers: dict[str, Server] = {}
            for tier in tiers:
                for name, solver in tier:
                    servers[name] = Server(name, solver)
                    stack.push_async_callback(servers[name].end)
                    await servers[name].begin(f"unix:{folder}/{name}")
            tables = [
                {
                    "name": tier[0][0],
                    "addresses": [f"unix:{folder}/{name}" for name, _ in tier],
                    **(terms or {}).get(tier[0][0], {}),
                }
                for tier in tiers
            ]
            settings = Settings.model_validate(
                {
                    "serving": {"listen": (f"unix:{folder}/router",)},
                    "cascade": {"tiers": tables, **(cascade or {})},
                    "sessions": sessions or {},
                }
            )
            metrics = Metrics()
            router = build_router(settings, metrics)
            front = Front(settings, router, metrics)
            await front.start()
            stack.push_async_callback(front.stop, 0)
            stack.push_async_callback(router.close)
            await router.start()
            client = await stack.enter_async_context(AsyncClient(f"unix:{folder}/router"))
            await client.wait_ready(60)
            yield Routed(router, front, metrics, client, Path(folder), servers)
