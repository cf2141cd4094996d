"""Programs on executor-only servers: real processes, real gRPC, real jails, and what happens when one is gone."""

import asyncio
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from thresher.client import AsyncClient, ThresherError, program, solve_spec
from thresher.client.channel import Endpoint
from thresher.v1 import verdict_pb2

from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.link import RemoteMember
from engine.remote.member import LocalMember, Member
from executor import (
    ExecutionCancelled,
    ExecutorClient,
    ExecutorConfig,
    Limits,
    Program,
    SandboxUnavailable,
    SnippetTest,
    Verdict,
)
from executor.verdict import Report, TestReport
from tests.support.executor_servers import ExecutorServer, executor_servers, ready, start
from tests.support.served import until

pytestmark = pytest.mark.sandbox

CORES = len(os.sched_getaffinity(0))
SLEEP = Program(
    code="import time\ntime.sleep(60)\ndef f(): return 1\n",
    tests=(SnippetTest(code="assert f() == 1"),),
    limits=Limits(wall_seconds=60),
)


def asked(code: str = "def f(): return 1\n", *tests: str) -> Program:
    return Program(code=code, tests=tuple(SnippetTest(code=test) for test in tests or ("assert f() == 1",)))


@asynccontextmanager
async def balanced(
    *members: Member | ExecutorServer, patience: float = 30.0
) -> AsyncGenerator[tuple[BalancedExecutor, Metrics]]:
    metrics = Metrics()
    found = [
        RemoteMember(member.address, Endpoint(member.address, pinned=True))
        if isinstance(member, ExecutorServer)
        else member
        for member in members
    ]
    async with BalancedExecutor(found, metrics, patience=patience) as executor:
        yield executor, metrics


def metric(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"thresher_{name}", labels) or 0.0


async def test_verdicts_are_those_of_the_sandbox_and_both_servers_work() -> None:
    async with executor_servers(2) as servers, balanced(*servers) as (executor, metrics):
        await until(lambda: executor.stats().slots >= 2 * CORES, 60)
        told: list[TestReport] = []
        two = asked("def f(): return 1\n", "assert f() == 1", "assert f() == 2")
        reports = await asyncio.gather(
            executor.run(two, on_test=told.append),
            executor.run(asked("def f(): raise KeyError(3)\n")),
            executor.run(asked("def f(:\n")),
            *(executor.run(asked(), group=f"g{number % 3}") for number in range(40)),
        )
        first, second, third, *rest = reports
        assert [report.verdict for report in rest] == [Verdict.PASSED] * 40
        assert (first.verdict, second.verdict) == (Verdict.WRONG_ANSWER, Verdict.RUNTIME_ERROR)
        assert third.verdict is Verdict.COMPILE_ERROR
        assert third.detail
        assert [(one.index, one.verdict) for one in told] == [(0, Verdict.PASSED), (1, Verdict.WRONG_ANSWER)]
        assert first.tests[1].message
        assert first.weaknesses == executor.info.weaknesses
        assert executor.info.backend.startswith("nsjail")
        for server in servers:
            assert metric(metrics, "executor_programs_total", executor=server.address, end="judged") >= 5
        assert executor.stats().executed == {"passed": 40, "wrong_answer": 1, "runtime_error": 1, "compile_error": 1}


