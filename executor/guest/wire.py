"""Length-prefixed frames over a socket inside the jail: four big-endian bytes, then one plain-data value."""

from executor.guest.plain import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

MAX_FRAME = 64 << 20


class Wire:
    """One end of a stream of frames. Blocking."""

    def __init__(self, sock: "socket") -> None:
        self.socket = sock

    def send(self, value: object, max_bytes: int = MAX_FRAME, keep: "Callable[[object], int] | None" = None) -> None:
        """Send one value. Raises what `encode` raises (nothing is sent then), and OSError."""
        data = encode(value, max_bytes, keep)
        view = memoryview(len(data).to_bytes(4, "big") + data)
        while view:
            view = view[self.socket.send(view) :]

    def receive(self, ancillary: int = 0) -> tuple[object, list[int]]:
        """The next value, and the descriptors that came with it. Raises EOFError at the end of the stream."""
        descriptors: list[int] = []
        head = b""
        if ancillary:
            head, controls, _flags, _address = self.socket.recvmsg(4, ancillary)
            for _level, _kind, data in controls:
                descriptors += [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
            if not head:
                raise EOFError
        length = int.from_bytes(head + self._exactly(4 - len(head)), "big")
        return decode(self._exactly(length)), descriptors

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
