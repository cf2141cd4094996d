"""The whole policy of a jail on one page: what it sees, what the kernel refuses it, what it is limited to."""

from dataclasses import dataclass

from nsjail.config import MountPt, NsJailConfig
from nsjail.enums import LogLevel, RLimitType
from nsjail.serializers.textproto import to_textproto

CONFIG_FD = 3
BUNDLE_FD = 4
INSIDE_ID = 65534

# The clone flags that make namespaces (NEWTIME is for clone3 and unshare only, which are denied whole).
_NAMESPACE_FLAGS = 0x7E020000

SECCOMP = f"""
#define PR_SET_PDEATHSIG 1
#define PR_SET_SECCOMP 22
#define PR_SET_TSC 26
#define PR_SET_MM 35
#define PR_SET_CHILD_SUBREAPER 36
#define TIOCSTI 0x5412
#define TIOCLINUX 0x541C
POLICY thresher {{
  ERRNO(38) {{ clone3 }},
  ERRNO(1) {{
    ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd, process_madvise,
    mount, umount, pivot_root, chroot, unshare, setns, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick,
    mount_setattr,
    keyctl, add_key, request_key,
    bpf, perf_event_open, userfaultfd, fanotify_init, name_to_handle_at, open_by_handle_at,
    kexec_load, kexec_file_load, init_module, finit_module, delete_module,
    clock_settime, settimeofday, adjtimex, clock_adjtime, acct, swapon, swapoff, reboot, quotactl, iopl, ioperm,
    modify_ldt, lookup_dcookie, syslog, personality, sethostname, setdomainname,
    vmsplice, memfd_secret, mq_open, shmget, shmat, msgget, semget, flock,
    io_uring_setup, io_uring_enter, io_uring_register,
    landlock_create_ruleset, seccomp, mbind, move_pages, migrate_pages, set_mempolicy, get_mempolicy,
    socket,
    clone {{ (clone_flags & {_NAMESPACE_FLAGS:#x}) != 0 }},
    prctl {{ option == PR_SET_PDEATHSIG || option == PR_SET_SECCOMP || option == PR_SET_TSC || option == PR_SET_MM
             || option == PR_SET_CHILD_SUBREAPER }},
    ioctl {{ cmd == TIOCSTI || cmd == TIOCLINUX }},
    fcntl {{ cmd == 6 || cmd == 7 || cmd == 37 || cmd == 38 || cmd == 1024 || cmd == 1026 }}
  }}
}}
USE thresher DEFAULT ALLOW
"""


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


def render(policy: JailPolicy) -> str:
    """nsjail's configuration (protobuf text). The user map is not in it: it differs from jail to jail."""
    mounts = [_bind(bind.source, bind.target) for bind in policy.binds]
    mounts += [_tmpfs(path, 4096, 8, writable=False) for path in policy.hidden]
    mounts += [MountPt(src=path, dst=path, is_bind=True, rw=True, nosuid=True, noexec=True) for path in policy.devices]
    mounts += [_tmpfs("/tmp", policy.tmp_bytes, 4096), _tmpfs("/dev/shm", policy.tmp_bytes, 4096)]
    unlimited = RLimitType.HARD
    config = NsJailConfig(
        name="thresher",
        hostname="jail",
        cwd="/tmp",
        time_limit=0,
        nice_level=policy.nice,
        log_fd=2,
        log_level=LogLevel.WARNING,
        envar=["HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/bin:/bin", "OMP_NUM_THREADS=1", "PYTHONHASHSEED=0"],
        pass_fd=[BUNDLE_FD],
        # The memory group and the limits that each test sets in its own process decide; nsjail's are for the runner.
        rlimit_as_type=unlimited,
        rlimit_cpu_type=unlimited,
        rlimit_nproc_type=unlimited,
        rlimit_fsize=max(1, policy.tmp_bytes >> 20),
        rlimit_nofile=256,
        rlimit_stack=8,
        rlimit_core=0,
        mount=mounts,
        mount_proc=False,
        iface_no_lo=True,
        seccomp_string=[SECCOMP],
    )
    return to_textproto(config)


def _bind(source: str, target: str) -> MountPt:
    return MountPt(src=source, dst=target, is_bind=True, rw=False, nosuid=True, nodev=True)


def _tmpfs(path: str, size: int, inodes: int, *, writable: bool = True) -> MountPt:
    options = f"size={size},nr_inodes={inodes},mode=1777" if writable else f"size={size},nr_inodes={inodes}"
    return MountPt(dst=path, fstype="tmpfs", options=options, rw=writable, is_dir=True, nosuid=True, nodev=True)
