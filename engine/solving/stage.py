"""A cascade's owner's side: when the next tier is asked, and what is kept of each tier from solve to solve."""

import asyncio
from dataclasses import dataclass, field

from engine.solving.experience import Experience
from engine.solving.tiers import Terms, Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When the next tier is asked. `learned`: a tier gives up where its samples are no longer worth what they cost.

    Where it is `hedged` the next tier may start beside one that still works: `after` so many seconds, or when the
    chance that the other one still solves it falls below `below`.
    """

    learned: bool = False
    hedged: bool = False
    after: float | None = None
    below: float | None = None


@dataclass(slots=True)
class Stage:
    """A tier in its place: its terms, who waits for it, and what it has taught."""

    tier: Tier
    terms: Terms
    experience: Experience = field(default_factory=Experience)
    turns: asyncio.Semaphore | None = None

    def __post_init__(self) -> None:
        if self.terms.concurrency is not None:
            self.turns = asyncio.Semaphore(self.terms.concurrency)
