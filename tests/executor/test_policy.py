"""The policy page: what must be in every jail's configuration, whatever the set-up."""

import re

from executor.policy import Bind, JailPolicy, render
from executor.seccomp import kafel

TEXT = render(JailPolicy(binds=(Bind("/opt/python", "/usr"),), hidden=("/usr/site-packages",), tmp_bytes=8 << 20))


def test_everything_bound_is_read_only_and_nothing_else_is_writable() -> None:
    mounts = re.findall(r"mount \{(.*?)\n\}", TEXT, re.DOTALL)
    assert len(mounts) == 8
    for mount in mounts:
        destination = re.search(r'dst: "(.*?)"', mount)
        assert destination is not None
        writable = "rw: true" in mount
        assert writable == (destination[1] in ("/tmp", "/dev/shm")), "a device takes what is written to it all the same"
        assert "nosuid: true" in mount
    assert "/proc" not in TEXT.replace("mount_proc", "")


def test_no_namespace_and_no_protection_is_switched_off() -> None:
    for word in ("clone_new", "keep_caps", "keep_env", "disable_no_new_privs", "no_pivotroot", "disable_rl"):
        assert word not in TEXT, "absent means nsjail's default, which is the strict one"
    assert "iface_no_lo: true" in TEXT


def test_system_calls_of_the_reference_list_are_denied() -> None:
    for name in (
        "ptrace",
        "io_uring_setup",
        "keyctl",
        "userfaultfd",
        "bpf",
        "unshare",
        "setns",
        "socket",
        "flock",
        "mount",
    ):
        assert re.search(rf"\b{name}\b", kafel()), name
    assert "socketpair {" in kafel(), "asyncio needs it, for one family"
    assert "DEFAULT ALLOW" in kafel()
    # Comparing the named argument compares its 32 bits; a plain number in its place would compare 64.
    for argument in ("option ==", "cmd ==", "(pid &", "(family &", "(flags &", "advice =="):
        assert argument in kafel()
