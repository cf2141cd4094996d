"""What a session has said and its client may not have seen: kept for a resume, within a bound."""

from engine.solving.errors import InvalidRequest, SessionEventsGone

_ENTRY_BYTES = 128
"""What an entry is taken to cost beside its own length."""


class ReplayLog:
    """Messages by their numbers 1, 2, 3, ... Beyond `most` bytes the oldest go, but never the newest one."""

    def __init__(self, most: int) -> None:
        self.last = 0
        self._most = most
        self._size = 0
        self._ever = 0  # bytes of all that was ever appended
        self._entries: dict[int, tuple[bytes, int]] = {}  # with what `_ever` then was

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return self._size

    @property
    def next(self) -> int:
        """The number of the next message."""
        return self.last + 1

    def append(self, data: bytes, *, unsent: int | None = None) -> None:
        """Keep one more message; of those from number `unsent` on none goes, whatever they take."""
        self.last += 1
        self._size += len(data) + _ENTRY_BYTES
        self._ever += len(data) + _ENTRY_BYTES
        self._entries[self.last] = (data, self._ever)
        while self._size > self._most and self.oldest < (self.last if unsent is None else min(unsent, self.last)):
            self._drop()

    def get(self, number: int) -> bytes | None:
        """One message, if it is kept."""
        entry = self._entries.get(number)
        return None if entry is None else entry[0]

    def size_after(self, number: int) -> int:
        """Bytes of what is kept after this message."""
        entry = self._entries.get(number)
        return self._size if entry is None and number < self.last else self._ever - (entry[1] if entry else self._ever)

    def trim(self, seen: int) -> None:
        """Keep no longer what its client has seen. Raises InvalidRequest for what was never said."""
        self._require_said(seen)
        while self._entries and self.oldest <= seen:
            self._drop()

    def check(self, seen: int) -> None:
        """Whether all after `seen` is kept.

        Raises:
            InvalidRequest: it was never said.
            SessionEventsGone: some of it had to go.
        """
        self._require_said(seen)
        if seen + 1 < self.oldest:
            raise SessionEventsGone(seen, self.oldest)

    @property
    def oldest(self) -> int:
        """The number of the oldest message that is kept; without one, the next number."""
        return next(iter(self._entries), self.next)

    def _require_said(self, seen: int) -> None:
        if seen > self.last:
            raise InvalidRequest("seen", f"is {seen}; the last message of this session has the number {self.last}")

    def _drop(self) -> None:
        self._size -= len(self._entries.pop(self.oldest)[0]) + _ENTRY_BYTES
