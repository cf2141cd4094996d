"""Who calls: identity, rights, quota, and what of the quota is used. `current_caller` is that of the call at hand."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from engine.serving.status import Forbidden, OverQuota, Unauthenticated
from engine.serving.tokens import Scope
from engine.solving.spec import SolveSpec
from executor.types import Program

_SOLVE_RETRY = 1.0
_SERVICES = {"/thresher.v1.SynthesisService/": Scope.SOLVE, "/thresher.v1.ExecutionService/": Scope.EXECUTE}
_FOR_ANY = ("/thresher.v1.InfoService/", "/grpc.reflection.")


@dataclass(frozen=True, slots=True)
class Quota:
    """What one caller may take; None is no bound beside the server's own."""

    requests_per_second: float | None = None
    solves: int | None = None
    k: int | None = None
    tests: int | None = None


class Meter:
    """What one caller has taken. Requests come from a bucket that holds a second's worth, one at least."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.solves = 0
        self._clock = clock
        self._left: float | None = None
        self._when = 0.0

    def seconds_to_wait(self, rate: float | None) -> float:
        """Take one request and return 0; or take none and return the seconds until there is one."""
        if rate is None:
            return 0.0
        now, most = self._clock(), max(1.0, rate)
        left = most if self._left is None else min(most, self._left + (now - self._when) * rate)
        self._when = now
        if left < 1:
            self._left = left
            return (1 - left) / rate
        self._left = left - 1
        return 0.0


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    `key` tells callers apart and `name` is for people. `names_clients`: the name that it gives itself in the metadata
    `thresher-client` divides the engine's time; of any other caller the key alone does. Equality is that of rights.
    """

    key: str
    name: str
    scopes: frozenset[Scope]
    quota: Quota = Quota()
    expires: datetime | None = None
    names_clients: bool = False
    meter: Meter = field(default_factory=Meter, compare=False)

    def require(self, method: str) -> None:
        """Raise Forbidden unless a right covers the method. What nobody has thought of needs `admin`."""
        if Scope.ADMIN in self.scopes or method.startswith(_FOR_ANY):
            return
        needed = next((scope for prefix, scope in _SERVICES.items() if method.startswith(prefix)), Scope.ADMIN)
        if needed not in self.scopes:
            has = ", ".join(sorted(self.scopes))
            raise Forbidden("SCOPE_MISSING", f"{method} needs the scope {needed!r}; this caller has: {has}")

    def require_valid(self, now: datetime) -> None:
        """Raise Unauthenticated once it has expired."""
        if self.expires is not None and self.expires <= now:
            raise Unauthenticated("TOKEN_EXPIRED", f"these credentials expired on {self.expires:%Y-%m-%d %H:%M} UTC")

    def take_request(self) -> None:
        """Count one request. Raises OverQuota."""
        seconds = self.meter.seconds_to_wait(self.quota.requests_per_second)
        if seconds > 0:
            rate = self.quota.requests_per_second
            raise OverQuota(f"this caller may make {rate:g} requests a second", retry_after=seconds)

    @contextmanager
    def solving(self, most: int) -> Generator[None]:
        """Around one solve; `most` at a time where the quota says nothing. Raises OverQuota."""
        most = self.quota.solves or most
        if self.meter.solves >= most:
            message = f"this caller has {self.meter.solves} solves at work, and may have {most}"
            raise OverQuota(message, retry_after=_SOLVE_RETRY)
        self.meter.solves += 1
        try:
            yield
        finally:
            self.meter.solves -= 1

    def check_solve(self, spec: SolveSpec, max_k: int) -> None:
        """Raise OverQuota for a solve that is larger than this caller's may be."""
        if self.quota.k is not None and (k := spec.samples(max_k)) > self.quota.k:
            said = f"is {k}" if spec.sampling.k is not None else f"is left out, which stands for {k}"
            raise OverQuota(f"{said}; this caller may ask for {self.quota.k}", path="spec.sampling.k")
        self._check_tests(len(spec.tests), "spec.problem.tests")

    def check_program(self, program: Program) -> None:
        """Raise OverQuota for a program with more tests than this caller may send."""
        self._check_tests(len(program.tests), "program.tests")

    def _check_tests(self, count: int, path: str) -> None:
        if self.quota.tests is not None and count > self.quota.tests:
            raise OverQuota(f"has {count} entries; this caller may send {self.quota.tests}", path=path)


ALL_SCOPES = frozenset(Scope)
LOCAL = Caller(key="local", name="local", scopes=ALL_SCOPES, names_clients=True)
"""Whoever reaches the Unix socket: its mode has decided already."""

_CALLER: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The caller of the call in whose task this runs. Outside of one there is none, and that is a LookupError."""
    return _CALLER.get()


def set_caller(caller: Caller) -> None:
    """Name the caller for the rest of this task and for its children. Each call runs in a task of its own."""
    _CALLER.set(caller)
