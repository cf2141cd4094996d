"""Who is served next: clients share the engine by what they have been served.

A virtual counter for each client (Sheng et al., "Fairness in serving large language models", OSDI 2024) grows with the
seconds of work done for it; the client with the smallest is next. One that comes back from being idle is lifted to
those that are active, so that nobody saves up time, and nobody falls further behind than `LAG`, so that making up for
it never locks the others out for long. Within a client the solve with the earliest deadline is first.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from engine.core.solves import Solve

LAG = 1.0
"""Seconds of service that an active client can be behind at most."""

_BATCH_TURN = 8
"""Of so many admissions one is a batch solve's if any waits: interactive ones go ahead, but not for ever."""

_FORGET = 4096
"""Clients remembered while idle."""

_Heap = list[tuple[float, int, Solve]]


@dataclass(slots=True, eq=False)
class Client:
    """`served`: the virtual counter, in seconds. waiting: by class (interactive or not), earliest deadline first."""

    name: str
    served: float = 0.0
    running: int = 0
    waits: int = 0
    waiting: dict[bool, _Heap] = field(default_factory=lambda: dict[bool, _Heap]({True: [], False: []}))
    in_turn: set[bool] = field(default_factory=set[bool])  # classes in whose order of turns it is

    @property
    def idle(self) -> bool:
        """Whether it has nothing here."""
        return not self.running and not self.waits


class Clients:
    """All clients and their waiting solves. What a step costs does not depend on how many wait."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._waiting: dict[int, Solve] = {}
        self._order = count()
        self._turns: dict[bool, list[tuple[float, int, Client]]] = {True: [], False: []}
        self._deadlines: _Heap = []
        self._since_batch = 0
        self._now = 0.0
        """Virtual time: what the least served of the active clients has had."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> list[Solve]:
        """The solves that wait, in the order of their arrival."""
        return list(self._waiting.values())

    def waits(self, *, interactive: bool) -> bool:
        """Whether a solve of a class waits."""
        return self._first(interactive=interactive) is not None

    def find(self, solve: int) -> Solve | None:
        """A waiting solve by its number."""
        return self._waiting.get(solve)

    def of(self, solve: Solve) -> Client:
        """The client of a solve that is here."""
        return self._clients[solve.request.client]

    def add(self, solve: Solve) -> None:
        """A solve comes to wait."""
        client = self._clients.setdefault(solve.request.client, Client(solve.request.client))
        if client.idle:
            client.served = max(client.served, self._now)
        deadline = float("inf") if solve.request.deadline is None else solve.request.deadline
        entry = (deadline, next(self._order), solve)
        interactive = solve.request.interactive
        heapq.heappush(client.waiting[interactive], entry)
        if interactive not in client.in_turn:
            client.in_turn.add(interactive)
            heapq.heappush(self._turns[interactive], (client.served, next(self._order), client))
        if solve.request.deadline is not None:
            heapq.heappush(self._deadlines, entry)
        client.waits += 1
        self._waiting[solve.request.solve] = solve

    def next(self) -> Solve | None:
        """The waiting solve whose turn it is; it stays here until `begin` or `remove`."""
        interactive, batch = self._first(interactive=True), self._first(interactive=False)
        if batch is not None and self._since_batch >= _BATCH_TURN - 1:
            return batch
        return batch if interactive is None else interactive

    def begin(self, solve: Solve) -> None:
        """A waiting solve begins to run."""
        overtakes = solve.request.interactive and self._first(interactive=False) is not None
        self._since_batch = self._since_batch + 1 if overtakes else 0
        self.of(solve).running += 1
        self.remove(solve)

    def remove(self, solve: Solve) -> None:
        """A solve waits no more."""
        del self._waiting[solve.request.solve]
        self.of(solve).waits -= 1
        self._forget()

    def end(self, solve: Solve) -> None:
        """A running solve is over."""
        self.of(solve).running -= 1
        self._forget()

    def expired(self, now: float) -> list[Solve]:
        """The waiting solves whose deadline has passed."""
        late: list[Solve] = []
        while self._deadlines and (self._gone(self._deadlines[0][2]) or self._deadlines[0][0] <= now):
            solve = heapq.heappop(self._deadlines)[2]
            late += [] if self._gone(solve) else [solve]
        return late

    def charge(self, seconds: float, shares: dict[str, float]) -> None:
        """A step took so long and did this work (in any unit) for these clients."""
        total = sum(shares.values())
        for name, share in shares.items():
            if total > 0 and name in self._clients:
                self._clients[name].served += seconds * share / total

    def in_order(self, solves: list[Solve]) -> list[Client]:
        """The clients of running solves, the least served first; their counters are brought within `LAG`."""
        clients = list({solve.request.client: self.of(solve) for solve in solves}.values())
        if clients:
            most = max(client.served for client in clients)
            for client in clients:
                client.served = max(client.served, most - LAG)
            clients.sort(key=lambda client: client.served)
            self._now = max(self._now, clients[0].served)
        return clients

    def _first(self, *, interactive: bool) -> Solve | None:
        """The next of a class: of the client least served the solve of the earliest deadline."""
        turns = self._turns[interactive]
        while turns:
            served, _, client = turns[0]
            heap = client.waiting[interactive]
            while heap and self._gone(heap[0][2]):
                heapq.heappop(heap)
            if not heap:
                heapq.heappop(turns)
                client.in_turn.discard(interactive)
            elif served < client.served:  # it has been served since
                heapq.heapreplace(turns, (client.served, next(self._order), client))
            else:
                return heap[0][2]
        return None

    def _gone(self, solve: Solve) -> bool:
        return self._waiting.get(solve.request.solve) is not solve

    def _forget(self) -> None:
        if len(self._clients) > _FORGET and len(self._clients) > 2 * len(self._waiting):
            self._clients = {name: one for name, one in self._clients.items() if not one.idle or one.in_turn}


