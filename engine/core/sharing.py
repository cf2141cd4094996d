"""How the rows of a step are divided between the solves that can draw."""

from engine.core.clients import Clients, fill
from engine.core.drafts import LONGEST
from engine.core.pace import Paces
from engine.core.solves import Solve
from engine.core.steptime import StepTime

_BATCH_SLOWS = 0.25
"""How much longer a step of interactive solves may be for the batch ones in it."""
_UNEQUAL_SLOWS = 0.15
"""How much longer it may be for what some clients get beyond an equal part, of rows that others leave unused."""


class Sharing:
    """Divides `rows` rows: interactive before batch, between clients by what they were served."""

    def __init__(self, clients: Clients, paces: Paces, step_time: StepTime, rows: int) -> None:
        self._clients = clients
        self._paces = paces
        self._step_time = step_time
        self._rows = rows

    def wish(self, solve: Solve) -> int:
        """Rows that a running solve could use now."""
        return self._paces.width(solve.request.solve, len(solve.wants_rows) + solve.startable)

    def divide(self, ready: list[Solve], context: float, *, pressing: bool) -> list[tuple[Solve, int]]:
        """Rows for each of these solves, the oldest first.

        Beside interactive solves the others have as many rows as do not slow them much, and one at least; and so does,
        of rows that others leave unused, a client that has an equal part already. The oldest solve has one row whatever
        it is: it holds pages that no younger one can take.

        Args:
            ready: all that can draw.
            context: tokens that a row attends to.
            pressing: somebody waits for an interactive solve, whether it is ready or not.
        """
        if not ready:
            return []
        left = self._rows - 1
        granted = {ready[0].request.solve: 1}
        each = self._step_time.predict(self._rows, self._rows * context, 0) / self._rows
        for interactive in (True, False):
            solves = [solve for solve in ready if solve.request.interactive is interactive]
            kept = int(interactive and len(solves) < len(ready))  # for the others
            if not interactive and pressing:
                left = min(left, self._beside(self._rows - left, context, _BATCH_SLOWS))
            rows = self._together(solves, left - kept, context) if interactive else left
            filled = fill(rows, self._clients.in_order(solves), solves, self.wish, each)
            for name, share in filled.items():
                granted[name] = granted.get(name, 0) + share
            left -= sum(filled.values())
        return [(solve, min(self.wish(solve), granted[solve.request.solve])) for solve in ready]

    def draftable(self, shares: list[tuple[Solve, int]]) -> dict[str, int]:
        """Tokens that each client may draft: alone any number, else what its rows leave of an equal part of the step.

        A drafted token costs all clients of the step its time, and gains it for one.
        """
        rows: dict[str, int] = {}
        for solve, share in shares:
            rows[solve.request.client] = rows.get(solve.request.client, 0) + share
        if len(rows) == 1:
            return dict.fromkeys(rows, self._rows * LONGEST)
        return {client: max(0, self._rows // len(rows) - mine) for client, mine in rows.items()}

    def _together(self, solves: list[Solve], rows: int, context: float) -> int:
        """How many of these rows interactive solves get together."""
        wishes: dict[str, int] = {}
        for solve in solves:
            wishes[solve.request.client] = wishes.get(solve.request.client, 0) + self.wish(solve)
        if len(wishes) < 2:
            return rows
        equal = -(-rows // len(wishes))
        fair = sum(min(wish, equal) for wish in wishes.values())
        return min(rows, fair + self._beside(fair, context, _UNEQUAL_SLOWS))

    def _beside(self, rows: int, context: float, slower: float) -> int:
        """Rows beside so many that make a step longer by this part of it at most, one at least."""

        def seconds(more: int) -> float:
            return self._step_time.predict(rows + more, (rows + more) * context, 0)

        longest, low, high = (1 + slower) * seconds(0), 1, max(1, self._rows - rows)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if seconds(middle) <= longest else (low, middle - 1)
        return low
