"""All sessions of a server: whose they are, how many there may be, and when one that nobody is connected to ends."""

import asyncio
import secrets
from collections.abc import Callable, Container
from dataclasses import dataclass

from engine.config_sessions import SessionSettings
from engine.solving.errors import SessionLimit, SessionNotFound
from engine.solving.session import Connection, Session

_NAME_BYTES = 16
_RETRY = 5.0
_LEAVE_SECONDS = 2.5


@dataclass(slots=True, eq=False)
class _Held[S: Session]:
    session: S
    owner: str
    timers: tuple[asyncio.TimerHandle, ...] = ()
    left: int = 0  # by which the sessions that nobody is connected to are in order

    def stop_timers(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers = ()


class Sessions[S: Session]:
    """Bounded in number, for each owner and together. A session without a connection ends its turn after
    `linger_seconds`, and itself after `seconds_to_live`, or earlier where its owner starts more than it may have. One
    that its owner has ended is forgotten after `linger_seconds`."""

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._held: dict[str, _Held[S]] = {}
        self._leaving = 0
        self._draining: Exception | None = None
        self._ends: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def open(self, owner: str, make: Callable[[str], S]) -> S:
        """A new session, made with its name. Raises SessionLimit, what `make` raises, and what `drain` was told."""
        if self._draining is not None:
            raise self._draining
        self._make_place(owner)
        name = secrets.token_urlsafe(_NAME_BYTES)
        session = make(name)
        self._held[name] = _Held(session, owner)
        return session

    def find(self, owner: str, name: str) -> S:
        """A session of this owner's. Raises SessionNotFound, for those of others too."""
        held = self._held.get(name)
        if held is None or held.owner != owner:
            raise SessionNotFound(name)
        return held.session

    def connect(self, session: Session, seen: int) -> Connection:
        """Connect to a session that was found or opened. Raises as Session.connect."""
        connection = session.connect(seen)
        self._held[session.name].stop_timers()
        return connection

    def disconnect(self, session: Session, connection: Connection) -> None:
        """A connection is gone: the time of its session runs, unless another one has taken over."""
        held = self._held.get(session.name)
        if not session.disconnect(connection) or held is None:
            return
        held.stop_timers()
        loop, settings = asyncio.get_running_loop(), self._settings
        # One that has ended waits too: that its last message was sent does not mean that it has come.
        lives = min(settings.linger_seconds, settings.seconds_to_live) if session.ended else settings.seconds_to_live
        held.timers = (
            loop.call_later(settings.linger_seconds, session.end_turn),
            loop.call_later(lives, self._forget, held),
        )
        self._leaving += 1
        held.left = self._leaving

    def drain(self, reason: Exception) -> None:
        """Begin no turns any more; connections end with `reason`."""
        self._draining = reason
        for held in self._held.values():
            held.session.drain(reason)

    def end_those(self, owners: Container[str]) -> None:
        """End the sessions of some owners, with their turns."""
        for held in [held for held in self._held.values() if held.owner in owners]:
            self._forget(held)

    async def close(self) -> None:
        """End all of them."""
        while self._held:
            self._forget(next(iter(self._held.values())))
        if self._ends:
            await asyncio.wait(self._ends)

    def _make_place(self, owner: str) -> None:
        mine = [held for held in self._held.values() if held.owner == owner]
        settings = self._settings
        if len(mine) < settings.most_per_caller and len(self._held) < settings.most:
            return
        left = [held for held in mine if not held.session.connected]
        if left:
            self._forget(min(left, key=lambda held: held.left))
            return
        whose, most = (
            ("this caller has", settings.most_per_caller)
            if len(mine) >= settings.most_per_caller
            else ("there are", settings.most)
        )
        raise SessionLimit("SESSION_LIMIT", f"{whose} {most} sessions, and no more are allowed; end one", _RETRY)

    def _forget(self, held: _Held[S]) -> None:
        held.stop_timers()
        del self._held[held.session.name]
        task = asyncio.create_task(held.session.gone(_LEAVE_SECONDS))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)
