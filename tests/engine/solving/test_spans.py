"""What a solve's spans say of what happened in an order that a caller who leaves brings about."""

import time
from collections.abc import Mapping

from engine.core.types import FirstToken, SolveStarted
from engine.solving.spans import SolveSpans
from engine.tracing import Span, Value


class Noted:
    """A span that keeps when it began and ended; fits engine.tracing.Span."""

    trace_id = "0" * 32

    def __init__(self, name: str, all_of_them: list["Noted"], at: float | None = None) -> None:
        self.name = name
        self.began = time.monotonic() if at is None else at
        self.ended: float | None = None
        self._all = all_of_them
        all_of_them.append(self)

    def child(self, name: str, attributes: Mapping[str, Value], *, at: float | None = None) -> "Noted":
        return Noted(name, self._all, at)

    def calling(self, method: str) -> tuple[Span, list[tuple[str, str]]]:
        raise AssertionError("no other server is called")

    def add(self, attributes: Mapping[str, Value]) -> None:
        pass

    def fail(self, kind: str) -> None:
        pass

    def end(self, *, at: float | None = None) -> None:
        if self.ended is None:
            self.ended = time.monotonic() if at is None else at


def test_a_solve_that_began_before_its_caller_had_the_answer_waited_since_it_was_submitted() -> None:
    made: list[Noted] = []
    spans = SolveSpans(Noted("solve", made))
    spans.submitting()
    # The caller has left, so that nobody said `admitted`; what the engine did is still told.
    spans.core(SolveStarted(1, 0.25, 9, 0))
    spans.core(FirstToken(1, 0.5))
    times = {span.name: (span.began, span.ended) for span in made}
    submitted = times["queue"][0]
    assert times["queue"][1] is not None and submitted + 0.249 <= times["queue"][1] < submitted + 60
    assert times["prefill"][1] is not None and submitted + 0.499 <= times["prefill"][1] < submitted + 60
