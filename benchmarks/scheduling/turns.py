"""What a turn costs: two processes that take turns on a device and compute nothing, against the front's own parts.

    python -m benchmarks.scheduling.turns [--turns 2000]

Each process asks for the device, gives it back at once and asks again, by the messages of an engine; the arbiter and
the clients of both engines are those of a server, in an event loop that has nothing else to do. Every turn is handed
over. The time of a turn is what two models pay between their steps on top of their own work.
"""

import argparse
import asyncio
import socket
import sys
import time

from engine.loop.arbiter import Arbiter
from engine.loop.client import EngineClient, Link, ProcessLink
from engine.loop.device_turn import DeviceTurn
from engine.loop.messages import LENGTH, Ready, TurnGranted, frame, to_engine

_READY = Ready(
    name="turns",
    context_length=1,
    chat=False,
    infill=False,
    dtype="none",
    device="none",
    deterministic=True,
    pages=1,
    page_size=1,
    load_seconds=0.0,
    versions={},
)


def take_turns(connection: socket.socket, count: int) -> None:
    """The child: so many turns once a byte has come on standard input; then it waits for the other end to close."""
    connection.sendall(frame(_READY))
    turn = DeviceTurn(lambda message: connection.sendall(frame(message)), shared=True)
    sys.stdin.buffer.read(1)
    with connection.makefile("rb") as stream:
        turn.want(interactive=True)
        while head := stream.read(LENGTH.size):
            message = to_engine.decode(stream.read(*LENGTH.unpack(head)))
            if isinstance(message, TurnGranted):
                count -= 1
                turn.take(message)
                turn.give_back(more=count > 0, interactive=True)


async def measure(count: int) -> float:
    """Milliseconds of one turn, the mean of so many by each of two processes."""
    children: list[asyncio.subprocess.Process] = []

    async def start() -> Link:
        ours, theirs = socket.socketpair()
        with theirs:
            words = ["-m", "benchmarks.scheduling.turns", "--child", str(theirs.fileno()), "--turns", str(count)]
            child = await asyncio.create_subprocess_exec(
                sys.executable, *words, pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.PIPE
            )
        children.append(child)
        return ProcessLink(ours, child)

    arbiter = Arbiter(asyncio.get_running_loop().call_later)
    seats = [arbiter.seat(str(number)) for number in range(2)]
    clients = [EngineClient(start, on_report=lambda _: None, on_change=lambda: None, seat=seat) for seat in seats]
    for client in clients:
        await client.start()
    began = time.perf_counter()
    for child in children:
        if child.stdin is not None:
            child.stdin.write(b"!")
    while True:
        await asyncio.sleep(0.001)
        if all(seat.asked for seat in seats) and arbiter.holder is None and not any(seat.wants for seat in seats):
            break
    seconds = time.perf_counter() - began
    for client in clients:
        await client.close()
    return 1000 * seconds / (2 * count)


def main(arguments: list[str]) -> int:
    """The parent prints the milliseconds of a turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling.turns", description=__doc__)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child is not None:
        with socket.socket(fileno=given.child) as connection:
            take_turns(connection, given.turns)
        return 0
    print(f"{asyncio.run(measure(given.turns)):.3f} ms a turn")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
