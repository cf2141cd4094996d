"""The tiers of a cascade: who solves, on which terms, and what each of them is asked of a request."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Protocol

from engine.core.types import EndReason, Mode
from engine.solving.events import SolveEvent
from engine.solving.served import ModelInfo
from engine.solving.spec import Budget, Cascade, ChatPrompt, PriorAttempt, Prompt, ReturnPolicy, SolveSpec

Cut = asyncio.Future[EndReason]
"""Done once the rest of a solve is not wanted: CUT_OFF, another tier has solved it; CANCELLED, its caller has left."""
_SEEDS = 1 << 64


class Tier(Protocol):
    """Somebody who solves: a model of this server, or servers elsewhere."""

    @property
    def name(self) -> str:
        """What the owner of the cascade calls it."""
        ...

    @property
    def model(self) -> str:
        """What its model is called there; empty for the default one."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it is; none: here."""
        ...

    @property
    def tries(self) -> int:
        """How often one solve may be begun here: again, on another replica, where it was lost."""
        ...

    def info(self) -> ModelInfo | None:
        """Its model, once that is known."""
        ...

    def solve(self, spec: SolveSpec, *, deadline: float | None, cut: Cut) -> AsyncGenerator[SolveEvent, None]:
        """Events of one solve; `deadline` is in seconds from now. Raises the errors of `engine.solving.errors`.

        Once `cut` is done it ends as soon as it can, with a summary or without. Closing the generator, or cancelling
        the task that reads it, ends it everywhere.
        """
        ...


class Solving(Protocol):
    """What a tier of this server needs of its solver."""

    def models(self) -> tuple[ModelInfo, ...]: ...

    def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]: ...


class LocalTier:
    """A model of this server."""

    addresses: tuple[str, ...] = ()
    tries = 1

    def __init__(self, name: str, model: str, solver: Solving) -> None:
        self.name = name
        self.model = model
        self._solver = solver

    def info(self) -> ModelInfo | None:
        """Its model; None while its engine is down."""
        return next((model for model in self._solver.models() if model.name == self.model), None)

    def solve(self, spec: SolveSpec, *, deadline: float | None, cut: Cut) -> AsyncGenerator[SolveEvent, None]:
        """As Tier says; a solve that is cut still gives its account."""
        return self._solver.solve(replace(spec, model=self.model), deadline=deadline, cut=cut)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a tier may do of one solve. None is no limit of its own, and where it stands for a choice, the request's.

    `money` is in the unit of `price`, which is that of a million generated tokens. `concurrency`: solves at a time.
    `variant`: which of the request's prompts it is given, 0 for the problem's own, all in turn if None; a request that
    has no such variant is given as it is. `attempts_in_prompt`: chats show what failed before.
    """

    k: int | None = None
    temperatures: tuple[float, ...] = ()
    rows: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    money: float | None = None
    price: float | None = None
    concurrency: int | None = None
    variant: int | None = None
    attempts_in_prompt: bool = False

    @property
    def most_tokens(self) -> int | None:
        """Tokens that both limits allow, one at least."""
        bought = None if self.money is None or not self.price else max(1, round(self.money / self.price * 1e6))
        limits = [limit for limit in (self.tokens, bought) if limit is not None]
        return min(limits, default=None)

    def cost_of(self, tokens: int) -> float | None:
        """What so many generated tokens cost."""
        return None if self.price is None else tokens * self.price / 1e6

    def samples(self, spec: SolveSpec) -> int | None:
        """How many samples it may draw; None where their number is open. A k of the request holds for each tier."""
        limits = [limit for limit in (self.k, spec.sampling.k) if limit is not None]
        return min(limits, default=None)


def asked_of(
    terms: Terms,
    spec: SolveSpec,
    *,
    position: int,
    k: int | None,
    seed: int,
    budget: Budget,
    passes: int,
    attempts: tuple[PriorAttempt, ...],
    upstream: str,
) -> SolveSpec:
    """What tier number `position` is asked of a request.

    Args:
        terms: the tier's.
        spec: the request.
        position: 0 for the first tier.
        k: samples to draw at most; None: as many as the budget pays for.
        seed: the request's. Each tier draws with one of its own, so that two tiers of one model draw other samples.
        budget: what it may cost.
        passes: candidates that have still to pass.
        attempts: programs that are there already.
        upstream: the model that wrote them.
    """
    prompts = _prompts(terms, spec)[:k]
    return replace(
        spec,
        prompt=prompts[0],
        variants=prompts[1:],
        sampling=replace(
            spec.sampling,
            k=k,
            temperatures=_temperatures(terms, spec, k, len(prompts)),
            seed=None if spec.sampling.mode is Mode.BEAM else (seed + position) % _SEEDS,
        ),
        budget=budget,
        stop_after_passes=(
            1 if spec.return_policy is not ReturnPolicy.FIRST_PASS else passes if k is None else min(passes, k)
        ),
        # Of programs that fail the next tier needs the text; and what is known of a tier that is lost, its events tell.
        events=replace(spec.events, failing_code=True, branches=True),
        cascade=Cascade(
            attempts=attempts,
            in_prompt=bool(attempts)
            and (terms.attempts_in_prompt or spec.cascade.in_prompt)
            and any(isinstance(prompt, ChatPrompt) for prompt in prompts),
            tier=spec.cascade.tier + position,
            upstream_model=upstream,
            difficulty=spec.cascade.difficulty,
        ),
    )


def _prompts(terms: Terms, spec: SolveSpec) -> tuple[Prompt, ...]:
    if terms.variant is None or terms.variant >= len(spec.prompts):
        return spec.prompts
    return (spec.prompts[terms.variant],)


def _temperatures(terms: Terms, spec: SolveSpec, k: int | None, prompts: int) -> tuple[float, ...]:
    """Those of the tier as far as its samples reach them, else the request's."""
    match spec.sampling.mode:
        case Mode.BEAM:
            return ()
        case Mode.DISTINCT:
            return (terms.temperatures or spec.sampling.temperatures)[:1]
        case Mode.INDEPENDENT:
            found = terms.temperatures or spec.sampling.temperatures
            return found if k is None else found[: -(-k // prompts)]
