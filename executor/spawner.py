"""Starts jails: a small process of its own, so that neither threads nor a large heap make a fork dangerous or dear.

Runs as a plain script on the standard library alone. As root it first moves into a mount namespace of its own, where
it lays the runtime out under /tmp: a jail's outside user could not reach it where it is (below /root, say).

Per jail it is sent one message (JSON: nsjail's options for the user maps, the v1 groups and the v2 group or null) with
two descriptors: the jail's end of the control socket and its log. It answers with a pidfd, or with a line that begins
with "!".

A jail begins its life inside its groups. Moving a process there by cgroup.procs stops every fork of the machine for a
grace period of RCU (7 to 14 ms measured); being cloned into a v2 group, and moving oneself as a single thread into a v1
group, do not.
"""

import ctypes
import json
import os
import select
import signal
import socket
import stat
import struct
import sys

_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_CLONE_NEWNS = 0x00020000
_PR_SET_CHILD_SUBREAPER = 36
_SYS_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000
_STAGE = "/tmp"


def stage(binds: list[tuple[str, str]]) -> None:
    """Bind each (source, name) to /tmp/name in a new mount namespace. Raises OSError."""
    os.unshare(_CLONE_NEWNS)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE, None)
    # Opened before /tmp is covered, since one of them may lie there.
    sources = [os.open(source, os.O_PATH) for source, _ in binds]
    _mount("none", _STAGE, "tmpfs", 0, "mode=1777")
    for descriptor, (_, name) in zip(sources, binds, strict=True):
        target = f"{_STAGE}/{name}"
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.mkdir(target, 0o755)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        _mount(f"/proc/self/fd/{descriptor}", target, None, _MS_BIND, None)
        os.close(descriptor)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    if libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def spawn(message: str, descriptors: list[int], order: dict[str, list[str]], kept: list[int]) -> int:
    """Start one nsjail in its groups. Returns its pid; in the child it never returns."""
    options, first, second = json.loads(message)
    pid, inside = clone_into(second) if second else (os.fork(), True)
    if pid:
        return pid
    try:
        for folder in first:
            _write(f"{folder}/tasks", "0")
        if not inside:
            _write(f"{second}/cgroup.procs", "0")
        control, log = descriptors
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(control, 0)
        os.dup2(null, 1)
        os.dup2(log, 2)
        # Both kept descriptors lie above these targets: main() moved them there.
        os.dup2(kept[0], 3)
        os.dup2(kept[1], 4)
        os.closerange(5, 256)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        head, tail = order["head"], order["tail"]
        os.setsid()
        os.execv(head[0], [*head, *options, "--", *tail])
    except BaseException as error:
        os.write(2, f"starting nsjail failed: {error}\n".encode())
    os._exit(126)


def clone_into(folder: str) -> tuple[int, bool]:
    """A fork whose child begins in a v2 group: as os.fork, and whether the kernel (5.7 or newer) did that."""
    group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # struct clone_args: flags, three pointers, the exit signal, five that are not used, the group.
    arguments = struct.pack("=11Q", _CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, group)
    ctypes.pythonapi.PyOS_BeforeFork()
    # PyDLL: the child must find the interpreter's lock held by its only thread.
    pid = ctypes.PyDLL(None).syscall(_SYS_CLONE3, ctypes.c_char_p(arguments), len(arguments))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, True
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    os.close(group)
    if pid < 0:
        return os.fork(), False
    return pid, True


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def serve(sock: socket.socket, order: dict[str, list[str]], kept: list[int]) -> None:
    """Start what is asked for until the executor hangs up."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(sock, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if woken in ready:
            os.read(woken, 4096)
            _reap()
        if sock.fileno() not in ready:
            continue
        data, descriptors, _flags, _address = socket.recv_fds(sock, 1 << 16, 2)
        if not data:
            return
        try:
            pid = spawn(data.decode(), descriptors, order, kept)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            sock.send(f"!{error}".encode())
        else:
            socket.send_fds(sock, [b"started"], [pidfd])
            os.close(pidfd)
        for descriptor in descriptors:
            os.close(descriptor)


def _reap() -> None:
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def main() -> None:
    """argv: socket, config and bundle descriptors. The first message is the order: binds, head and tail of argv."""
    sock_fd, config_fd, bundle_fd = map(int, sys.argv[1:4])
    sock = socket.socket(fileno=sock_fd)
    kept = [os.dup(config_fd), os.dup(bundle_fd)]
    while min(kept) < 10:
        kept = [os.dup(descriptor) for descriptor in kept]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the server, which then ends the jails itself
    # A killed nsjail leaves the jail's first process behind: it is reaped here, since not every init does so in time.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    order = json.loads(sock.recv(1 << 20))
    try:
        if order["binds"]:
            stage([(source, name) for source, name in order["binds"]])
    except OSError as error:
        sock.send(f"!{error}".encode())
        return
    sock.send(b"ready")
    serve(sock, order, kept)


if __name__ == "__main__":
    main()
