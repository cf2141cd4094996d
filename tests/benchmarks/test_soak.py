"""The soak: what it takes for growth, that its nonsense is refused, and two minutes of it."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import grpc
import pytest

from benchmarks.load.mix import Cancel, Mix, mix_of
from benchmarks.soak import guests as guests_module
from benchmarks.soak import rounds
from benchmarks.soak.__main__ import measure
from benchmarks.soak.guests import _REFUSALS, HOSTILE, Guests, _nonsense
from benchmarks.soak.resting import Resting, growth, line
from benchmarks.soak.rounds import mix, shape
from executor import Executor, ExecutorConfig, Limits, Program, SnippetTest
from executor.verdict import Verdict
from tests.support.load_server import load_server
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.served import serving

CALM = Resting(
    processes=12,
    jails=4,
    cgroups=4,
    threads=60,
    tasks=20,
    descriptors=200,
    pages=0,
    branches=0,
    resident_bytes=1 << 30,
)


def test_what_stays_as_it_was_has_not_grown() -> None:
    noisy = replace(CALM, threads=62, descriptors=205, resident_bytes=(1 << 30) + (40 << 20))
    assert growth([CALM, CALM, noisy], 2) == []
    assert growth([replace(CALM, processes=14), CALM, replace(CALM, processes=14)], 2) == [], "it was so warm, too"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("processes", 13),
        ("jails", 5),
        ("cgroups", 5),
        ("threads", 65),
        ("tasks", 25),
        ("descriptors", 209),
        ("pages", 1),
        ("branches", 1),
        ("resident_bytes", 1300 << 20),
    ],
)
def test_what_has_grown_is_told(name: str, value: int) -> None:
    fields: dict[str, Any] = {name: value}
    (said,) = growth([CALM, CALM, replace(CALM, **fields)], 2)
    assert said.startswith("memory" if name == "resident_bytes" else name)
    assert "4 jails" in line(CALM)


def test_pages_that_were_held_in_the_warm_up_are_no_excuse() -> None:
    held = replace(CALM, pages=5)
    assert growth([held, held, held], 2) == ["pages: 5 at the end, 0 after the warm-up"]


@pytest.mark.parametrize(("minutes", "wanted"), [(2, (8, 2, 15)), (30, (30, 7, 60)), (0.1, (4, 2, 10))])
def test_rounds_fill_the_time(minutes: float, wanted: tuple[int, int, float]) -> None:
    assert shape(minutes) == wanted


def test_the_mix_has_callers_who_leave_and_who_hurry() -> None:
    entries = mix().entries
    assert any(entry.cancel is not None for entry in entries)
    assert any(entry.timeout is not None for entry in entries)
    assert len({entry.name for entry in entries}) == len(entries)


async def test_its_nonsense_is_refused_and_a_server_that_takes_it_is_told_of() -> None:
    solver: Any = scripted_solver(Script({}), FakeExecutor())
    await solver.start()
    try:
        async with serving(solver) as served:
            requests = list(_nonsense(random.Random(1)))
            for method, data in requests:
                call: Any = served.channel.unary_unary(method)(data, timeout=30)
                assert await call.code() in _REFUSALS, data[:40]
            guests = Guests(f"unix:{served.folder}/s", seed=1)
            await guests._send_nonsense()
            assert guests.faults == []
            assert sum(guests.seen.values()) == len(requests)
    finally:
        await solver.close()


async def test_a_server_that_is_not_there_is_a_fault() -> None:
    guests = Guests("unix:/nowhere/s", seed=1)
    await asyncio.wait_for(guests._send_nonsense(), 60)
    assert guests.faults and grpc.StatusCode.UNAVAILABLE.name in guests.faults[0]


async def test_rounds_on_a_server_that_keeps_its_books_find_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted server's verdicts are words in programs, and its prompts have names."""
    problem = {"completion": "easy", "tests": ["visible"], "sampling": {"k": 4}}
    entries = [
        mix_of({"name": "waits", "problems": [problem]}).entries[0],
        mix_of({"name": "leaves", "problems": [{**problem, "completion": "stuck"}]}).entries[0],
    ]
    # What is stuck has no verdict before its client leaves.
    entries[1] = replace(entries[1], cancel=Cancel(share=1.0, after=(0.0, 0.1)))
    monkeypatch.setattr(rounds, "mix", lambda: Mix(tuple(entries)))
    monkeypatch.setattr(rounds, "shape", lambda _: (2, 1, 0.5))
    monkeypatch.setattr(guests_module, "HONEST", "PASS = 1")
    told: list[str] = []
    with load_server() as server:
        found = await rounds.soak(
            server.address, server.metrics, server.log, server.pid, minutes=1, seed=3, say=told.append
        )
    assert found.faults == []
    assert len(found.states) == len(told) == 2
    assert found.solves["solved"] and found.solves["cancelled"]
    assert found.guests["honest: passed"] and found.guests["nonsense: invalid_argument"]


def test_verdicts_that_the_server_has_not_counted_are_told() -> None:
    guests = Guests("unix:/nowhere", seed=1)
    guests.told.update(passed=3, time_limit=2)
    guests.left = 1
    assert list(guests.differences({"passed": 4.0, "time_limit": 2.0, "output_limit": 1.0})) == []
    (said,) = guests.differences({"passed": 5.0, "time_limit": 2.0})
    assert said == "programs of guests: 3 told as passed, 5 counted; 1 were left at most"
    (said,) = guests.differences({"passed": 3.0, "time_limit": 1.0})
    assert "2 told as time_limit, 1 counted" in said


@pytest.mark.sandbox
async def test_no_hostile_program_passes() -> None:
    limits = Limits(cpu_seconds=0.5, wall_seconds=2, memory_bytes=64 << 20, processes=8)
    test = (SnippetTest(code="assert f(2) == 4"),)
    async with Executor(ExecutorConfig(slots=2)) as executor:
        for name, code in HOSTILE.items():
            report = await executor.run(Program(code=code, tests=test, limits=limits, entry_point="f"))
            assert report.verdict not in (Verdict.PASSED, Verdict.SANDBOX_FAILURE), name


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.model
@pytest.mark.timeout(900)
def test_two_minutes() -> None:
    found = measure(2.0, "smollm2-135m-instruct", seed=1)
    assert found.faults == []
    assert found.solves["cancelled"] and found.solves["deadline_exceeded"]
    assert any(name.startswith("hostile") for name in found.guests)
