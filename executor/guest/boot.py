"""Process 1 of a jail: waits for orders on descriptor 0, forks one process per test, reports how each ended.

It is the candidate's parent, so it holds nothing worth stealing: no expected value, no test of value tests, no other
program. All it says is what the kernel told it about a child that ended.
"""

import _signal  # pyright: ignore[reportMissingImports]
import _socket
import _thread
import gc
import posix as os
import resource
import select
import sys

from executor.guest import command, program, referee
from executor.guest.forkserver import ForkServer
from executor.guest.plain import PlainError
from executor.guest.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_WRITABLE = ("/tmp", "/dev/shm")
_CHANNEL = 3
_PYTHON = ("script", "calls")
_THREAD_STACK = 8 << 20


class Runner:
    """The jail's first process."""

    def __init__(self) -> None:
        self.control = Wire(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, 0))
        self.ancillary = _socket.CMSG_SPACE(4 * 8)
        self.source = program.Source("", "", "")
        self.command = command.Command([], [])
        self.tests = 0

    def serve(self) -> "Callable[[], None]":
        """Serve the host until it hangs up. Returns, in a test's own process only, what that process has to do."""
        self.control.send(("ready",))
        while True:
            message, descriptors = self.control.receive(self.ancillary)
            if message[0] == "program":  # type: ignore[index]
                self.source = program.Source(*message[1:])  # type: ignore[index]
                self.tests = 0
                continue
            if message[0] == "command":  # type: ignore[index]
                self.command = command.Command(*message[1:])  # type: ignore[index]
                for descriptor in descriptors:
                    command.keep(descriptor)
                continue
            if message[0] == "parse":  # type: ignore[index]
                self.control.send(("parsed", message[1], *program.refusal(message[2])))  # type: ignore[index]
                continue
            if message[0] == "fork server":  # type: ignore[index]
                return self.serve_forks(*message[1:])  # type: ignore[index]
            if self.tests:
                self.clean_up()
            work = self.run(message[1:], descriptors)  # type: ignore[index]
            if work is not None:
                return work

    def serve_forks(self, system_filter: bytes, mounts: list[tuple[str, str]]) -> "Callable[[], None]":
        """Make jails of one's own kind, and in each of them serve its own host."""
        server = ForkServer(self.control, self.ancillary, system_filter, mounts)
        descriptor = server.serve()
        self.control.socket.detach()
        self.control = Wire(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor))
        return self.serve()

    def run(self, message: tuple[object, ...], descriptors: list[int]) -> "Callable[[], None] | None":
        number, mode, arguments, limits = message
        if self.tests == 1 and mode in _PYTHON:
            # The first test's process compiled it without harm, so the later ones may share the result.
            self.compile_for_all()
        self.tests += 1
        child = os.fork()
        if child == 0:
            return self.prepare(str(mode), arguments, limits, descriptors)  # type: ignore[arg-type]
        for descriptor in [*descriptors, command.ARTIFACT] if mode == "build" else descriptors:
            os.close(descriptor)
        self.watch(child, number)
        return None

    def compile_for_all(self) -> None:
        # Warnings would go to the jail's log, which nobody reads: when its pipe is full, the jail stands still.
        stderr, sys.stderr = sys.stderr, None
        try:
            self.source.compile()
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            return  # each test's own process will find the same and say so
        finally:
            sys.stderr = stderr

    def watch(self, child: int, number: object) -> None:
        """Report the end of `child`, unless the host speaks first."""
        pidfd = os.pidfd_open(child)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self.control.socket.fileno(), select.POLLIN)
        ready = dict(poll.poll())
        if pidfd in ready:
            _pid, status, usage = os.wait4(child, 0)
            self.control.send(("exit", number, status, usage.ru_utime + usage.ru_stime))
        os.close(pidfd)

    def clean_up(self) -> None:
        """Leave nothing of the last test: no process, no file."""
        try:  # noqa: SIM105
            os.kill(-1, _signal.SIGKILL)
        except ProcessLookupError:
            pass  # nobody is left (and contextlib would cost every jail an import)
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        for folder in _WRITABLE:
            if os.stat(folder).st_uid == os.getuid():
                os.chmod(folder, 0o1777)  # the program may have shut everybody out
            _empty(folder)

    def prepare(
        self, mode: str, arguments: tuple[object, ...], limits: dict[str, int], descriptors: list[int]
    ) -> "Callable[[], None]":
        """In the new process: its own descriptors, limits and signals, and nothing of the runner's."""
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(_CHANNEL + 1, command.ARTIFACT)
        os.closerange(command.ARTIFACT + 1, 256)
        os.setsid()
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        for name, value in limits.items():
            _limit(getattr(resource, name), value)
        self.control.socket.detach()
        wire = Wire(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, _CHANNEL))
        source = self.source
        if mode == "script":
            return lambda: program.run_script(source, wire, *arguments)  # type: ignore[arg-type]
        if mode == "calls":
            return lambda: _then_leave(lambda: program.answer_calls(source, wire, *arguments))  # type: ignore[arg-type]
        if mode == "command":
            return lambda: _then_leave(lambda: command.run(self.command, wire, *arguments))  # type: ignore[arg-type]
        if mode == "build":
            return lambda: _then_leave(lambda: command.build(self.command, wire))
        return lambda: _then_leave(lambda: referee.judge(wire, *arguments))  # type: ignore[arg-type]


