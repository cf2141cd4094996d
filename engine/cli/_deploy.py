"""What `thresher doctor --deploy` looks at: a container or unit from inside, with the settings of its server."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from thresher.client.runtime import UnsafeRuntimeDir, ensure_runtime_dir

from engine.cli._findings import Finding, Status
from engine.config import Settings
from engine.config_base import ConfigError
from engine.config_layers import load_settings
from engine.models.catalogue import cache_folder
from engine.remote.member import LOCAL
from engine.serving.auth import Access, read_token
from engine.serving.listen import TcpAddress, addresses, require_tcp
from engine.serving.tls import ServerTls
from engine.solving.backing import executor_config
from engine.solving.control_groups import ControlGroups
from executor.doctor import run_checks

_PART = "deploy"
_GROUPS = ControlGroups()
_PROCESSES = Path("/proc")
_LEAST_FILES = 4096
# Processes of the server itself and the threads of its libraries.
_OWN_TASKS = 500
_KV_BYTES = 1 << 30
_REAPERS = ("tini", "docker-init", "dumb-init", "catatonit", "systemd", "init")


def deploy_findings(groups: ControlGroups = _GROUPS, processes: Path = _PROCESSES) -> Iterator[Finding]:
    """All findings, those of the sandbox as the settings ask for it."""
    try:
        settings = load_settings()
    except ConfigError as error:
        yield Finding(_PART, "settings", Status.FAILED, str(error), "mend the file or variable that is named")
        return
    source = os.environ.get("THRESHER_CONFIG") or "defaults"
    yield Finding(_PART, "settings", Status.OK, f"{source}, and {_variables()} THRESHER_* variables")
    yield serving_finding(settings)
    yield from folder_findings(settings)
    yield from limit_findings(settings, groups)
    yield init_finding(processes)
    if settings.executor.remotes and LOCAL not in settings.executor.remotes:
        detail = f"programs run elsewhere ({', '.join(settings.executor.remotes)}); none is needed here"
        yield Finding("sandbox", "sandbox", Status.OK, detail)
        return
    for check in run_checks(executor_config(settings)):
        yield Finding("sandbox", check.name, Status.OK if check.ok else Status.FAILED, check.detail, check.fix)


def serving_finding(settings: Settings) -> Finding:
    """Whether the server would take its addresses, tokens and certificates; it is not started."""
    serving = settings.serving
    try:
        tls = ServerTls.of(serving)
        found = addresses(serving.listen, insecure=serving.insecure or tls is not None)
        require_tcp(found, serving)
        if serving.token_file is not None:
            read_token(serving.token_file.absolute(), "serving.token_file")
        Access(None, tokens_file=serving.tokens_file)
    except (ConfigError, UnsafeRuntimeDir) as error:
        return Finding(_PART, "serving", Status.FAILED, str(error), "mend that setting or file")
    names = ", ".join(str(address) for address in found)
    tcp = [address for address in found if isinstance(address, TcpAddress)]
    if tcp and all(address.loopback for address in tcp):
        fix = "in a container listen on 0.0.0.0; on a machine of its own this is as it should be"
        return Finding(_PART, "serving", Status.NOTE, f"{names}: reached from the inside alone", fix)
    return Finding(_PART, "serving", Status.OK, f"{names}{', with TLS' if tls is not None and tcp else ''}")


def folder_findings(settings: Settings) -> Iterator[Finding]:
    """The folders that the server writes to."""
    try:
        yield Finding(_PART, "runtime folder", Status.OK, str(ensure_runtime_dir()))
    except (UnsafeRuntimeDir, OSError) as error:
        yield Finding(
            _PART, "runtime folder", Status.FAILED, str(error), "set XDG_RUNTIME_DIR to a folder of this user"
        )
    if settings.serving.executor_only:
        return
    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Finding(_PART, "cache", Status.FAILED, f"{there} cannot be written", "set XDG_CACHE_HOME to a volume")
    else:
        yield Finding(_PART, "cache", Status.OK, f"{folder}; on a volume it outlives this container")


def limit_findings(settings: Settings, groups: ControlGroups = _GROUPS) -> Iterator[Finding]:
    """What this container may use, beside what the settings may ask of it."""
    slots = executor_config(settings).effective_slots
    memory = groups.limit("memory", "memory.max", "memory.limit_in_bytes")
    programs = slots * settings.executor.max_memory_bytes
    served = () if settings.serving.executor_only else settings.models.serve
    kv = sum(settings.engine.share(name).kv_bytes or _KV_BYTES for name in served)
    detail = f"{_size(memory)}; programs may take {_size(programs)} ({slots} at a time), keys and values {_size(kv)}"
    if memory is not None and programs + kv > memory:
        fix = "a larger limit, or smaller executor.max_memory_bytes, executor.slots, engine.kv_bytes"
        yield Finding(_PART, "memory", Status.NOTE, detail, fix)
    else:
        yield Finding(_PART, "memory", Status.OK, detail)
    cores, quota = len(os.sched_getaffinity(0)), groups.cores()
    if quota is not None and quota < cores and None in (settings.engine.threads, settings.executor.slots):
        detail = f"{cores} cores are seen, and a quota gives {quota:g} of them: threads beyond it stand still by turns"
        fix = f"set engine.threads and executor.slots to {max(1, int(quota))}, or give whole cores (cpuset)"
        yield Finding(_PART, "cores", Status.NOTE, detail, fix)
    else:
        yield Finding(_PART, "cores", Status.OK, f"{cores}" if quota is None else f"{cores}, quota {quota:g}")
    tasks, needed = (
        groups.limit("pids", "pids.max", "pids.max"),
        _OWN_TASKS + slots * settings.executor.max_processes,
    )
    good = tasks is None or tasks >= needed
    detail = f"{'no bound' if tasks is None else tasks}; up to {needed} may be needed"
    yield Finding(_PART, "tasks", Status.OK if good else Status.NOTE, detail, "" if good else f"a bound of {needed}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    good = files == resource.RLIM_INFINITY or files >= _LEAST_FILES
    fix = "" if good else f"raise it to {_LEAST_FILES} at least (ulimit -n, LimitNOFILE)"
    yield Finding(_PART, "open files", Status.OK if good else Status.NOTE, f"at most {files}", fix)


def init_finding(processes: Path = _PROCESSES) -> Finding:
    """Whether process 1 takes in what others leave behind."""
    try:
        name = (processes / "1" / "comm").read_text().strip()
    except OSError as error:
        return Finding(_PART, "process 1", Status.NOTE, f"cannot be looked at: {error.strerror}", "docker run --init")
    if name in _REAPERS:
        return Finding(_PART, "process 1", Status.OK, name)
    fix = "in a container take an init: docker run --init, or tini as in deploy/Dockerfile"
    return Finding(_PART, "process 1", Status.NOTE, f"{name} may not reap orphans", fix)


def _variables() -> int:
    return sum(name.startswith("THRESHER_") for name in os.environ)


def _size(count: int | None) -> str:
    return "no bound" if count is None else f"{count / 2**30:.1f} GiB"
