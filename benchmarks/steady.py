"""What is left behind: 32 solves at once, then clients that vanish.

    python -m benchmarks.steady [--rounds 3] [--out FILE.json]

A real server with a real model. First all solves of a round run at once; each must end with exactly one summary. Then a
client is killed while it draws, and another while its candidates run (their set-up code sleeps). Measured: how long the
rows and the jails of a vanished client live on, and whether pages, jails, descriptors and memory are back afterwards.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from thresher.client import AsyncClient, Client, solve_spec

from benchmarks.record import provenance, write
from benchmarks.server import Server, free_port, own_server

TASKS = [
    ("Write a function that adds two numbers.", "add", ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]),
    ("Write a function that reverses a string.", "backwards", ['assert backwards("abc") == "cba"']),
    ("Write a function that counts the vowels of a text.", "vowels", ['assert vowels("banana") == 3']),
    ("Write a function that gives the n-th prime.", "nth_prime", ["assert nth_prime(4) == 7"]),
]
_PATIENCE = 60.0
_FIRST_JAIL_USER = 65_536


def document(number: int, **more: Any) -> dict[str, Any]:
    """A small problem; its seed is its number."""
    prompt, entry_point, tests = TASKS[number % len(TASKS)]
    sampling = {"k": 4 + number % 5, "seed": number, "max_new_tokens": 120}
    return {"prompt": prompt, "entry_point": entry_point, "tests": tests, "sampling": sampling, **more}


async def crowd(address: str, count: int) -> list[int]:
    """Run `count` solves at once; the number of summaries of each."""

    async def one(client: AsyncClient, number: int) -> int:
        events = client.solve(solve_spec(document(number)), timeout=600)
        return sum([1 async for event in events if event.HasField("summary")])

    async with AsyncClient(address) as client:
        return list(await asyncio.gather(*(one(client, number) for number in range(count))))


def state(server: Server) -> dict[str, int]:
    """Processes, descriptors and resident bytes of the server with all its children, after it has settled."""
    front = psutil.Process(server.pid)
    for _ in range(100):
        family = [front, *front.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):  # a jail that was just being made or ended: look again
            return {
                "processes": len(family),
                "descriptors": sum(process.num_fds() for process in family),
                "resident_bytes": sum(process.memory_info().rss for process in family),
            }
    raise RuntimeError("the server is gone, or its processes do not keep still")


def settled(server: Server, client: Client, processes: int | None = None) -> float:
    """Seconds until nothing of any solve is left (and the family has its size again)."""
    began = time.monotonic()
    while True:
        load = client.load()
        busy = load.solves_running + load.solves_waiting + load.branches_running
        size = 1 + len(psutil.Process(server.pid).children(recursive=True))
        if not busy and load.kv_cache_usage == 0 and (processes is None or size <= processes):
            return time.monotonic() - began
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError(f"not settled after {_PATIENCE} s: {load}")
        time.sleep(0.002)


def vanish(server: Server, client: Client, problem: dict[str, Any], ready: str) -> subprocess.Popen[str]:
    """Start a client process, kill it as soon as it prints a line with `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli.main", "solve", "-", "--address", server.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(json.dumps(problem))
    process.stdin.close()
    for line in process.stderr:
        if ready in line:
            break
    return process


def vanishing_while_drawing(server: Server, client: Client, samples: int = 8) -> float:
    """Seconds from the client's death until its last row has left the batch. It would have drawn so many samples."""
    sampling = {"k": samples, "seed": 1, "max_new_tokens": 400, "keep_after_program": True}
    problem = document(3, policy="all", sampling=sampling)
    process = vanish(server, client, problem, "branch")
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    while client.load().branches_running:
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError("rows of a vanished client are still there")
    process.wait()
    return time.monotonic() - began


def vanishing_while_judging(server: Server, client: Client) -> float:
    """Seconds from the client's death until the candidates it had running are gone."""
    problem = document(0, setup_code="import time\ntime.sleep(30)", limits={"cpu_seconds": 20, "wall_seconds": 60})
    process = vanish(server, client, problem, "program 0")
    time.sleep(1.0)
    until = time.monotonic() + _PATIENCE
    while not (doomed := running_candidates(server)) and time.monotonic() < until:
        time.sleep(0.1)
    if not doomed:
        raise RuntimeError("no candidate was running when the client was killed: nothing was measured")
    process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    while any(_alive(pid) for pid in doomed):
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError("jails of a vanished client are still there")
    process.wait()
    return time.monotonic() - began


def running_candidates(server: Server) -> set[int]:
    """Process ids of running tests. Jails have users of their own; only a running test has a parent inside its jail."""
    parents: dict[int, int] = {}
    for child in psutil.Process(server.pid).children(recursive=True):
        try:
            if child.uids().real >= _FIRST_JAIL_USER:
                parents[child.pid] = child.ppid()
        except psutil.NoSuchProcess:
            continue
    return {pid for pid, parent in parents.items() if parent in parents}


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def step_seconds(port: int) -> float:
    """Mean length of an engine step so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    values = {"sum": 0.0, "count": 0.0}
    for line in text.splitlines():
        for part in values:
            if line.startswith(f"thresher_step_seconds_{part}"):
                values[part] += float(line.split()[-1])
    return values["sum"] / values["count"]


def measure(rounds: int, count: int, model: str) -> dict[str, Any]:
    """All of it, on a server of its own."""
    port = free_port()
    with own_server("--model", model, "--metrics", f"127.0.0.1:{port}") as server, Client(server.address) as client:
        asyncio.run(crowd(server.address, count))  # warm-up: caches fill, heaps grow
        settled(server, client)
        before = resting_state(server)
        crowds: list[dict[str, Any]] = []
        for _ in range(rounds):
            began = time.monotonic()
            summaries = asyncio.run(crowd(server.address, count))
            seconds = time.monotonic() - began
            crowds.append(
                {
                    "solves": count,
                    "each_with_one_summary": all(number == 1 for number in summaries),
                    "seconds": round(seconds, 2),
                    "seconds_until_settled": round(settled(server, client), 3),
                    "state": resting_state(server),
                }
            )
        rows = [vanishing_while_drawing(server, client) for _ in range(5)]
        jails = [vanishing_while_judging(server, client) for _ in range(5)]
        settled(server, client)
        after = resting_state(server)
        return {
            "crowds": crowds,
            "before": before,
            "after": after,
            "vanished_while_drawing_ms": [round(1000 * seconds, 1) for seconds in rows],
            "vanished_while_judging_ms": [round(1000 * seconds, 1) for seconds in jails],
            "mean_step_ms": round(1000 * step_seconds(port), 1),
        }


def resting_state(server: Server) -> dict[str, int]:
    """The state when the warm jails are back: the same number of processes three looks in a row."""
    looks: list[dict[str, int]] = []
    while len(looks) < 3 or len({look["processes"] for look in looks[-3:]}) > 1:
        time.sleep(0.3)
        looks.append(state(server))
    return looks[-1]


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--solves", type=int, default=32)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    result = {
        "experiment": "steady",
        "provenance": provenance(["python", "-m", "benchmarks.steady", *sys.argv[1:]]),
        **measure(options.rounds, options.solves, options.model),
    }
    if options.out is not None:
        write(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
