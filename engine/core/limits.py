"""Bounds of the scheduler, and what it refuses because of them."""

from dataclasses import dataclass


class NeverFits(Exception):
    """The solve needs more pages than the pool has, even alone."""


class QueueIsFull(Exception):
    """Too many solves are waiting."""


class DeadlineTooClose(Exception):
    """Not even the prompt could be computed before the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the scheduler.

    rows: branches in one step at most. step_seconds: the aim for a step with prefill in it. least_prefill: tokens that
    the prefill of a step has at least, so that prompts move on beside a full batch. waiting: solves queued at most.
    drafting: whether tokens are guessed ahead of the model where that pays.
    """

    rows: int = 64
    step_seconds: float = 0.1
    least_prefill: int = 32
    waiting: int = 256
    drafting: bool = True
