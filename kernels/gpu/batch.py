"""What the host tells a device for a step: several parts, one copy from pinned memory."""

import torch
from torch import Tensor

_ALIGNED = 16


class Part:
    """A part of a batch. `device`: its bytes on the device, always the same."""

    def __init__(self, batch: "Batch", start: int, size: int) -> None:
        self._batch = batch
        self._start, self._end = start, start + size
        self.device = batch.device_bytes[self._start : self._end]

    def host(self) -> Tensor:
        """Its bytes on the host, to be written for the step that the batch has begun."""
        return self._batch.written(self._start, self._end)


class Batch:
    """Parts that lie side by side on the device and in pinned memory, so that one copy brings all that a step writes.

    There are two such memories on the host, so that a step can be written while the copy of the one before has not been
    made. What lies between two written parts is copied with them: a part is written in every step that reads it.
    """

    def __init__(self, device: torch.device, room: int) -> None:
        """`room`: bytes, for all parts."""
        pinned = device.type == "cuda"
        self.device_bytes = torch.zeros(room, dtype=torch.uint8, device=device)
        self._hosts = [torch.zeros(room, dtype=torch.uint8, pin_memory=pinned) for _ in range(2)]
        self._copied = [torch.cuda.Event() for _ in self._hosts] if pinned else []
        self._taken = 0
        self._span: tuple[int, int] | None = None

    def part(self, size: int) -> Part | None:
        """A part of `size` bytes, at a multiple of 16; None where there is no room left for it."""
        if self._taken + size > len(self.device_bytes):
            return None
        part = Part(self, self._taken, size)
        self._taken += -(-size // _ALIGNED) * _ALIGNED
        return part

    def begin(self) -> None:
        """Write another step. It waits for nothing where the step before the last has been computed."""
        self._hosts.reverse()
        self._copied.reverse()
        if self._copied:
            self._copied[0].synchronize()
        self._span = None

    def written(self, start: int, end: int) -> Tensor:
        """The bytes start..end - 1 on the host: they belong to what is sent."""
        low, high = self._span or (start, end)
        self._span = min(low, start), max(high, end)
        return self._hosts[0][start:end]

    def send(self) -> None:
        """Copy what was written to the device, without waiting for it."""
        if self._span is not None:
            low, high = self._span
            self.device_bytes[low:high].copy_(self._hosts[0][low:high], non_blocking=True)
        if self._copied:
            self._copied[0].record()


class Upload:
    """A part in a batch of several, or alone in one of its own where there is none or it has no room left."""

    def __init__(self, size: int, device: torch.device, batch: Batch | None = None) -> None:
        part = None if batch is None else batch.part(size)
        self._own = Batch(device, size) if part is None else None
        part = part or (None if self._own is None else self._own.part(size))
        if part is None:
            raise AssertionError("a batch has room for the part that it was made for")
        self._part = part
        self.device = part.device

    def begin(self) -> Tensor:
        """The host's bytes, to be written for the next step."""
        if self._own is not None:
            self._own.begin()
        return self._part.host()

    def end(self) -> None:
        """They are written: copy them, unless the batch does."""
        if self._own is not None:
            self._own.send()
