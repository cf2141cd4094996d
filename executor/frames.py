"""Length-prefixed msgspec frames over asyncio streams: how the processes of this house talk.

A frame is four big-endian bytes (the length of the rest) and one message in MessagePack. Both sides name the union of
structs that they accept; anything else is a `FrameError`, after which the connection is of no more use.
"""

import asyncio
import socket

import msgspec

MAX_FRAME_BYTES = 64 << 20
_HEAD = 4


class FrameError(Exception):
    """The bytes are no frame, or no message that this side accepts."""


class FrameStream[Incoming, Outgoing]:
    """One end of a connection. Reading belongs to one task; sending may be done by several."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        incoming: type[Incoming],
        *,
        max_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        """`incoming` is a msgspec struct, or a union of tagged ones. `max_bytes` holds in both directions."""
        self._reader = reader
        self._writer = writer
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(incoming)
        self._max_bytes = max_bytes

    async def receive(self) -> Incoming | None:
        """The next message, or None at the end of the stream.

        Raises FrameError for a frame that is too long, cut off or not of the accepted types.
        """
        try:
            head = await self._reader.readexactly(_HEAD)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise FrameError(f"the stream ends inside a length: {len(error.partial)} of {_HEAD} bytes") from None
            return None
        except ConnectionError:
            return None
        length = int.from_bytes(head, "big")
        if length > self._max_bytes:
            raise FrameError(f"a frame of {length} bytes is longer than the limit of {self._max_bytes}")
        try:
            content = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise FrameError(f"the stream ends inside a frame of {length} bytes") from None
        try:
            return self._decoder.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            raise FrameError(f"a frame holds no message of the accepted types: {error}") from None

    def post(self, message: Outgoing) -> None:
        """Queue one message without waiting. Raises FrameError if it is too long; what is posted after the end is lost.

        Use it where what is in flight is bounded by other means; else `await send`.
        """
        content = self._encoder.encode(message)
        if len(content) > self._max_bytes:
            raise FrameError(f"a message of {len(content)} bytes is longer than the limit of {self._max_bytes}")
        if not self._writer.is_closing():
            self._writer.write(len(content).to_bytes(_HEAD, "big"))
            self._writer.write(content)

    async def send(self, message: Outgoing) -> None:
        """Queue one message and wait while the other side is behind. Raises FrameError, ConnectionError."""
        self.post(message)
        await self._writer.drain()

    async def close(self) -> None:
        """Hang up, with what was posted sent if the other side still reads."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return  # the other side was quicker


async def connect[Incoming, Outgoing](
    sock: socket.socket,
    incoming: type[Incoming],
    outgoing: type[Outgoing],
    *,
    max_bytes: int = MAX_FRAME_BYTES,
) -> FrameStream[Incoming, Outgoing]:
    """Frames over a connected stream socket, which the stream owns from now on."""
    del outgoing  # names the type for the checker; the encoder takes any struct
    sock.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=sock)
    return FrameStream[Incoming, Outgoing](reader, writer, incoming, max_bytes=max_bytes)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair: one end for this process, one to be inherited by another."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
