"""A server of two models that share a device, over gRPC: both answer, one step at a time, and the books say whose."""

import asyncio
import re
import socket
import tomllib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from thresher.v1 import problem_pb2, solve_pb2, synthesis_service_pb2

from engine.config import Settings
from engine.config_base import ConfigError
from engine.loop.client import thread_starter
from engine.loop.messages import Ready, frame
from engine.metrics import Metrics
from engine.solving.build import build_solver
from engine.solving.control_groups import ControlGroups
from engine.solving.memory import Memory, ModelsDoNotFit, free_bytes
from engine.solving.solver import Solver
from tests.support.scripted_engine import FakeExecutor, serve_script
from tests.support.served import Served, serving, solve_request, until
from tests.support.watched_device import SECONDS, Device, Watched

PROGRAMS = {
    "easy": {"x = 'PASS a'\n": 1.0, "x = 'FAIL b'\n": 1.0, "x = 'FAIL c'\n": 1.0},
    "long": {f"{first} = '{'z' * 150}'\n": 1.0 for first in "abcdefgh"},
}
NAMES = ("one", "two")


class TwoModels:
    """The solver of a server with two scripted models."""

    def __init__(self) -> None:
        self.device = Device()
        self.metrics = Metrics()
        self.scripts = {name: Watched(self.device, name, PROGRAMS) for name in NAMES}
        self.solver: Any = Solver(
            starters={name: thread_starter(serve_script(one, shared=True)) for name, one in self.scripts.items()},
            executor=FakeExecutor(),  # type: ignore[arg-type]
            metrics=self.metrics,
            max_k=64,
            weights={"two": 3.0},
        )

    def of(self, metric: str, model: str) -> float:
        return self.metrics.registry.get_sample_value(f"thresher_{metric}", {"model": model}) or 0.0


@asynccontextmanager
async def two_models() -> AsyncGenerator[tuple[TwoModels, Served]]:
    made = TwoModels()
    await made.solver.start()
    made.metrics.serve_models(NAMES)
    try:
        async with serving(made.solver) as served:
            yield made, served
    finally:
        await made.solver.close()


def request(model: str, prompt: str, **fields: Any) -> synthesis_service_pb2.SolveRequest:
    problem = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text=prompt),
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert x"))],
    )
    sampling = solve_pb2.SamplingParams(k=8, seed=1, max_new_tokens=200)
    return solve_request(problem=problem, model=f"models/{model}", sampling=sampling, **fields)


async def solved(served: Served, asked: synthesis_service_pb2.SolveRequest) -> solve_pb2.Summary:
    summary = None
    async for answer in served.synthesis.Solve(asked):
        if answer.event.HasField("summary"):
            summary = answer.event.summary
    assert summary is not None
    return summary


async def test_both_models_answer_and_never_compute_at_once() -> None:
    async with two_models() as (made, served):
        asked = [request(name, prompt) for _ in range(3) for name in NAMES for prompt in ("easy", "long")]
        summaries = await asyncio.gather(*(solved(served, one) for one in asked))
        outcomes = [summary.outcome for summary in summaries]
        assert outcomes == [solve_pb2.SOLVE_OUTCOME_SOLVED, solve_pb2.SOLVE_OUTCOME_EXHAUSTED] * 6
        assert made.device.most == 1
        assert set(made.device.turns) == set(NAMES)


async def test_the_metrics_say_whose_the_device_was_and_what_pages_each_has() -> None:
    async with two_models() as (made, served):
        first = made.scripts["one"]
        first.let.clear()
        one = asyncio.create_task(solved(served, request("one", "long")))
        await until(first.entered.is_set, SECONDS)
        two = asyncio.create_task(solved(served, request("two", "long")))
        await asyncio.sleep(0.05)
        assert made.scripts["two"].steps == 0, "it waits for the other's step"
        first.let.set()
        await asyncio.gather(one, two)
        assert [made.of("kv_pages", name) for name in NAMES] == [4000, 4000]
        assert made.of("device_seconds_total", "one") > 0.04
        assert made.of("device_seconds_total", "two") > 0
        assert made.of("device_wait_seconds_total", "two") > 0


async def test_a_model_that_is_interrupted_while_it_waits_lets_its_caller_go() -> None:
    async with two_models() as (made, served):
        first = made.scripts["one"]
        first.let.clear()
        one = asyncio.create_task(solved(served, request("one", "long")))
        await until(first.entered.is_set, SECONDS)
        call = served.synthesis.Solve(request("two", "long"))
        await call.read()
        call.cancel()
        # Its end is told while the other model's step still runs.
        await until(lambda: made.solver.load().solves_running + made.solver.load().solves_waiting == 1, SECONDS)
        assert made.scripts["two"].steps == 0
        first.let.set()
        assert (await one).outcome == solve_pb2.SOLVE_OUTCOME_EXHAUSTED