async def test_kill_9_of_one_of_two_loses_no_program() -> None:
    async with executor_servers(2) as servers, balanced(*servers) as (executor, metrics):
        seen: list[Counter[int]] = [Counter() for _ in range(200)]
        ended: list[float] = []

        async def run(number: int) -> Report:
            # Every fourth one fails its second test; all take long enough for some to be lost with their server.
            value = 2 if number % 4 == 0 else 1
            code = f"import time\ntime.sleep(0.05)\ndef f(): return {value}\ndef g(): return 5\n"
            report = await executor.run(
                asked(code, "assert g() == 5", "assert f() == 1"),
                group=str(number % 5),
                on_test=lambda test: seen[number].update([test.index]),
            )
            ended.append(time.monotonic())
            return report

        tasks = [asyncio.create_task(run(number)) for number in range(200)]
        await until(lambda: len(ended) >= 30, 120)
        await servers[0].kill()
        reports = await asyncio.wait_for(asyncio.gather(*tasks), 120)
        wanted = [Verdict.WRONG_ANSWER if number % 4 == 0 else Verdict.PASSED for number in range(200)]
        assert [report.verdict for report in reports] == wanted
        assert all(count == Counter({0: 1, 1: 1}) for count in seen), "each test is told of once"
        lost = metric(metrics, "executor_programs_total", executor=servers[0].address, end="lost")
        assert lost >= 1
        assert metric(metrics, "executor_up", executor=servers[0].address) == 0
        judged = [
            metric(metrics, "executor_programs_total", executor=server.address, end="judged") for server in servers
        ]
        assert sum(judged) == 200
        # It comes back, and is used again.
        servers.append(await start(servers[0].address, servers[0].log.parent))
        await until(lambda: metric(metrics, "executor_up", executor=servers[0].address) == 1, 60)
        again = await asyncio.gather(*(executor.run(asked()) for _ in range(20)))
        assert {report.verdict for report in again} == {Verdict.PASSED}
        assert metric(metrics, "executor_programs_total", executor=servers[0].address, end="judged") > judged[0], (
            "the one that came back has work again"
        )


async def test_a_server_that_drains_keeps_what_it_has_and_gives_back_the_rest() -> None:
    async with executor_servers(2, "--drain-seconds", "20") as servers, balanced(*servers) as (executor, metrics):
        code = "import time\ntime.sleep(0.3)\ndef f(): return 1\n"
        tasks = [asyncio.create_task(executor.run(asked(code))) for _ in range(30)]
        await until(lambda: executor.stats().executed.get("passed", 0) >= 3, 60)
        assert await servers[0].stop() == 0
        reports = await asyncio.wait_for(asyncio.gather(*tasks), 60)
        assert [report.verdict for report in reports] == [Verdict.PASSED] * 30
        assert metric(metrics, "executor_up", executor=servers[0].address) == 0
        assert not [entry for entry in servers[0].entries() if entry["level"] == "error"]


async def test_cancel_of_a_group_reaches_every_server_and_no_other_group() -> None:
    async with executor_servers(2) as servers, balanced(*servers) as (executor, _):
        slots = 2 * CORES
        await until(lambda: executor.stats().slots == slots, 60)
        doomed = [asyncio.create_task(executor.run(SLEEP, group="doomed")) for _ in range(3 * slots)]
        await asyncio.sleep(0)
        other = asyncio.create_task(executor.run(asked(), group="other"))
        await until(lambda: executor.stats().busy == slots, 60)
        began = time.monotonic()
        await executor.cancel_group("doomed")
        assert time.monotonic() - began < 30, "the programs themselves go on for a minute"
        found = await asyncio.gather(*doomed, return_exceptions=True)
        assert {type(error) for error in found} == {ExecutionCancelled}
        assert (await asyncio.wait_for(other, 60)).verdict is Verdict.PASSED
        for server in servers:
            async with AsyncClient(server.address) as client:
                assert (await client.load()).executor_queue == 0


async def test_cancelling_the_task_kills_the_jail_over_there() -> None:
    async with executor_servers(1) as (server,), balanced(server) as (executor, _):
        spin = "def f():\n    while True: pass\n"
        limits = Limits(cpu_seconds=50)
        slow = Program(code=spin, tests=(SnippetTest(code="assert f() == 1"),), limits=limits)
        task = asyncio.create_task(executor.run(slow))

        def spinning() -> bool:
            return server.busy_seconds() > 0.5

        await until(spinning, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not spinning(), 60)
        assert executor.stats().busy == 0


