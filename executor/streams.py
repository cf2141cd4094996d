"""Non-blocking ends of pipes and sockets on an asyncio loop: bounded reading, patient writing, frames."""

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable

_CHUNK = 1 << 16
_CREDENTIALS_SPACE = socket.CMSG_SPACE(12)


class Collector:
    """Reads a pipe into memory, at most `limit` bytes; calls `on_full` once when there is more."""

    __slots__ = ("_fd", "_limit", "_loop", "_on_full", "data", "full")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, limit: int, on_full: Callable[[], None]) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._limit = limit
        self._on_full = on_full
        self.data = bytearray()
        self.full = False
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    def _read(self) -> bool:
        """Read once. Returns whether there may be more now."""
        if self._fd is None:
            return False
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return False
        self.data += chunk
        if len(self.data) > self._limit:
            del self.data[self._limit :]
            self.full = True
            self.close()
            self._on_full()
            return False
        return True

    def drain(self) -> None:
        """Read what is there already; the bound is the limit."""
        while self._read():
            pass

    def close(self) -> None:
        """Stop reading."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None


class Feeder:
    """Writes `data` into a pipe as fast as it is read, then closes it. A reader that leaves early is normal."""

    __slots__ = ("_fd", "_loop", "_view")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, data: bytes) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._view = memoryview(data)
        os.set_blocking(fd, False)
        if not self._write():
            loop.add_writer(fd, self._write)

    def _write(self) -> bool:
        """Write what fits. Returns whether the end was reached."""
        if self._fd is None:
            return True
        try:
            while self._view:
                self._view = self._view[os.write(self._fd, self._view) :]
        except BlockingIOError:
            return False
        except OSError:  # the program does not want its input
            pass
        self.close()
        return True

    def close(self) -> None:
        """Stop writing."""
        if self._fd is not None:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None


class Frames:
    """Frames (four big-endian bytes of length, then content) over a non-blocking stream socket.

    `on_frame` gets each content; `on_end` is called once: with None when the other side hung up, else with the reason.
    """

    __slots__ = ("_buffer", "_limit", "_loop", "_on_end", "_on_frame", "_out", "_socket", "_writing", "sender")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        limit: int,
        on_frame: Callable[[bytes], None],
        on_end: Callable[[str | None], None],
    ) -> None:
        self._loop = loop
        self._socket: socket.socket | None = sock
        self._limit = limit
        self._on_frame = on_frame
        self._on_end = on_end
        self._buffer = bytearray()
        self._out: deque[tuple[bytearray, list[int]]] = deque()
        """Frames, or what is left of one, and the descriptors that go with what comes next of it."""
        self._writing = False
        self.sender = 0
        """The process that sent the first bytes: 0 until then, -1 if the socket has no SO_PASSCRED."""
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._read)

    @property
    def open(self) -> bool:
        """Whether this end is open."""
        return self._socket is not None

    def send(self, content: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame; copies of the descriptors go with its first byte. Never blocks: what does not fit waits."""
        if self._socket is None:
            return
        data = bytearray(len(content).to_bytes(4, "big") + content)
        self._out.append((data, [os.dup(descriptor) for descriptor in descriptors]))
        self._write()

    def _write(self) -> None:
        if self._socket is None:
            return
        try:
            while self._out:
                data, descriptors = self._out[0]
                if descriptors:
                    sent = socket.send_fds(self._socket, [data], descriptors)
                    _close_all(descriptors)
                else:
                    sent = self._socket.send(data)
                del data[:sent]
                if not data:
                    self._out.popleft()
        except BlockingIOError:
            if not self._writing:
                self._loop.add_writer(self._socket.fileno(), self._write)
                self._writing = True
            return
        except OSError:
            self._drop()  # the other side is gone: on_end tells
        if self._writing:
            self._loop.remove_writer(self._socket.fileno())
            self._writing = False

    def _drop(self) -> None:
        for _, descriptors in self._out:
            _close_all(descriptors)
        self._out.clear()

    def _first(self, sock: socket.socket) -> bytes:
        chunk, controls, _flags, _address = sock.recvmsg(_CHUNK, _CREDENTIALS_SPACE)
        self.sender = next((_pid(data) for _, kind, data in controls if kind == socket.SCM_CREDENTIALS), -1)
        return chunk

    def _read(self) -> bool:
        if self._socket is None:
            return False
        try:
            chunk = self._socket.recv(_CHUNK) if self.sender else self._first(self._socket)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            self._on_end(None)
            return False
        self._buffer += chunk
        while self.open and len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self._limit:
                self.close()
                self._on_end(f"a frame of {length} bytes is longer than {self._limit}")
                return False
            if len(self._buffer) < 4 + length:
                break
            content = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            self._on_frame(content)
        return self.open

    def drain(self) -> None:
        """Take in what has arrived already."""
        while self._read():
            pass

    def close(self) -> None:
        """Hang up."""
        self._drop()
        if self._socket is not None:
            fd = self._socket.fileno()
            self._loop.remove_reader(fd)
            if self._writing:
                self._loop.remove_writer(fd)
            self._socket.close()
            self._socket = None


def _pid(credentials: bytes) -> int:
    """Of a struct ucred."""
    return int.from_bytes(credentials[:4], sys.byteorder)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def read_log(fd: int, limit: int = 4096) -> str:
    """The end of what was written to a log pipe, without waiting."""
    os.set_blocking(fd, False)
    data = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(fd, _CHUNK):
            data = (data + chunk)[-limit:]
    return data.decode("utf-8", "replace")
