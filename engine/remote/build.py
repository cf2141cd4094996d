"""The executor of a server from its settings: this machine's, or several."""

from pathlib import Path

from thresher.client import ThresherError, Tls
from thresher.client.channel import Endpoint

from engine.config import ExecutorSettings, Settings
from engine.config_base import ConfigError
from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.link import RemoteMember
from engine.remote.member import LOCAL, LocalMember, Member
from engine.serving.auth import read_token
from engine.serving.listen import TcpAddress, parse_address, require_private
from engine.solving.backing import OwnedExecutor, local_executor

_SETTING = "executor.remotes"
_OF_THIS_MACHINE = ("mode", "slots", "warm", "allow_weaker", "site_packages")


def build_executor(settings: Settings, metrics: Metrics) -> OwnedExecutor:
    """An executor that is not started yet. Raises ConfigError for settings that contradict each other."""
    executor = settings.executor
    names = executor.remotes
    if len(set(names)) != len(names):
        raise ConfigError(f"{_SETTING}: {', '.join(names)} names one twice")
    addresses = {name: parse_address(name, _SETTING) for name in names if name != LOCAL}
    tcp = [address for address in addresses.values() if isinstance(address, TcpAddress)]
    tls = _tls_of(executor, used=bool(tcp))
    for address in tcp:
        require_private(address, _SETTING, insecure=settings.serving.insecure or tls is not None)
    token: str | None = None
    if executor.remote_token_file is not None:
        if not tcp:
            raise ConfigError("executor.remote_token_file: there is no remote on TCP; only those ask for a token")
        token = read_token(executor.remote_token_file.absolute(), "executor.remote_token_file")
    if not addresses:
        return local_executor(settings)
    if LOCAL not in names:
        default = ExecutorSettings()
        given = [name for name in _OF_THIS_MACHINE if getattr(executor, name) != getattr(default, name)]
        if given:
            raise ConfigError(
                f"executor.{given[0]} speaks of this machine, where no program runs; set it on the remotes, or add "
                f"{LOCAL!r} to {_SETTING}"
            )
    members: list[Member] = []
    for name in names:
        if name == LOCAL:
            members.append(LocalMember(local_executor(settings)))
        else:
            address = addresses[name]
            over_tcp = isinstance(address, TcpAddress)
            endpoint = Endpoint(str(address), token if over_tcp else None, pinned=True, tls=tls if over_tcp else None)
            members.append(RemoteMember(name, endpoint))
    return BalancedExecutor(members, metrics)


def _tls_of(executor: ExecutorSettings, *, used: bool) -> Tls | None:
    """How remotes are called. Raises ConfigError for files that cannot be read, or would have no use."""
    files = {name: getattr(executor, f"remote_tls_{name}") for name in ("ca", "certificate", "key")}
    given: dict[str, Path] = {name: path.absolute() for name, path in files.items() if path is not None}
    if not given:
        return None
    name = f"executor.remote_tls_{next(iter(given))}"
    if not used:
        raise ConfigError(f"{name}: there is no remote on TCP; Unix sockets have no TLS")
    try:
        tls = Tls(ca=given.get("ca"), certificate=given.get("certificate"), key=given.get("key"))
        tls.credentials()
    except ThresherError as error:
        raise ConfigError(f"executor.remote_tls_*: {error.message}") from None
    return tls
