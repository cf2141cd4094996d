"""The tiers of a cascade that are elsewhere, from its settings."""

from pathlib import Path

from thresher.client import ThresherError, Tls
from thresher.client.channel import Endpoint

from engine.config import Settings
from engine.config_base import ConfigError
from engine.config_cascade import CascadeSettings, TierSettings
from engine.remote.replica import Replica
from engine.remote.tier import RemoteTier
from engine.serving.auth import read_token
from engine.serving.listen import Address, TcpAddress, parse_address, require_private

_DNS = "dns:"
_FILES = ("tls_ca", "tls_certificate", "tls_key")


def remote_tiers(settings: Settings) -> dict[str, RemoteTier]:
    """By their names, not started yet. Raises ConfigError for settings that contradict each other."""
    cascade = settings.cascade
    elsewhere = {tier: _addresses(tier) for tier in cascade.tiers if tier.addresses}
    tcp = [address for found in elsewhere.values() for address in found.values() if isinstance(address, TcpAddress)]
    for name in ("token_file", *_FILES):
        if getattr(cascade, name) is not None and not tcp:
            raise ConfigError(f"cascade.{name}: no tier is at an address on TCP; only those have a use for it")
    tls = _tls(cascade)
    for address in tcp:
        require_private(address, "cascade.tiers.addresses", insecure=settings.serving.insecure or tls is not None)
    token = None if cascade.token_file is None else read_token(cascade.token_file.absolute(), "cascade.token_file")
    return {
        tier.name: RemoteTier(
            tier.name,
            tier.model,
            [Replica(name, _endpoint(name, address, token, tls), tier.model) for name, address in found.items()],
            silence=cascade.silence_seconds,
        )
        for tier, found in elsewhere.items()
    }


def _addresses(tier: TierSettings) -> dict[str, Address]:
    """Those of a tier by the text of each."""
    setting = f"cascade.tiers.{tier.name}.addresses"
    if len(set(tier.addresses)) != len(tier.addresses):
        raise ConfigError(f"{setting}: {', '.join(tier.addresses)} names one twice")
    # Behind a name of DNS there may be several servers, between which gRPC chooses itself.
    return {
        text: parse_address(text.removeprefix(_DNS).lstrip("/"), setting)
        if text.startswith(_DNS)
        else parse_address(text, setting)
        for text in tier.addresses
    }


def _endpoint(name: str, address: Address, token: str | None, tls: Tls | None) -> Endpoint:
    several = name.startswith(_DNS)
    over_tcp = isinstance(address, TcpAddress)
    return Endpoint(
        name if several else str(address),
        token if over_tcp else None,
        pinned=not several,
        tls=tls if over_tcp else None,
    )


def _tls(cascade: CascadeSettings) -> Tls | None:
    given: dict[str, Path] = {
        name.removeprefix("tls_"): path.absolute() for name in _FILES if (path := getattr(cascade, name)) is not None
    }
    if not given:
        return None
    try:
        tls = Tls(ca=given.get("ca"), certificate=given.get("certificate"), key=given.get("key"))
        tls.credentials()
    except ThresherError as error:
        raise ConfigError(f"cascade.tls_*: {error.message}") from None
    return tls