async def test_with_none_left_runs_wait_a_while_and_then_fail_without_blame() -> None:
    async with executor_servers(1) as (server,), balanced(server, patience=1.5) as (executor, _):
        running = asyncio.create_task(executor.run(SLEEP))
        await until(lambda: executor.stats().busy == 1)
        began = time.monotonic()
        await server.kill()
        late = asyncio.create_task(executor.run(asked()))
        reports = await asyncio.wait_for(asyncio.gather(running, late), 60)
        assert [report.verdict for report in reports] == [Verdict.SANDBOX_FAILURE] * 2
        assert "no executor" in reports[0].detail
        assert time.monotonic() - began >= 1.5


async def test_this_machine_takes_over_where_it_is_one_of_them() -> None:
    local = LocalMember(ExecutorClient(ExecutorConfig(slots=1)))
    async with executor_servers(1) as (server,), balanced(server, local) as (executor, metrics):
        code = "import time\ntime.sleep(0.05)\ndef f(): return 1\n"
        tasks = [asyncio.create_task(executor.run(asked(code))) for _ in range(40)]
        await until(lambda: metric(metrics, "executor_programs_total", executor=server.address, end="judged") >= 1, 60)
        await server.kill()
        reports = await asyncio.wait_for(asyncio.gather(*tasks), 120)
        assert [report.verdict for report in reports] == [Verdict.PASSED] * 40
        judged = [
            metric(metrics, "executor_programs_total", executor=name, end="judged")
            for name in (server.address, "local")
        ]
        assert sum(judged) == 40
        assert min(judged) > 0


async def test_a_dead_address_at_the_start_is_no_hindrance_and_all_dead_is() -> None:
    dead = "unix:/tmp/thresher-there-is-none.sock"
    member = RemoteMember(dead, Endpoint(dead, pinned=True))
    async with executor_servers(1) as (server,), balanced(member, server) as (executor, metrics):
        assert (await executor.run(asked())).verdict is Verdict.PASSED
        assert metric(metrics, "executor_up", executor=dead) == 0
    again = RemoteMember(dead, Endpoint(dead, pinned=True))
    with pytest.raises(SandboxUnavailable, match="there-is-none"):
        async with balanced(again, patience=1.0):
            pass


