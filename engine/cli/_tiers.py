"""Cascades from settings: beside a server's own models, or in front of other servers alone."""

from engine.config import Settings
from engine.config_base import ConfigError
from engine.config_cascade import CascadePolicy, CascadeSettings, GiveUp, TierSettings
from engine.metrics import Metrics
from engine.remote.build_tier import remote_tiers
from engine.remote.tier import RemoteTier
from engine.solving.cascade import CascadeSolver
from engine.solving.routing import Router
from engine.solving.stage import Policy, Stage
from engine.solving.tiered import OwnSolver, TieredSolver
from engine.solving.tiers import LocalTier, Terms, Tier


def with_cascade(own: OwnSolver, names: dict[str, str], settings: Settings, metrics: Metrics) -> TieredSolver:
    """The cascade beside the server's models; `names` maps models.serve to what each is called over gRPC.

    Raises ConfigError for tiers that are not there.
    """
    cascade = settings.cascade
    if cascade.name in names.values():
        raise ConfigError(f"cascade.name: a model is called {cascade.name!r}, too; give the cascade another name")
    elsewhere = remote_tiers(settings)
    tiers: list[Tier] = []
    for tier in cascade.tiers:
        if tier.name in elsewhere:
            tiers.append(elsewhere[tier.name])
        elif tier.model in names:
            tiers.append(LocalTier(tier.name, names[tier.model], own))
        else:
            raise ConfigError(
                f"cascade.tiers.{tier.name}.model: {tier.model!r} is not served here ({', '.join(names)}); add it to "
                "models.serve, or name the addresses of a server that has it"
            )
    return TieredSolver(own, _cascade(tiers, settings, metrics), list(elsewhere.values()))


def build_router(settings: Settings, metrics: Metrics) -> Router:
    """A front without models, not started yet. Raises ConfigError for settings that contradict that."""
    cascade = settings.cascade
    if not cascade.tiers:
        raise ConfigError("cascade.tiers: a router needs at least one; name them by --tier NAME=ADDRESS")
    here = [tier.name for tier in cascade.tiers if not tier.addresses]
    if here:
        raise ConfigError(
            f"cascade.tiers.{here[0]}: a router has no models of its own; name the addresses of servers, or use "
            "`thresher serve`"
        )
    found = remote_tiers(settings)
    tiers: list[RemoteTier] = [found[tier.name] for tier in cascade.tiers]
    return Router(_cascade(tiers, settings, metrics), tiers)


def _cascade(tiers: list[Tier] | list[RemoteTier], settings: Settings, metrics: Metrics) -> CascadeSolver:
    cascade = settings.cascade
    metrics.serve_tiers([tier.name for tier in tiers])
    stages = [Stage(tier, _terms(own)) for tier, own in zip(tiers, cascade.tiers, strict=True)]
    return CascadeSolver(
        cascade.name,
        stages,
        _policy(cascade),
        most=settings.limits.max_k,
        waiting=settings.limits.max_waiting,
        metrics=metrics,
    )


def _terms(tier: TierSettings) -> Terms:
    return Terms(
        k=tier.k,
        temperatures=tier.temperatures,
        rows=tier.max_rows,
        tokens=tier.max_tokens,
        seconds=tier.seconds,
        money=tier.money,
        price=tier.price,
        concurrency=tier.concurrency,
        variant=tier.variant,
        attempts_in_prompt=tier.attempts_in_prompt,
    )


def _policy(cascade: CascadeSettings) -> Policy:
    return Policy(
        learned=cascade.give_up is GiveUp.LEARNED,
        hedged=cascade.policy is CascadePolicy.HEDGED,
        after=None if cascade.hedge_ms is None else cascade.hedge_ms / 1000,
        below=cascade.hedge_below,
    )
