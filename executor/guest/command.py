"""A program in another language than Python: its files are written, and its command takes this process's place.

What a compiler made comes over as an open file that no name leads to and nobody can write to: no test can change it
for the next.
"""

import _signal  # pyright: ignore[reportMissingImports]
import posix as os

from executor.guest.wire import Wire

ARTIFACT = 200
"""The descriptor of what the compiler made, or is to write to."""
_BUILT = "/tmp/a.out"
_CHUNK = 1 << 20


class Command:
    """What the host sent: files, each a name and its text, and the words that run or compile them."""

    def __init__(self, files: list[tuple[str, str]], words: list[str]) -> None:
        self.files = files
        self.words = words

    def write(self) -> None:
        """Write the files. Raises OSError."""
        for name, text in self.files:
            with open(f"/tmp/{name}", "wb") as file:
                file.write(text.encode("utf-8", "surrogatepass"))


def keep(descriptor: int) -> None:
    """Put the artifact where the programs of later tests cannot be in its way."""
    os.dup2(descriptor, ARTIFACT, inheritable=False)
    os.close(descriptor)


def run(command: Command, wire: Wire, argv: list[str]) -> None:
    """Become the program. Returns only where that fails, which is the sandbox's fault."""
    try:
        command.write()
        _become([*command.words, *argv], wire)
    except OSError as error:
        wire.send(("unstarted", str(error)))


def build(command: Command, wire: Wire) -> None:
    """Compile in a child, hand over what it made, and end as it ended."""
    command.write()
    child = os.fork()
    if child == 0:
        try:
            _become(command.words, wire)
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        os._exit(126)  # pyright: ignore[reportPrivateUsage]
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        source = os.open(_BUILT, os.O_RDONLY | os.O_NOFOLLOW)
        while chunk := os.read(source, _CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[os.write(ARTIFACT, view) :]
        wire.send(("built",))
    os._exit(code if code >= 0 else 1)  # pyright: ignore[reportPrivateUsage]


def _become(words: list[str], wire: Wire) -> None:
    os.set_inheritable(wire.socket.fileno(), False)
    # Python ignores both, and what it ignores its successor would ignore too.
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    if words and words[0]:
        os.execve(words[0], words, os.environ)
    os.execve(ARTIFACT, ["solution", *words[1:]], os.environ)