def _limit(number: int, value: int) -> None:
    # At the soft CPU limit the kernel says so (SIGXCPU); whoever ignores that is killed a second later.
    most = value + 1 if number == resource.RLIMIT_CPU else value
    _soft, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(number, (min(value, most), most))


def _then_leave(work: "Callable[[], None]") -> None:
    try:
        work()
    except (OSError, EOFError, PlainError):
        program.leave(1)
    program.leave(0)


def _empty(folder: str) -> None:
    """Remove all that is in a folder. Folders in it are emptied into it first: they may be nested beyond any path."""
    # A name that the program cannot have taken.
    prefix = os.urandom(8).hex()
    moved = 0
    while names := os.listdir(folder):
        for name in names:
            path = f"{folder}/{name}"
            try:
                os.unlink(path)
                continue
            except IsADirectoryError:
                os.chmod(path, 0o700)
            for inner in os.listdir(path):
                moved += 1
                _move(f"{path}/{inner}", f"{folder}/{prefix}{moved}")
            os.rmdir(path)


def _move(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except PermissionError:
        # A folder that nobody may write to cannot get another parent; nothing else is refused.
        os.chmod(source, 0o700)
        os.rename(source, target)


def rehearse() -> None:
    """Do once what every test's process does, so that none of them pays for first times (they cost 2 ms of CPU)."""
    near, far = _socket.socketpair()
    there = Wire(far)
    namespace: dict[str, object] = {}
    exec(program.Source("def f(x):\n    return [x, 'a']\n", "", "").compile(), namespace)  # noqa: S102
    there.send(("eval", ("call", ("name", "f"), [("lit", 1.5)], {}), False, False))
    near_wire = Wire(near)
    request, _ = near_wire.receive()
    program.Answers(namespace, near_wire, 1 << 16).answer(request[1], False, False)  # type: ignore[index]
    there.receive()
    program.describe(ValueError("first"))
    near.close()
    far.close()
    gc.freeze()


def main() -> "Callable[[], None]":
    """Serve the host. Returns, in a test's own process, what it has to do; process 1 never returns."""
    # As process 1 it must not be told to stop by its own children.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    # A thread's stack would else be as large as the process's may ever be, and threads meet the address space limit.
    _thread.stack_size(_THREAD_STACK)
    rehearse()
    try:
        return Runner().serve()
    except EOFError:
        os._exit(0)  # pyright: ignore[reportPrivateUsage]
