"""The rounds of a soak: a mixed load with guests beside it, then rest, a look, and both books."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thresher.client import AsyncClient, solve_spec

from benchmarks.load.books import compare
from benchmarks.load.calls import FAILED, Answer
from benchmarks.load.generator import Target
from benchmarks.load.loads import Users
from benchmarks.load.mix import Cancel, Entry, Mix
from benchmarks.load.receipts import Receipt, ServerLog
from benchmarks.load.run import Served, run
from benchmarks.load.scrape import Scraper
from benchmarks.soak.guests import Guests
from benchmarks.soak.resting import Resting, at_rest, growth, line
from benchmarks.steady import document
from engine.exposition import Book, grown, key, total
from engine.metric_words import SANDBOX_FAULTS

_SHORTEST_ROUND, _LONGEST_ROUND, _ROUNDS = 10.0, 60.0, 8
_USERS, _THINK, _PATIENCE, _SLO = 6, 0.2, 60.0, 10.0
_EXECUTIONS = key("thresher_execution_seconds_count")


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What a soak has seen. `faults`: in words; none is as it should be."""

    states: list[Resting] = field(default_factory=list[Resting])
    warm: int = 0
    solves: Counter[str] = field(default_factory=Counter[str])
    guests: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rounds": len(self.states),
            "warm_up_rounds": self.warm,
            "states": [state.plain() for state in self.states],
            "solves": dict(sorted(self.solves.items())),
            "guests": dict(sorted(self.guests.items())),
            "faults": self.faults,
        }


def shape(minutes: float) -> tuple[int, int, float]:
    """Rounds, those of them that warm up, and the seconds of each: at least eight, none longer than a minute."""
    seconds = min(_LONGEST_ROUND, max(_SHORTEST_ROUND, minutes * 60 / _ROUNDS))
    rounds = max(4, math.ceil(minutes * 60 / seconds))
    return rounds, max(2, rounds // 4), seconds


async def soak(
    address: str, metrics: str, log: Path, pid: int, *, minutes: float, seed: int, say: Callable[[str], None]
) -> Soaked:
    """Soak a server of this machine for so long. `metrics`: its endpoint; `log`: its JSON log; `pid`: its front."""
    rounds, warm, seconds = shape(minutes)
    found = Soaked(warm=warm)
    served, scraper = Served(target=Target(address=address)), Scraper(metrics)
    async with AsyncClient(address, name="soak") as client:
        await client.wait_ready(_PATIENCE)
        for number in range(rounds):
            guests = Guests(address, seed + number)
            server_log, before = ServerLog(log), await scraper.settled()
            load = Users(users=_USERS, think=_THINK, seconds=seconds)
            title = f"round {number + 1}"
            ran, _ = await asyncio.gather(
                run(served, mix(), load, seed=seed + number, patience=_PATIENCE, title=title, slo=_SLO),
                guests.come(seconds),
            )
            found.states.append(await at_rest(client, pid, scraper))
            counted = grown(before, await scraper.settled())
            faults = [*_differences(ran.answers, counted, server_log.receipts(), guests), *guests.faults]
            faults += [
                f"{count:g} sandbox faults of the kind {kind}"
                for kind in SANDBOX_FAULTS
                if (count := total(counted, "thresher_sandbox_faults_total", kind=kind))
            ]
            found.faults += [f"{title}: {text}" for text in faults]
            found.solves.update(answer.end if answer.end != FAILED else answer.code.lower() for answer in ran.answers)
            found.guests.update(guests.seen)
            say(f"{title} of {rounds}: {len(ran.answers)} solves, {line(found.states[-1])}")
    for text in (name for name in found.solves if name in ("internal", "unknown", "unavailable")):
        found.faults.append(f"{found.solves[text]} solves ended with {text.upper()}")
    found.faults += growth(found.states, warm)
    return found


def _differences(
    answers: Sequence[Answer], counted: Book, receipts: Sequence[Receipt], guests: Guests
) -> Iterator[str]:
    """Where the books differ: of solves to the last token, of guests' programs by verdict."""
    of_guests = {
        dict(labels)["verdict"]: value
        for (name, labels), value in counted.items()
        if name == "thresher_verdicts_total" and ("source", "request") in labels
    }
    yield from guests.differences(of_guests)
    of_solves = {series: value for series, value in counted.items() if ("source", "request") not in series[1]}
    # Programs of ExecutionService are in no solve's account.
    of_solves[_EXECUTIONS] = of_solves.get(_EXECUTIONS, 0.0) - sum(of_guests.values())
    yield from (f"the books differ: {text}" for text in compare(answers, of_solves, receipts).differences)


def mix() -> Mix:
    """Callers who wait, who leave, whose time is short, who draw widely, and who watch every token."""

    def entry(
        name: str, weight: float, *, timeout: float | None = None, cancel: Cancel | None = None, **more: Any
    ) -> Entry:
        specs = tuple(solve_spec(_with(document(number), more)) for number in range(12))
        names = tuple(f"{name}/{number}" for number in range(len(specs)))
        return Entry(name=name, weight=weight, specs=specs, problems=names, clients=2, timeout=timeout, cancel=cancel)

    return Mix(
        (
            entry("waits", 3.0),
            entry("leaves", 3.0, cancel=Cancel(share=0.8, after=(0.02, 4.0))),
            entry("hurries", 2.0, timeout=1.5),
            entry("no time", 1.0, timeout=0.05),
            entry("wide", 1.0, sampling={"k": 16, "mode": "distinct", "max_new_tokens": 48}, policy="all"),
            entry("watches", 1.0, events={"token_deltas": True, "branches": True, "test_results": True}),
            entry("budget", 1.0, budget={"rows": 40}, priority="batch"),
        )
    )


def _with(problem: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    sampling = {**problem["sampling"], **more.get("sampling", {})}
    return {**problem, **more, "sampling": sampling}
