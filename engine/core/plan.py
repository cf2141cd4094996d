"""A step together with the bookkeeping for its results."""

from dataclasses import dataclass

from engine.core.chunks import Work
from engine.core.types import Draw, Step


@dataclass(slots=True)
class Plan:
    """What a step computes, and for whom: `rows` of branches that attend to `context` tokens, shared ones counted once,
    and `prefill_tokens` beside them."""

    step: Step
    work: list[Work]
    rows: int
    context: int
    prefill_tokens: int


def plan_of(work: list[Work], after: list[Draw]) -> Plan:
    """The plan of these chunks; `after`: as of Step."""
    step = Step([piece.chunk for piece in work], after)
    in_rows = [piece.chunk for piece in work if piece.is_row]
    rows = sum(len(chunk.tokens) for chunk in in_rows)
    shared = {id(chunk.prefix): len(chunk.prefix) for chunk in in_rows}
    context = sum(len(chunk.suffix) for chunk in in_rows) + sum(shared.values())
    return Plan(step, work, rows, context, step.tokens - rows)