def fill(
    rows: int, clients: list[Client], solves: list[Solve], wish: Callable[[Solve], int], row_seconds: float
) -> dict[int, int]:
    """Divide rows between solves: solve number -> rows.

    Row by row the client with the smallest counter is next, counting what it has been given here as served. Within a
    client each solve has one row first; then those with a deadline get what they wish, the earliest first, and the
    others share what is left evenly.
    """
    granted: dict[int, int] = {solve.request.solve: 0 for solve in solves}
    owned: dict[str, list[Solve]] = {}
    for solve in solves:
        owned.setdefault(solve.request.client, []).append(solve)
    queues = {name: _grants(mine, wish) for name, mine in owned.items()}
    turns = [(client.served, place, client.name) for place, client in enumerate(clients) if client.name in owned]
    heapq.heapify(turns)
    left = rows
    while left > 0 and turns:
        served, place, name = turns[0]
        solve = next(queues[name], None)
        if solve is None:
            heapq.heappop(turns)
            continue
        granted[solve.request.solve] += 1
        left -= 1
        heapq.heapreplace(turns, (served + row_seconds, place, name))
    return granted


def _grants(solves: list[Solve], wish: Callable[[Solve], int]) -> Iterator[Solve]:
    """One client's solves in the order in which they get rows, each once for each row."""
    wishes = {solve.request.solve: wish(solve) for solve in solves}
    urgent = sorted((s for s in solves if s.request.deadline is not None), key=lambda s: s.request.deadline or 0.0)
    others = [solve for solve in solves if solve.request.deadline is None]
    for solve in [*urgent, *others]:
        if wishes[solve.request.solve]:
            yield solve
    for solve in urgent:
        for _ in range(wishes[solve.request.solve] - 1):
            yield solve
    for turn in range(1, max((wishes[solve.request.solve] for solve in others), default=0)):
        for solve in others:
            if turn < wishes[solve.request.solve]:
                yield solve
