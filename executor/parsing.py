"""Asks whether a text is Python before a jail is spent on it.

The compiler reads hostile text, so it does that in a jail of its own: one that reads text after text, but never runs
any. What it cannot say at once (it is busy, broken, or the text was made to be slow) counts as Python: the program's
own jail will find out.
"""

import asyncio
import contextlib
import itertools
import logging

from executor.errors import JailError
from executor.homes import Homes
from executor.jail import Jail
from executor.settle import Outcome, refused_outcome
from executor.spawning import Maker

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 0.25
_LONGEST_TEXT = 128 << 10
_MEMORY_BYTES = 256 << 20
_PROCESSES = 8


class Parser:
    """The jail that only reads. Started when first needed, and again after it was lost."""

    def __init__(self, maker: Maker, homes: Homes, start_seconds: float) -> None:
        self._maker = maker
        self._homes = homes
        self._start_seconds = start_seconds
        self._jail: Jail | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Outcome | None]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._ends: set[asyncio.Task[None]] = set()
        self._closed = False
        self.kill_alarms = 0

    async def refusal(self, code: str) -> Outcome | None:
        """Why `code` is no Python program; None if it is one, or if that is not known in time."""
        jail = self._jail
        if jail is None:
            self.start()  # an earlier start may have failed
            return None
        if not self._maker.usable(jail.home):
            self._lost(jail)
            return None
        if len(code) > _LONGEST_TEXT:
            return None
        number = next(self._numbers)
        answer: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        jail.send(("parse", number, code))
        try:
            return await asyncio.wait_for(answer, _ANSWER_SECONDS)
        except TimeoutError:
            self._lost(jail)
            return None
        finally:
            self._waiting.pop(number, None)

    def start(self) -> None:
        """Start the jail, if it is neither there nor on its way."""
        if self._starting is None and self._jail is None and not self._closed:
            self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        jail: Jail | None = None
        try:
            jail = Jail(self._homes.take())
            jail.group.limit(_MEMORY_BYTES, _PROCESSES)
            await jail.start(self._maker, self._start_seconds)
            jail.on_parsed = self._parsed
            jail.on_lost = lambda: self._lost(jail)
            self._jail = jail
        except (JailError, OSError) as error:
            _log.warning("the parser's jail did not start: %s", error)
            self._end(jail)
        except asyncio.CancelledError:
            self._end(jail)
            raise
        finally:
            self._starting = None

    def _parsed(self, number: int, name: str, text: str) -> None:
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(refused_outcome(name, text) if name else None)

    def _lost(self, jail: Jail) -> None:
        """Nobody waits for a jail that is gone, or that a text keeps busy; another takes its place."""
        if self._jail is jail:
            self._jail = None
            self._end(jail)
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result(None)
            self.start()

    def _end(self, jail: Jail | None) -> None:
        if jail is not None:
            task = asyncio.create_task(self._kill(jail))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

    async def _kill(self, jail: Jail) -> None:
        if await jail.kill():
            self._maker.gone(jail.home)
            self._homes.give_back(jail.home)
        else:
            _log.error("the parser's jail %d was not empty in time after its kill", jail.home.number)
            self.kill_alarms += 1

    @property
    def unsettled(self) -> bool:
        """Whether its jail is being started or ended."""
        return self._starting is not None or bool(self._ends)

    async def close(self) -> None:
        """End the jail."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        if self._jail is not None:
            self._lost(self._jail)
        await asyncio.gather(*self._ends)
