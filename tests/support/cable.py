"""A Unix socket before another one, whose connections a test can cut."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path


class Cable:
    """Connections from `address` to a server's socket."""

    def __init__(self, near: Path, far: Path) -> None:
        self.address = f"unix:{near}"
        self.cuts = 0
        self._far = far
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Drop every connection, both ends."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._far)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in ends:
                end.transport.abort()
            self._writers -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def cable(folder: Path) -> AsyncGenerator[Cable]:
    """A cable to the server whose socket is `folder`/s."""
    one = Cable(folder / "near", folder / "s")
    server = await asyncio.start_unix_server(one.carry, folder / "near")
    try:
        yield one
    finally:
        server.close()
        one.cut()
