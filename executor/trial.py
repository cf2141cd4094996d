"""One test's process in a jail, seen from the host: its pipes, its limits, how it ended. Decides no verdict."""

import asyncio
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from executor.guest.plain import encode
from executor.jail import Jail
from executor.streams import Collector, Feeder, Frames
from executor.types import Limits

_TICK_SECONDS = 0.25
_LEAST_TICK_SECONDS = 0.01
_FRAME_OVERHEAD = 4096
_ADDRESS_SPACE_SLACK = 4 << 30
_INTERPRETER_BYTES = 64 << 20
_CORES = os.cpu_count() or 1
# A program can wait for a core only while others use it; one that makes itself wait may not do so for ever.
_PATIENCE = 10


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a language's own machinery gets beside a program's limits. Sizes in bytes."""

    address_space: bool = True
    """Whether address space is limited at all; if not, only a memory group limits memory."""
    processes: int = 0
    stack_bytes: int = 8 << 20


USUAL = Allowance()


class Ending(Enum):
    """What ended a trial."""

    EXITED = auto()
    """The process ended by itself; `status` is its wait status."""
    ANSWERED = auto()
    """The host has all it wanted."""
    CPU = auto()
    WALL = auto()
    MEMORY = auto()
    OUTPUT = auto()
    BROKEN = auto()
    """The jail itself was lost."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host saw. Times in seconds, memory in bytes."""

    ending: Ending
    status: int | None
    cpu_seconds: float
    wall_seconds: float
    stdout: bytes
    stderr: bytes
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    """Bounds of the call in progress: CPU time used by its end, and its wall clock."""

    cpu_seconds: float
    cpu_end: float
    started: float
    starved: float

    @property
    def wall_seconds(self) -> float:
        return Limits(cpu_seconds=self.cpu_seconds).effective_wall_seconds