async def test_the_program_of_the_page_runs_as_it_stands() -> None:
    page = (Path(__file__).parents[3] / "docs" / "scale-out.md").read_text()
    (text,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    async with executor_servers(1) as (server,):
        text = text.replace("unix:/run/thresher/executor.sock", server.address)
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", text, stdout=asyncio.subprocess.PIPE)
        printed, _ = await asyncio.wait_for(child.communicate(), 120)
    assert sorted(printed.decode().splitlines()) == ["0 report 1", "1 report 1", "2 report 0"]


async def test_a_thousand_programs_over_one_call() -> None:
    document = {"tests": ["assert f(2) == 4"], "entry_point": "f"}
    async with executor_servers(1) as (server,), AsyncClient(server.address) as client:
        right, wrong = "def f(x): return x * x\n", "def f(x): return x + 3\n"
        programs = [program(right if number % 2 else wrong, document) for number in range(1000)]
        verdicts = {reply.id: reply.report.verdict async for reply in client.execute_many(programs, timeout=250)}
        assert sorted(verdicts) == list(range(1000))
        names = {number: Verdict.PASSED if number % 2 else Verdict.WRONG_ANSWER for number in range(1000)}
        assert all(verdict_pb2.Verdict.Name(verdicts[n]) == f"VERDICT_{names[n].name}" for n in names)
        load = await client.load()
        assert load.executor_queue == 0


async def test_the_end_of_a_caller_is_the_end_of_its_jails() -> None:
    async with executor_servers(1) as (server,), AsyncClient(server.address) as client:
        spin = program("def f():\n    while True: pass\n", {"tests": ["assert f()"], "limits": {"cpu_seconds": 50}})
        async with client.execute_many([spin] * 10) as stream:
            await until(lambda: server.busy_seconds() > 0.5, 60)
            stream.cancel()
        await until(lambda: server.busy_seconds() < 0.5, 60)
        # A program of this call that was begun only now would spin, too.
        await asyncio.sleep(1.0)
        assert server.busy_seconds() < 0.5
        assert (await client.load()).executor_queue == 0


async def test_an_executor_only_server_has_no_torch_and_says_what_it_is() -> None:
    async with executor_servers(1) as (server,), AsyncClient(server.address) as client:
        info = await client.server_info()
        assert "ExecutionService.ExecuteMany" in info.features
        assert not [name for name in info.features if name.startswith(("SynthesisService", "Problem", "SAMPLING"))]
        assert (info.default_model, await client.models()) == ("", [])
        assert info.max_programs_in_flight >= 16
        assert info.sandbox.backend
        spec = solve_spec({"prompt": "x", "tests": ["assert f()"]})
        for call in (client.solve_once(spec), anext(client.solve(spec))):
            with pytest.raises(ThresherError) as caught:
                await call
            assert (caught.value.code.name, caught.value.reason) == ("UNIMPLEMENTED", "EXECUTOR_ONLY")
        assert await client.health() == "SERVING"
        assert await client.health("thresher.v1.ExecutionService") == "SERVING"
        assert await client.health("thresher.v1.SynthesisService") == "NOT_SERVING"
        for process in server.family()[:2]:
            assert not [found.path for found in process.memory_maps() if Path(found.path).name.startswith("libtorch")]
        assert (await client.load()).executor_slots == CORES
        assert await server.stop() == 0


@pytest.mark.model
@pytest.mark.slow
async def test_a_solve_is_judged_elsewhere_and_survives_the_loss_of_an_executor() -> None:
    async with executor_servers(2) as servers:
        folder = servers[0].log.parent
        remotes = [word for server in servers for word in ("--executor", server.address)]
        metrics = ("--metrics", "127.0.0.1:0")
        options = ("--model", "smollm2-135m-instruct", "--set", "engine.kv_bytes=128MiB")
        engine = await start(f"unix:{folder}/engine", folder, *options, *remotes, *metrics, executor_only=False)
        servers.append(engine)
        await ready(engine, 240)
        assert "nsjail" not in " ".join(process.name() for process in engine.family()), "no jail on this machine"
        begun = 'def add(a, b):\n    """Return the sum of a and b."""\n    return'
        document = {
            "completion": {"text": begun, "part_of_program": True},
            "tests": ["assert add(1, 2) == 3"],
            "entry_point": "add",
            "sampling": {"k": 16, "seed": 3, "max_new_tokens": 24},
            "policy": "all",
        }
        async with AsyncClient(engine.address) as client:
            info = await client.server_info()
            assert info.sandbox.backend.startswith("nsjail")
            async with client.solve(solve_spec(document), timeout=120) as events:
                async for event in events:
                    if event.HasField("candidate_finished") and servers[0].child.returncode is None:
                        await servers[0].kill()
            summary = events.summary
        assert summary is not None
        verdicts = Counter(candidate.report.verdict for candidate in summary.candidates)
        assert verdicts[verdict_pb2.VERDICT_PASSED] >= 1
        assert verdicts[verdict_pb2.VERDICT_SANDBOX_FAILURE] == 0
        assert sum(verdicts.values()) == summary.accounting.candidates_executed
        port = next(entry["metrics_port"] for entry in engine.entries() if entry["event"] == "listening")
        exposed = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
        told = [line for line in exposed.splitlines() if line.startswith("thresher_executor_up{")]
        assert told == [
            f'thresher_executor_up{{executor="{server.address}"}} {value}'
            for server, value in zip(servers[:2], ("0.0", "1.0"), strict=True)
        ]
        assert await engine.stop() == 0
