"""How a client reaches a server: which one, with which token, by TLS or not, and with which channel options."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from thresher.client.errors import ThresherError, no_server
from thresher.client.runtime import UnsafeRuntimeDir, read_runtime_file
from thresher.client.tls import Tls

MAX_MESSAGE_BYTES = 16 << 20
"""Largest message either way; the server's limit is the same."""

_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# Solve and ExecuteMany are not among them: a stream cannot be taken up again after its first message.
_RETRIED = (
    {"service": "thresher.v1.SynthesisService", "method": "SolveOnce"},
    {"service": "thresher.v1.ExecutionService", "method": "Execute"},
    {"service": "thresher.v1.InfoService"},
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server to call. `target` is what gRPC understands; `token` is sent with each call where there is one.

    `pinned` is for a lasting stream: all calls go to one server, and its silence is noticed within 20 s (else 40 s).
    `name` is the client that the server divides its time by; None stands for this process. Without `tls` the target is
    called in plain text.
    """

    target: str
    token: str | None = None
    pinned: bool = False
    name: str | None = None
    tls: Tls | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a name that gRPC cannot send."""
        if self.name is not None and not (self.name and self.name.isascii() and self.name.isprintable()):
            raise ValueError(f"name: {self.name!r} is not plain ASCII text; give the client another one")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of every call."""
        name = ("thresher-client", self.name or f"{socket.gethostname()}/{os.getpid()}")
        return (name, ("authorization", f"Bearer {self.token}")) if self.token else (name,)

    @property
    def options(self) -> list[tuple[str, str | int]]:
        """Channel options, the service config among them."""
        options: list[tuple[str, str | int]] = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 15_000 if self.pinned else 30_000),
            ("grpc.keepalive_timeout_ms", 5_000 if self.pinned else 10_000),
            # Its own bound is two minutes: too long to notice that a server is back.
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.service_config", json.dumps(self.service_config)),
        ]
        if self.tls is not None and self.tls.name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.name))
        return options

    def open(self, module: Any) -> Any:
        """A new channel, of `grpc` or of `grpc.aio`. Raises ThresherError for TLS files that cannot be read."""
        if self.tls is None:
            return module.insecure_channel(self.target, options=self.options)
        return module.secure_channel(self.target, self.tls.credentials(), options=self.options)

    @property
    def service_config(self) -> dict[str, object]:
        """Retries, balancing, and health checking where a target can mean more than one server.

        A Unix socket is one server. Health checking would only hide from its clients why it refuses a call.
        """
        config: dict[str, object] = {"methodConfig": [{"name": list(_RETRIED), "retryPolicy": _RETRY}]}
        if not self.target.startswith("unix:") and not self.pinned:
            config["loadBalancingConfig"] = [{"round_robin": {}}]
            config["healthCheckConfig"] = {"serviceName": ""}
        return config


def find_server(
    address: str | None = None,
    token: str | None = None,
    tls: Tls | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Decides which server to call.

    The address comes from the argument, else THRESHER_ADDRESS, else the runtime file of the local server. The token
    comes from the argument, else THRESHER_TOKEN, else the token file that the local server names, for that server only.
    TLS is as the argument says, else as the variables of `Tls.of`; a Unix socket has none, and the local server says
    itself whether it has.

    Raises:
        ThresherError: none is named and none runs here, or the address makes no sense.
    """
    token = token or environ.get("THRESHER_TOKEN") or None
    address = address or environ.get("THRESHER_ADDRESS")
    if address:
        target = parse_address(address)
        if not target.startswith("unix:"):
            return Endpoint(target, token, tls=tls or Tls.of(environ))
        if tls is not None:
            raise _bad_address(address, "a Unix socket has no TLS; leave one of them out")
        return Endpoint(target, token)
    try:
        info = read_runtime_file()
    except (UnsafeRuntimeDir, ValueError) as error:
        raise no_server(str(error)) from error
    if info is None:
        raise no_server("no server is named, and none runs here")
    if not info.alive:
        raise no_server(f"no server is named, and the one that ran here (process {info.pid}) is gone")
    if token is None and info.token_file is not None:
        try:
            token = Path(info.token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise no_server(f"cannot read the local server's token file: {error}") from error
    wanted = (tls or Tls.of(environ) or Tls()) if info.tls else None
    return Endpoint(parse_address(info.address), token, tls=wanted)


def parse_address(address: str) -> str:
    """Turns `unix:/path`, `/path`, `host:port` or a gRPC target (`dns:///...`, `ipv4:a,b`) into a gRPC target."""
    if address.startswith("/"):
        return f"unix:{address}"
    scheme, separator, rest = address.partition(":")
    if scheme in {"unix", "dns", "ipv4", "ipv6"} and rest:
        return address
    if rest.startswith("//"):
        raise _bad_address(address, f"the scheme {scheme}:// is not supported; TLS is asked for by options of its own")
    port = address.rpartition(":")[2]
    if not separator or not port.isdecimal() or not 0 < int(port) < 65536:
        raise _bad_address(address, "give unix:/path/to/socket or host:port")
    return address


def _bad_address(address: str, message: str) -> ThresherError:
    return ThresherError(grpc.StatusCode.INVALID_ARGUMENT, "BAD_ADDRESS", f"address {address!r}: {message}")