class Trial:
    """Runs one test's process. `on_frame` gets what it says on its channel; `done` resolves to Facts."""

    def __init__(
        self,
        jail: Jail,
        limits: Limits,
        on_frame: Callable[[bytes], None],
        allowance: Allowance = USUAL,
    ) -> None:
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._jail = jail
        self._limits = limits
        self._ended = False
        self._status: int | None = None
        self._process_cpu = 0.0
        self.done: asyncio.Future[Facts] = self._loop.create_future()
        mine, self._theirs = socket.socketpair()
        self._frames = Frames(self._loop, mine, limits.output_bytes + _FRAME_OVERHEAD, on_frame, self._channel_ended)
        self._in: Feeder | None = None
        self._out: Collector | None = None
        self._err: Collector | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._call: _Call | None = None

    def start(self, mode: str, arguments: tuple[object, ...], stdin: bytes | None = None) -> None:
        """Give the order. `stdin` None: the null device."""
        jail, limits = self._jail, self._limits
        refused = self._set_limits()
        self._oom_before = jail.group.oom_kills()
        self._cpu_before = jail.group.cpu_seconds() or 0.0
        self._starved_before = jail.group.starved_seconds()
        self._started = time.monotonic()
        if refused:
            self._theirs.close()
            self._end(Ending.BROKEN, refused)
            return
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        if stdin is None:
            in_read, in_write = os.open(os.devnull, os.O_RDONLY), None
        else:
            in_read, in_write = os.pipe()
        jail.tests += 1
        jail.on_exit = self._exited
        jail.on_lost = lambda: self._end(Ending.BROKEN)
        order = ("test", jail.tests, mode, arguments, self._resource_limits())
        jail.send(order, (in_read, out_write, err_write, self._theirs.fileno()))
        for fd in (in_read, out_write, err_write):
            os.close(fd)
        self._theirs.close()
        full = self._too_much_output
        self._out = Collector(self._loop, out_read, limits.output_bytes, full)
        self._err = Collector(self._loop, err_read, limits.output_bytes, full)
        if in_write is not None:
            self._in = Feeder(self._loop, in_write, stdin or b"")
        if jail.lost:
            self._end(Ending.BROKEN)
        else:
            self._schedule(min(limits.cpu_seconds / _CORES, limits.effective_wall_seconds))

    def _set_limits(self) -> str:
        """Limit the group. Returns why that cannot be, or nothing: then the test needs a fresh jail."""
        processes = self._limits.processes + self._allowance.processes + self._jail.keepers
        try:
            self._jail.group.limit(self._limits.memory_bytes, processes)
        except OSError as error:
            # An earlier test, which had more memory, left more in /tmp than this one may have.
            return f"the limits of this test cannot be set: {error}"
        return ""

    def _resource_limits(self) -> dict[str, int]:
        group, limits, allowance = self._jail.group, self._limits, self._allowance
        whole = group.has("memory")
        values = {
            "RLIMIT_CPU": math.ceil(limits.cpu_seconds) + (1 if group.has("cpu") else 0),
            "RLIMIT_NPROC": limits.processes + allowance.processes + self._jail.keepers,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_STACK": allowance.stack_bytes,
        }
        if allowance.address_space:
            values["RLIMIT_AS"] = limits.memory_bytes + (_ADDRESS_SPACE_SLACK if whole else _INTERPRETER_BYTES)
        return values

    def send(self, message: object) -> None:
        """Say something on the channel."""
        self._frames.send(encode(message))

    def relay(self, content: bytes) -> None:
        """Pass on a frame as it is."""
        self._frames.send(content)

    def finish(self) -> None:
        """The host has all it wants."""
        self._end(Ending.ANSWERED)

    def abandon(self, reason: str) -> None:
        """The process said something that it may not say."""
        self._end(Ending.EXITED, reason)

    def call(self, cpu_seconds: float) -> None:
        """A call begins: besides the limits of the whole run, so much CPU time may pass until the next call of this."""
        if self._call is None and self._timer is not None:
            # The first look was set for the limits of the whole run.
            self._timer.cancel()
            self._schedule(min(cpu_seconds / _CORES, _TICK_SECONDS))
        starved = self._jail.group.starved_seconds()
        self._call = _Call(cpu_seconds, self.cpu() + cpu_seconds, time.monotonic(), starved)

    def cpu(self) -> float:
        """CPU time used so far, in seconds."""
        total = self._jail.group.cpu_seconds()
        return self._process_cpu if total is None else total - self._cpu_before

    def _schedule(self, delay: float) -> None:
        self._timer = self._loop.call_later(max(delay, _LEAST_TICK_SECONDS), self._tick)

    def _tick(self) -> None:
        limits, used = self._limits, self.cpu()
        left = self._left(limits.effective_wall_seconds, self._started, self._starved_before)
        spare = limits.cpu_seconds - used
        reason = ""
        if self._call is not None:
            call = self._call
            if call.cpu_end < used:
                reason = f"more than {call.cpu_seconds:g} s of CPU time in one call"
            spare = min(spare, call.cpu_end - used)
            left = min(left, self._left(call.wall_seconds, call.started, call.starved))
        if self._jail.group.oom_kills() > self._oom_before:
            self._end(Ending.MEMORY)
        elif spare < 0:
            self._end(Ending.CPU, reason)
        elif left <= 0:
            self._end(Ending.WALL)
        else:
            self._schedule(min(spare / _CORES, left, _TICK_SECONDS))

    def _left(self, wall_seconds: float, started: float, starved: float) -> float:
        """What is left of a wall limit. Waiting for a core does not count, up to _PATIENCE times the limit."""
        elapsed = time.monotonic() - started
        waited = self._jail.group.starved_seconds() - starved
        return min(wall_seconds + waited, _PATIENCE * wall_seconds) - elapsed

    def _too_much_output(self) -> None:
        self._end(Ending.OUTPUT)

    def _channel_ended(self, reason: str | None) -> None:
        if reason is not None:
            self._end(Ending.OUTPUT, reason)

    def _exited(self, number: int, status: int, cpu_seconds: float) -> None:
        if number != self._jail.tests or self._ended:
            return
        self._status = status
        self._process_cpu = cpu_seconds
        # What it said and printed before its end lies in the pipes; this may complete the conversation.
        self._frames.drain()
        self._end(Ending.EXITED)

    def _end(self, ending: Ending, reason: str = "") -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._frames.close()
        if self._in is not None:
            self._in.close()
        outputs = [collector for collector in (self._out, self._err) if collector is not None]
        for collector in outputs:
            collector.drain()
            collector.close()
        cpu = self.cpu()
        if self._jail.group.oom_kills() > self._oom_before:
            ending = Ending.MEMORY
        elif cpu > self._limits.cpu_seconds:
            ending = Ending.CPU
        elif ending in (Ending.EXITED, Ending.ANSWERED) and any(collector.full for collector in outputs):
            ending = Ending.OUTPUT
        if ending not in (Ending.EXITED, Ending.ANSWERED):
            self._jail.spent = True
        self._jail.on_exit = self._jail.on_lost = None
        facts = Facts(
            ending=ending,
            status=self._status,
            cpu_seconds=cpu,
            wall_seconds=time.monotonic() - self._started,
            stdout=b"" if self._out is None else bytes(self._out.data),
            stderr=b"" if self._err is None else bytes(self._err.data),
            reason=reason,
        )
        if not self.done.done():
            self.done.set_result(facts)

    def cancel(self) -> None:
        """Give up without facts: closes the host's ends (the jail has to be killed)."""
        self._end(Ending.BROKEN, "cancelled")