def ready(pool_bytes: int) -> Ready:
    return Ready(
        name="any",
        context_length=10,
        chat=False,
        infill=False,
        dtype="int8",
        device="cpu",
        deterministic=True,
        pages=1,
        page_size=1,
        load_seconds=0.0,
        versions={},
        resident_bytes=1 << 30,
        pool_bytes=pool_bytes,
    )


def hungry(connection: socket.socket) -> None:
    """An engine whose pages would take more than any machine has."""
    connection.sendall(frame(ready(1 << 60)))
    connection.recv(1)


async def test_models_that_do_not_fit_together_are_refused_at_the_start() -> None:
    starters = {name: thread_starter(hungry) for name in NAMES}
    executor: Any = FakeExecutor()
    solver = Solver(starters=starters, executor=executor, metrics=Metrics(), max_k=1)
    try:
        with pytest.raises(
            ModelsDoNotFit, match=r"one 1.00 GiB and .* GiB for pages, two 1.00 GiB and .*engine.shares"
        ):
            await solver.start()
    finally:
        await solver.close()


def test_pages_are_counted_though_they_are_not_there_yet() -> None:
    memory = Memory(free=5 << 30)
    memory.take("one", ready(1 << 30))
    memory.take("two", ready(2 << 30))
    with pytest.raises(ModelsDoNotFit, match=r"in all 8.00 GiB, and 5.00 GiB were free"):
        memory.take("three", ready(2 << 30))
    Memory(free=0).take("alone", ready(1 << 30))  # as ever: its pages are mapped when they are needed


def test_a_control_group_may_leave_less_than_the_machine_has(tmp_path: Path) -> None:
    machine, groups = tmp_path / "meminfo", ControlGroups(tmp_path, tmp_path / "own")
    machine.write_text("MemTotal:       24684084 kB\nMemFree:        16304428 kB\nMemAvailable:    4194304 kB\n")
    assert free_bytes(machine, groups) == 4 << 30
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    assert free_bytes(machine, groups) == 1 << 30
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(machine, groups) == 4 << 30


def test_what_is_free_is_estimated_where_the_kernel_does_not_say_it_and_unknown_where_it_says_nothing(
    tmp_path: Path,
) -> None:
    machine, groups = tmp_path / "meminfo", ControlGroups(tmp_path, tmp_path / "own")
    assert free_bytes(machine, groups) is None
    machine.write_text(
        "MemTotal: 9000 kB\nMemFree: 1000 kB\nCached: 5000 kB\nShmem: 4000 kB\nHugePages_Total: 0\n"
        "Active(file): 200 kB\nInactive(file): 30 kB\nSReclaimable: 4 kB\n"
    )
    assert free_bytes(machine, groups) == 1234 << 10
    machine.write_text("MemTotal: 9000 kB\n")
    assert free_bytes(machine, groups) is None
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    assert free_bytes(machine, groups) == 1 << 30
    memory = Memory(free=None)
    for name in NAMES:
        memory.take(name, ready(1 << 40))  # nobody knows better than the operator


# Settings


def shares(*tables: dict[str, Any], **engine: Any) -> Settings:
    named = ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]
    return Settings.model_validate({"models": {"serve": named}, "engine": {"shares": tables, **engine}})


def test_each_model_gets_its_own_pages_and_weight() -> None:
    engine = shares({"model": "qwen2.5-coder-0.5b-instruct", "weight": 3, "kv_bytes": "2GiB"}, kv_bytes="512MiB").engine
    big, small = engine.share("qwen2.5-coder-0.5b-instruct"), engine.share("smollm2-135m-instruct")
    assert (big.weight, big.kv_bytes) == (3.0, 2 << 30)
    assert (small.weight, small.kv_bytes) == (1.0, 512 << 20)


def test_the_example_of_the_page_is_accepted() -> None:
    page = (Path(__file__).parents[3] / "docs" / "scheduling.md").read_text()
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = Settings.model_validate(tomllib.loads(text))
    sizes = {name: (share.weight, share.kv_bytes) for name in found.models.serve if (share := found.engine.share(name))}
    assert sizes == {"qwen2.5-coder-0.5b-instruct": (1.0, 512 << 20), "smollm2-135m-instruct": (0.5, 256 << 20)}


def test_shares_of_models_that_are_not_served_are_refused() -> None:
    executor: Any = None  # it is not asked for anything
    with pytest.raises(ConfigError, match=r"engine.shares: 'other' is not served here .*smollm2-135m-instruct"):
        build_solver(shares({"model": "other"}), Metrics(), executor)
    with pytest.raises(ValueError, match="names a model twice"):
        shares({"model": "a"}, {"model": "a"})
    with pytest.raises(ValueError, match="weight"):
        shares({"model": "a", "weight": 0})
