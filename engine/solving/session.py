"""One session: turns one after the other, actions in between, and a connection that may drop and come back.

What is said goes into a log; whoever is connected is told from where it had come to, so that a message is neither lost
nor told twice. A newer connection takes the session over. Where a client reads too slowly, the turn waits; where none
is connected, it goes on into the log until its owner ends it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from engine.core.types import EndReason
from engine.solving.conversation import Conversation
from engine.solving.errors import EngineFailed, InvalidRequest, SessionLimit, SessionSuperseded
from engine.solving.events import SolveEvent
from engine.solving.refine import (
    Action,
    EndSession,
    EndTurn,
    Reply,
    Resample,
    SessionEnded,
    TurnEnded,
    TurnFailure,
    TurnOutcome,
)
from engine.solving.replay import ReplayLog
from engine.solving.spec import SolveSpec
from engine.solving.summary import SolveOutcome, Summary
from engine.solving.tiers import Cut
from engine.solving.timers import GRACE_SECONDS

Run = Callable[[SolveSpec, Cut], AsyncGenerator[SolveEvent]]
"""Events of one solve, which `cut` ends with a summary; closing the generator ends it everywhere without."""
Write = Callable[[int, Reply], bytes]
"""A message by its number, as the log keeps it."""
_LAST_WORD_SECONDS = 2 * GRACE_SECONDS
"""What a turn that is cut off gets to say what it has cost, which a solve does within GRACE_SECONDS."""


@dataclass(slots=True, eq=False)
class Connection:
    """Somebody who is told what a session says, after message `told`.

    `failure`: why it has to end. `quiet`: it says nothing more, and ends when no turn is under way. `call`: around all
    that waits for its client, who may read no more.
    """

    told: int
    failure: Exception | None = None
    quiet: bool = False
    call: asyncio.Timeout | None = None

    def end(self) -> None:
        """A newer one has taken over: whatever it waits for, it waits no longer."""
        if self.call is not None:
            self.call.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True, eq=False)
class _Order:
    """One turn that the person asked for, and those that follow it by themselves."""

    action: Resample
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Solving:
    """The solve of the turn in progress: what asks it to end, and what then bounds the wait for that."""

    cut: Cut
    end: asyncio.Timeout


class Session:
    """Lives until `ended`. Of all its methods only `replies` waits."""

    def __init__(
        self,
        name: str,
        conversation: Conversation,
        *,
        run: Run,
        write: Write,
        failure_of: Callable[[Exception], TurnFailure],
        log_bytes: int,
        most_turns: int,
    ) -> None:
        self.name = name
        self.conversation = conversation
        self.actions_taken = 0
        self.ended = False
        """Nothing is said any more."""
        self._run = run
        self._write = write
        self._failure_of = failure_of
        self._log = ReplayLog(log_bytes)
        self._log_bytes = log_bytes
        self._most_turns = most_turns
        self._connection: Connection | None = None
        self._news = asyncio.Event()
        self._orders: deque[_Order] = deque()
        self._order: _Order | None = None
        self._solving: _Solving | None = None
        self._work: asyncio.Task[None] | None = None
        self._ending = False
        self._draining: Exception | None = None

    @property
    def busy(self) -> bool:
        """Whether a turn is under way."""
        return self._work is not None

    @property
    def connected(self) -> bool:
        """Whether somebody is told what it says."""
        return self._connection is not None

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self._log.last

    @property
    def oldest(self) -> int:
        """The number of the oldest message that is kept, or would be."""
        return self._log.oldest

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self._log.size + self.conversation.size

    # What the person does

    def act(self, action: Action, *, number: int = 0, size: int = 0) -> None:
        """Take one action, `size` bytes long. One whose `number` was taken before is ignored; 0 is none.

        Raises:
            InvalidRequest: the number, or a candidate, is not one of this session's.
            SessionLimit: there is no room for it.
            Exception: what `drain` was told, for a turn that would begin.
        """
        if self.taken(number):
            return
        match action:
            case EndTurn():
                self.end_turn()
            case EndSession():
                self.end()
            case Resample():
                self.start(action)
            case _:
                self.conversation.note(action, size)
        if number:
            self.actions_taken = number

    def taken(self, number: int) -> bool:
        """Whether the action of this number was taken. Raises InvalidRequest where one is missing before it."""
        if number > self.actions_taken + 1:
            raise InvalidRequest("number", f"is {number}; the last action taken has the number {self.actions_taken}")
        return 0 < number <= self.actions_taken

    def start(self, action: Resample) -> None:
        """Begin a turn, after having ended the one in progress."""
        if self._ending:
            return
        if self._draining is not None:
            raise self._draining
        if len(self.conversation.turns) + len(self._orders) + 1 > self._most_turns:
            raise SessionLimit("SESSION_FULL", f"this session has had its {self._most_turns} turns; start another one")
        self.end_turn()
        self._orders.append(_Order(action))
        if self._work is None:
            self._work = asyncio.create_task(self._turns())

    def end_turn(self) -> None:
        """Stop the turn in progress, and those that wait or would follow by themselves."""
        for order in self._orders:
            order.cut = True
        if self._order is not None:
            self._order.cut = True
        if self._solving is not None and not self._solving.cut.done():
            self._solving.cut.set_result(EndReason.CANCELLED)
            self._solving.end.reschedule(asyncio.get_running_loop().time() + _LAST_WORD_SECONDS)
            self._tell()  # it waits for its reader no longer

    def end(self) -> None:
        """End the session, its turn first."""
        if self._ending:
            return
        self._ending = True
        self.end_turn()
        if self._work is None:
            self._over()

    def drain(self, reason: Exception) -> None:
        """Begin no more turns; a connection ends with `reason` when none is under way."""
        self._draining = reason
        if self._connection is None:
            self.end_turn()
        self._tell()

    async def gone(self, seconds: float) -> None:
        """Have everything ended, and wait for it; after `seconds` without regard for what is still to be said, and for
        as long again until that is gone, too."""
        self.end_turn()
        if (work := self._work) is not None and (await asyncio.wait([work], timeout=seconds))[1]:
            work.cancel()
            await asyncio.wait([work], timeout=seconds)

    # Who is told

    def connect(self, seen: int) -> Connection:
        """A connection that is told all after message `seen`; any other ends.

        Raises InvalidRequest or SessionEventsGone where that cannot be.
        """
        self._log.check(seen)
        if self._connection is not None:
            self._connection.end()
        self._connection = Connection(seen)
        self._tell()
        return self._connection

    def disconnect(self, connection: Connection) -> bool:
        """It is gone. Whether the session has lost its connection by that."""
        if self._connection is not connection:
            return False
        self._connection = None
        self._tell()  # a turn that waited for its reader goes on
        return True

    def current(self, connection: Connection) -> bool:
        """Whether it has not been superseded."""
        return self._connection is connection

    def seen(self, number: int) -> None:
        """The client has all up to this message: nothing of it has to be kept, or told. Raises InvalidRequest."""
        self._log.trim(number)
        if self._connection is not None:
            self._connection.told = max(self._connection.told, number)
            self._tell()

    def note_connection(self, connection: Connection, *, failure: Exception | None = None) -> None:
        """It says nothing more, or (`failure`) has to end."""
        connection.quiet, connection.failure = True, failure
        self._tell()

    async def replies(self, connection: Connection) -> AsyncGenerator[bytes]:
        """What it is to be told; ends with the session, or, for a quiet connection, with the turn under way.

        Raises:
            SessionSuperseded: a newer connection has taken over.
            Exception: `failure`, or what `drain` was told.
        """
        while True:
            news = self._news
            if not self.current(connection):
                raise SessionSuperseded(self.name)
            if connection.failure is not None:
                raise connection.failure
            number = connection.told + 1
            data = self._log.get(number)
            if data is not None:
                yield data
                connection.told = max(connection.told, number)
                self._tell()
            elif self.ended:
                return
            elif not self.busy and self._draining is not None:
                raise self._draining
            elif not self.busy and connection.quiet:
                return
            else:
                await news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # Turns

    def _emit(self, reply: Reply) -> None:
        unsent = None if self._connection is None else self._connection.told + 1
        self._log.append(self._write(self._log.next, reply), unsent=unsent)
        self._tell()

    def _over(self) -> None:
        self._emit(SessionEnded())
        self.ended = True
        self._tell()

    async def _turns(self) -> None:
        try:
            while self._orders:
                self._order = self._orders.popleft()
                await self._ordered(self._order)
        finally:
            self._order = self._work = None
            if self._ending:
                self._over()
            self._tell()

    async def _ordered(self, order: _Order) -> None:
        self.conversation.draw(order.action)
        for left in range(order.action.rounds, 0, -1):
            automatic = left < order.action.rounds
            started = self.conversation.begin(
                automatic=automatic, same_prompt=order.action.same_prompt and not automatic
            )
            self._emit(started)
            outcome, failure = await self._solved(order, started.spec)
            self.conversation.end(outcome, failure)
            more = (
                left > 1
                and outcome is TurnOutcome.UNSOLVED
                and not order.cut
                and self._draining is None
                and len(self.conversation.turns) < self._most_turns
            )
            cost = self.conversation.turns[-1].accounting if outcome is TurnOutcome.CUT_OFF else None
            self._emit(
                TurnEnded(turn=started.turn, outcome=outcome, failure=failure, another_follows=more, accounting=cost)
            )
            if not more:
                return

    async def _solved(self, order: _Order, spec: SolveSpec) -> tuple[TurnOutcome, TurnFailure | None]:
        """One solve. However it ends, it ends as one turn."""
        if order.cut:
            return TurnOutcome.CUT_OFF, None
        if self.conversation.full:
            error = SessionLimit("SESSION_FULL", "this session holds as much as it may; start another one")
            return TurnOutcome.FAILED, self._failure_of(error)
        outcome: TurnOutcome | None = None
        cut, end = asyncio.get_running_loop().create_future(), asyncio.timeout(None)
        try:
            async with end, aclosing(self._run(spec, cut)) as events:
                self._solving = _Solving(cut, end)
                async for event in events:
                    self.conversation.take(event)
                    if isinstance(event.body, Summary):
                        outcome = _outcome(event.body, cut=order.cut)
                    if outcome is not TurnOutcome.CUT_OFF:
                        self._emit(event)
                    await self._room(order)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            if outcome is None:
                return TurnOutcome.FAILED, self._failure_of(EngineFailed("a part of the server was cancelled"))
        except Exception as error:
            if outcome is None:
                if isinstance(error, TimeoutError) and end.expired():
                    return TurnOutcome.CUT_OFF, None
                return TurnOutcome.FAILED, self._failure_of(error)
        finally:
            self._solving = None
        return outcome or TurnOutcome.UNSOLVED, None

    async def _room(self, order: _Order) -> None:
        """Wait while the connection has much to be told, unless the turn is to end."""
        while self._connection is not None and not order.cut:
            news = self._news
            if self._log.size_after(self._connection.told) <= self._log_bytes // 2:
                return
            await news.wait()


def _outcome(summary: Summary, *, cut: bool) -> TurnOutcome:
    if summary.outcome is SolveOutcome.SOLVED:
        return TurnOutcome.SOLVED
    return TurnOutcome.CUT_OFF if cut else TurnOutcome.UNSOLVED
