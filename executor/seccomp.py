"""What the kernel refuses a jail: one deny list, said twice, as kafel text for nsjail and as BPF for the fork server.

Everything not named is allowed: an allow list is tighter, but breaks with each new libc (Code Contests' did).
Arguments are compared by their low 32 bits, as the kernel reads them; a 64-bit compare is passed by with a high bit set
(CVE-2019-10063). System calls newer than the table do not exist inside (ENOSYS), so that a new kernel opens no door.
"""

import struct
from dataclasses import dataclass

_EPERM, _ENOSYS = 1, 38
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000

# The clone flags that make namespaces (NEWTIME is for clone3 and unshare only, which are denied whole).
NAMESPACE_FLAGS = 0x7E020000

DENIED = {
    # other processes
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    # mounts and namespaces
    "mount": 165,
    "umount": 166,  # kafel's name for umount2
    "pivot_root": 155,
    "chroot": 161,
    "unshare": 272,
    "setns": 308,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    # kernel keys
    "keyctl": 250,
    "add_key": 248,
    "request_key": 249,
    # tracing, faults, handles
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "fanotify_init": 300,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    # the machine
    "kexec_load": 246,
    "kexec_file_load": 320,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "clock_settime": 227,
    "settimeofday": 164,
    "adjtimex": 159,
    "clock_adjtime": 305,
    "acct": 163,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "quotactl": 179,
    "quotactl_fd": 443,
    "iopl": 172,
    "ioperm": 173,
    "modify_ldt": 154,
    "lookup_dcookie": 212,
    "syslog": 103,
    "personality": 135,
    "sethostname": 170,
    "setdomainname": 171,
    "vhangup": 153,
    "sysfs": 139,
    "ustat": 136,
    "uselib": 134,
    # priorities: what is willing to wait dies late, and the runner's are the program's to change
    "setpriority": 141,
    "sched_setparam": 142,
    "sched_setscheduler": 144,
    "sched_setattr": 314,
    "ioprio_set": 251,
    # what the whole machine shares: its disks' queues, its one account of asynchronous I/O
    "sync": 162,
    "syncfs": 306,
    "io_setup": 206,
    # channels between jails, and memory that nobody accounts for
    "vmsplice": 278,
    "memfd_secret": 447,
    "mq_open": 240,
    "shmget": 29,
    "shmat": 30,
    "msgget": 68,
    "semget": 64,
    "flock": 73,
    "inotify_init": 253,
    "inotify_init1": 294,
    # large attack surfaces
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "landlock_create_ruleset": 444,
    "seccomp": 317,
    "splice": 275,
    "tee": 276,
    "mbind": 237,
    "move_pages": 279,
    "migrate_pages": 256,
    "set_mempolicy": 238,
    "get_mempolicy": 239,
    "set_mempolicy_home_node": 450,
    "socket": 41,
}
"""Refused with EPERM whatever the arguments: kafel's names and their numbers on x86-64."""

_NEWEST_KNOWN = 450
_NEWEST_FORESEEN = 500
_X32_OWN = range(512, 548)
"""Calls that have a number of their own in the x32 kind."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """Refused with EPERM if the argument equals one of `values`, or has one of the bits of `mask`."""

    number: int
    position: int
    argument: str
    values: tuple[int, ...] = ()
    mask: int = 0


_CONDITIONS = {
    "clone": _Condition(56, 0, "clone_flags", mask=NAMESPACE_FLAGS),
    # PDEATHSIG, SECCOMP, TSC, SET_MM, CHILD_SUBREAPER, SCHED_CORE
    "prctl": _Condition(157, 0, "option", (1, 22, 26, 35, 36, 62)),
    # Another process's limits: those of the runner, which has the program's user. 0 is oneself.
    "prlimit64": _Condition(302, 0, "pid", mask=0xFFFFFFFF),
    # Any family but AF_UNIX (1): a pair runs a family's own code, and loads its module, even where it then fails.
    "socketpair": _Condition(53, 0, "family", mask=0xFFFFFFFE),
    # Huge pages (MAP_HUGETLB, MFD_HUGETLB) come from a pool of the machine's, and count against no memory group.
    "mmap": _Condition(9, 3, "flags", mask=0x40000),
    "memfd_create": _Condition(319, 1, "flags", mask=0x4),
    # POSIX_FADV_DONTNEED takes the runtime's files out of everybody's page cache.
    "fadvise64": _Condition(221, 3, "advice", (4,)),
    # TIOCSTI, TIOCLINUX
    "ioctl": _Condition(16, 1, "cmd", (0x5412, 0x541C)),
    # SETLK, SETLKW, OFD_SETLK, OFD_SETLKW, SETLEASE, NOTIFY
    "fcntl": _Condition(72, 1, "cmd", (6, 7, 37, 38, 1024, 1026)),
}
_CLONE3 = 435  # its flags lie in memory, where no filter sees them; libc falls back to clone


def kafel() -> str:
    """The policy as nsjail takes it. Named arguments have their true width, so they are compared by 32 bits."""
    rules = [", ".join(DENIED)]
    for name, rule in _CONDITIONS.items():
        tests = [f"{rule.argument} == {value:#x}" for value in rule.values]
        tests += [f"({rule.argument} & {rule.mask:#x}) != 0"] if rule.mask else []
        rules.append(f"{name} {{ {' || '.join(tests)} }}")
    absent = ", ".join(["clone3", *(f"SYSCALL[{number}]" for number in range(_NEWEST_KNOWN + 1, _NEWEST_FORESEEN))])
    # The filter below refuses the x32 kind whole. Kafel would want each number, and take a millisecond for each jail.
    conditional = [rule.number for rule in _CONDITIONS.values()]
    rules += [f"SYSCALL[{_X32_BIT + number:#x}]" for number in (*DENIED.values(), *conditional, _CLONE3, *_X32_OWN)]
    denied = ",\n    ".join(rules)
    return (
        f"POLICY thresher {{\n  ERRNO({_ENOSYS}) {{ {absent} }},\n  ERRNO({_EPERM}) {{\n    {denied}\n  }}\n}}\n"
        "USE thresher DEFAULT ALLOW\n"
    )


_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NR, _ARCH, _ARGUMENTS = 0, 4, 16


def bpf() -> bytes:
    """The same policy for x86-64 as an array of struct sock_filter (linux/filter.h)."""
    refuse, absent = _ERRNO | _EPERM, _ERRNO | _ENOSYS
    code = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64), (_RETURN, 0, 0, _KILL_PROCESS)]
    code += [(_LOAD, 0, 0, _NR), (_JUMP_GREATER_OR_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, refuse)]
    code += [(_JUMP_GREATER_OR_EQUAL, 0, 1, _NEWEST_KNOWN + 1), (_RETURN, 0, 0, absent)]
    code += [(_JUMP_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, absent)]
    for number in DENIED.values():
        code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    for rule in _CONDITIONS.values():
        tests: list[tuple[int, int, int, int]] = []
        for value in rule.values:
            tests += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, refuse)]
        if rule.mask:
            tests += [(_JUMP_ANY_BIT, 0, 1, rule.mask), (_RETURN, 0, 0, refuse)]
        # The low half of an argument comes first: x86-64 is little-endian.
        body = [(_LOAD, 0, 0, _ARGUMENTS + 8 * rule.position), *tests, (_RETURN, 0, 0, _ALLOW)]
        code += [(_JUMP_EQUAL, 0, len(body), rule.number), *body]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
