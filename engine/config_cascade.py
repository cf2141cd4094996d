"""The settings of a cascade: its tiers, and when each of them is asked."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from engine.config_base import ConfigError, Names, Positive, Section

_PROBABILITY = Field(gt=0, lt=1)
_ADDRESS = re.compile(r"^(unix:|dns:|\[|[^/]*:\d+(,|$))")


class CascadePolicy(StrEnum):
    """When the next tier is asked."""

    SEQUENTIAL = "sequential"
    HEDGED = "hedged"


class GiveUp(StrEnum):
    """When a tier draws no more."""

    FIXED = "fixed"
    LEARNED = "learned"


class TierSettings(Section):
    """One tier of a cascade."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """What events, accounts and metrics call it."""
    model: str = ""
    """The model: of this server, as models.serve has it; of the servers at `addresses`, as they list it, or absent for
    their default one."""
    addresses: Names = ()
    """Other Thresher servers (`unix:/path`, `host:port`, `dns:///host:port`) that serve it, each as good as the others.
    None: this server."""
    k: Positive | None = None
    """Samples of one solve at most. Absent: the k of the request, which in any case holds for each tier."""
    temperatures: tuple[Annotated[float, Field(ge=0, le=100)], ...] = ()
    """Instead of the request's: sample i is drawn at number (i // prompts) mod count. As many as its samples reach."""
    max_rows: Positive | None = None
    """Rows of one solve here at most, and no more than what is left of the request's own budget."""
    max_tokens: Positive | None = None
    """Generated tokens of one solve here at most, likewise."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Seconds of one solve here at most, likewise. A tier that does not keep them counts as lost."""
    money: Annotated[float, Field(gt=0)] | None = None
    """What one solve may cost here at most, in the unit of `price`."""
    price: Annotated[float, Field(ge=0)] | None = None
    """Price of a million generated tokens. If all tiers have one, costs are compared by it, else by seconds."""
    concurrency: Positive | None = None
    """Solves that it works on at a time; others wait. Absent: any number."""
    variant: Annotated[int, Field(ge=0)] | None = None
    """Which of a request's prompts it is given: 0 for the problem's own, 1 for the first of its variants. Absent: all
    in turn, and so it is for requests that have no such variant."""
    attempts_in_prompt: bool = False
    """Show it in chats what the tiers before it have written, and how that failed."""

    @model_validator(mode="after")
    def _fits(self) -> "TierSettings":
        if self.money is not None and not self.price:
            raise ValueError("money needs a price of tokens; set price, too")
        if not self.model and not self.addresses:
            raise ValueError(f"tier {self.name} has neither a model nor addresses; say who it is")
        return self


class CascadeSettings(Section):
    """Several models as one: cheap ones first, the next one where they fail (docs/cascades.md)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "cascade"
    """The model that requests name to be solved by the tiers."""
    tiers: tuple[TierSettings, ...] = ()
    """The tiers in their order, each a table (`[[cascade.tiers]]`). None: there is no cascade."""
    policy: CascadePolicy = CascadePolicy.SEQUENTIAL
    """`sequential`: a tier is asked once the one before has ended without a pass; `hedged`: it may start beside it."""
    hedge_ms: Annotated[float, Field(ge=0)] | None = None
    """With `hedged`: milliseconds after which the next tier starts beside one that still works."""
    hedge_below: Annotated[float, _PROBABILITY] | None = None
    """With `hedged`: the chance, given the verdicts so far, that a tier still solves it, below which the next one
    starts beside it."""
    give_up: GiveUp = GiveUp.FIXED
    """`fixed`: a tier draws what its terms allow, which is reproducible; `learned`: no more samples than are worth what
    they cost, by what its solves have taught since the start."""
    silence_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Seconds without an event after which a server elsewhere is asked whether it is still there."""
    token_file: Path | None = None
    """File with the bearer token that the servers at the tiers' addresses ask for on TCP. They may share one."""
    tls_ca: Path | None = None
    """File with the certificates, in PEM, by which those of the servers must be issued: they are then called by TLS."""
    tls_certificate: Path | None = None
    """File with the certificate by which this server shows itself to those that ask for one, in PEM."""
    tls_key: Path | None = None
    """File with the private key of that certificate, in PEM."""

    @model_validator(mode="after")
    def _fits(self) -> "CascadeSettings":
        names = [tier.name for tier in self.tiers]
        if len(set(names)) != len(names):
            raise ValueError(f"tiers: {', '.join(names)} names one twice")
        hedges = [name for name in ("hedge_ms", "hedge_below") if getattr(self, name) is not None]
        if hedges and self.policy is not CascadePolicy.HEDGED:
            raise ValueError(f"{hedges[0]} is of the policy hedged; set policy to that, or leave it out")
        if not hedges and self.policy is CascadePolicy.HEDGED:
            raise ValueError("policy hedged needs hedge_ms or hedge_below, which say when the next tier starts")
        return self


def tier_of(word: str) -> dict[str, object]:
    """A tier as `--tier` says it: NAME=MODEL, or NAME=ADDRESS[,ADDRESS...]. Raises ConfigError for anything else."""
    name, separator, who = word.partition("=")
    if not (separator and name and who):
        raise ConfigError(f"--tier {word!r} is not of the form NAME=MODEL or NAME=ADDRESS[,ADDRESS...]")
    if _ADDRESS.match(who):
        return {"name": name, "addresses": who}
    return {"name": name, "model": who}
