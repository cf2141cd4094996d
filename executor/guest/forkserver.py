"""Process 1 of a fork server's jail: each child becomes process 1 of a jail of its own, for one program.

A child begins its life in its control groups. It gets its own pid, mount, ipc, net, uts and cgroup namespaces, its own
writable folders, its own user without a capability, and the system call filter; only then does it say that it is ready.
The server itself never sees a program, a test or a value: they go to the child, over a socket of its own.
"""

import _signal  # pyright: ignore[reportMissingImports]
import posix as os
import select

from executor.guest.wire import Wire

_NAMESPACES = os.CLONE_NEWPID | os.CLONE_NEWNS | os.CLONE_NEWIPC | os.CLONE_NEWNET | os.CLONE_NEWUTS
_CLONE_INTO_CGROUP = 0x200000000
_SYS_CLONE3 = 435
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 16384, 1 << 18
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 22, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63


class ForkServer:
    """Makes jails until the host hangs up. `system_filter` is an array of struct sock_filter."""

    def __init__(self, control: Wire, ancillary: int, system_filter: bytes, mounts: list[tuple[str, str]]) -> None:
        import ctypes
        import struct

        class Program(ctypes.Structure):
            """struct sock_fprog."""

            _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

        self.control = control
        self.ancillary = ancillary
        self.mounts = [(path.encode(), options.encode()) for path, options in mounts]
        # PyDLL: a cloned child must find the interpreter's lock held by its only thread.
        self.libc = ctypes.PyDLL(None, use_errno=True)
        self.interpreter = ctypes.pythonapi
        self.errno = ctypes.get_errno
        self.clone_arguments = struct.Struct("=11Q")
        self.program = Program(len(system_filter) // 8, system_filter)
        self.reference = ctypes.byref(self.program)
        self.no_capabilities = (
            ctypes.create_string_buffer(_CAPABILITY_VERSION.to_bytes(4, "little") + bytes(4)),
            ctypes.create_string_buffer(24),
        )

    def check(self, result: int, what: str) -> None:
        """Raise OSError if a call of the C library failed."""
        if result != 0:
            number = self.errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    def serve(self) -> int:
        """Fork at each order. Returns in the child only: the descriptor of its own control socket."""
        self.give_up_what_no_child_needs()
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        _signal.set_wakeup_fd(wake)
        _signal.signal(_signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        poll.register(self.control.socket.fileno(), select.POLLIN)
        self.control.send(("serving",))
        while True:
            ready = dict(poll.poll())
            if woken in ready:
                os.read(woken, 4096)
                _reap()
            if self.control.socket.fileno() not in ready:
                continue
            (_verb, user, second), descriptors = self.control.receive(self.ancillary)  # type: ignore[misc]
            if self.clone(descriptors[-1] if second else None) == 0:  # type: ignore[has-type]
                first = descriptors[1:-1] if second else descriptors[1:]  # type: ignore[has-type]
                self.become_jail(int(user), descriptors[0], first)  # type: ignore[has-type]
                return 0
            for descriptor in descriptors:
                os.close(descriptor)

    def clone(self, group: int | None) -> int:
        """As os.fork, with a child in namespaces of its own and, if given, in this v2 group."""
        flags = _NAMESPACES | (0 if group is None else _CLONE_INTO_CGROUP)
        # struct clone_args: flags, three pointers, the exit signal, five that are not used, the group.
        arguments = self.clone_arguments.pack(flags, 0, 0, 0, _signal.SIGCHLD, 0, 0, 0, 0, 0, group or 0)
        self.interpreter.PyOS_BeforeFork()
        pid: int = self.libc.syscall(_SYS_CLONE3, arguments, len(arguments))
        if pid == 0:
            self.interpreter.PyOS_AfterFork_Child()
            return 0
        self.interpreter.PyOS_AfterFork_Parent()
        self.check(min(pid, 0), "clone3")
        return pid

    def give_up_what_no_child_needs(self) -> None:
        """Nothing can be gained by an exec any more, neither here nor in a child."""
        for capability in range(_LAST_CAPABILITY + 1):
            if self.libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                break  # beyond the kernel's last one
        self.check(self.libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient capabilities")
        self.check(self.libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")

    def become_jail(self, user: int, descriptor: int, groups: list[int]) -> None:
        """In the child: part from everything that the server has. Whatever fails ends the child.

        `groups` are the tasks files of v1 groups. Moving oneself as a single thread stops nobody else's forks.
        """
        try:
            for tasks in groups:
                os.write(tasks, b"0")
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            os.dup2(descriptor, 0)
            os.closerange(3, 256)
            os.setsid()
            os.unshare(os.CLONE_NEWCGROUP)
            self.check(self.libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
            for path, options in self.mounts:
                flags = _MS_NOSUID | _MS_NODEV
                self.check(self.libc.mount(b"none", path, b"tmpfs", flags, options), "mount")
            os.chdir("/tmp")
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            self.check(self.libc.capset(*self.no_capabilities), "capset")
            filtered = self.libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self.reference, 0, 0)
            self.check(filtered, "the system call filter")
        except BaseException as error:
            os.write(2, f"a jail could not be forked: {error}\n".encode())
            os._exit(1)  # pyright: ignore[reportPrivateUsage]


def _reap() -> None:
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
