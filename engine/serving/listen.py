"""Addresses: what may be bound, and how. Also the options of the gRPC server."""

import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from thresher.client.runtime import default_socket, ensure_runtime_dir

from engine.config import ServingSettings
from engine.config_base import ConfigError

# sockaddr_un holds 108 bytes, the last of them a NUL.
_LONGEST_SOCKET_PATH = 107
# Calls that gRPC has taken and this process has not seen yet, and how long they may wait for that.
_MOST_PENDING = 50_000
_LONGEST_PENDING_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket, mode 0600."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port; 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it. A name other than localhost may resolve to anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


Address = UnixAddress | TcpAddress


def parse_address(text: str, setting: str) -> Address:
    """Read `unix:/path` or `host:port`. Raises ConfigError naming the setting."""
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:").removeprefix("//")).absolute()
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise ConfigError(f"{setting}: {path} is longer than the {_LONGEST_SOCKET_PATH} bytes of a socket's path")
        return UnixAddress(path)
    return parse_tcp(text, setting)


def parse_tcp(text: str, setting: str) -> TcpAddress:
    """Read `host:port`. Raises ConfigError naming the setting."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{setting}: {text!r} is neither unix:/path nor host:port (port 0 to 65535)")
    return TcpAddress(host, int(port))


def addresses(listen: tuple[str, ...], *, insecure: bool) -> tuple[Address, ...]:
    """The addresses to bind: those given, or the default socket. Raises ConfigError for one that may not be."""
    if not listen:
        ensure_runtime_dir()
        return (parse_address(f"unix:{default_socket()}", "serving.listen"),)
    found = tuple(parse_address(text, "serving.listen") for text in listen)
    for address in found:
        if isinstance(address, TcpAddress):
            require_private(address, "serving.listen", insecure=insecure)
    return found


def require_private(address: TcpAddress, setting: str, *, insecure: bool) -> None:
    """Refuse an address that others reach in plain text, unless the operator insists."""
    if not address.loopback and not insecure:
        raise ConfigError(
            f"{setting}: {address} would carry plain text over the network; use TLS, a Unix socket, or 127.0.0.1, or "
            "insist with --insecure"
        )


def require_tcp(found: tuple[Address, ...], serving: ServingSettings) -> None:
    """Refuse settings of TCP where there is none: who sets them believes that they protect something."""
    if any(isinstance(address, TcpAddress) for address in found):
        return
    for name in ("tokens_file", "tls_certificate"):
        if getattr(serving, name) is not None:
            raise ConfigError(
                f"serving.{name} is of TCP addresses, and serving.listen has none; Unix sockets have their mode instead"
            )


def server_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Options of the gRPC server.

    Calls that come in a burst wait for this process, which has an answer for those that are too many. gRPC's own bounds
    would end them as CANCELLED, which clients take for a wish of their own, with no word of ours: by default it drops
    some of them once 1,000 wait, all beyond 3,000, and those that have waited for 30 s. A client's own deadline ends
    its call before the bound on time here does. A vanished client is noticed within 40 s, so that its solve does not
    run until its deadline; clients may ping every 10 s. A port is never shared with another server without a word.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
        ("grpc.server_max_unrequested_time_in_server", _LONGEST_PENDING_SECONDS),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]


def bind(server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None = None) -> Address:
    """Bind, TCP with TLS where there are credentials, and return the address with its real port.

    Raises ConfigError if it is taken or cannot be had.
    """
    match address:
        case UnixAddress():
            return _bind_unix(server, address)
        case TcpAddress():
            try:
                if credentials is None:
                    port = server.add_insecure_port(str(address))
                else:
                    port = server.add_secure_port(str(address), credentials)
            except RuntimeError:
                port = 0
            if port == 0 or address.port not in (0, port):
                raise ConfigError(f"serving.listen: {address} cannot be bound; is another server running there?")
            return TcpAddress(address.host, port)


def _bind_unix(server: grpc.aio.Server, address: UnixAddress) -> UnixAddress:
    clear_stale_socket(address.path)
    # gRPC makes the socket itself, so only the mask can keep others out from its first moment on.
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(str(address))
    except RuntimeError:
        raise ConfigError(f"serving.listen: {address} cannot be bound; does its folder exist?") from None
    finally:
        os.umask(mask)
    return address


def clear_stale_socket(path: Path) -> None:
    """Remove a socket on which nobody listens: gRPC itself would take it from a living server without a word.

    Raises ConfigError if somebody listens, or if the path is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"serving.listen: {path} exists and is no socket; remove it or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ConfigError(f"serving.listen: cannot tell whether {path} is in use: {error.strerror}") from None
    raise ConfigError(f"serving.listen: another server listens on {path}; stop it or name another path")
