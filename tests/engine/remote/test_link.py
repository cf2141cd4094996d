"""The link to one remote executor, against a real front with a scripted executor behind it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from thresher.client.channel import Endpoint

from engine.config import Settings
from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.build import build_executor
from engine.remote.link import RemoteMember
from executor import ExecutionCancelled, InvalidProgram, SandboxUnavailable
from executor.errors import ExecutorDied
from executor.types import Program, SnippetTest
from executor.verdict import Report, TestReport, Verdict
from tests.support.certificates import Authority
from tests.support.scripted_solver import ScriptedSolver, forever
from tests.support.served import Served, serving, until

PROGRAM = Program(code="x = 1", tests=(SnippetTest(code="assert x", name="first"),))
TOKEN = "a-token-of-sixteen-or-more"


@asynccontextmanager
async def linked(
    solver: ScriptedSolver | None = None, *, patience: float = 10.0, **options: Any
) -> AsyncGenerator[tuple[BalancedExecutor, Served]]:
    async with serving(solver, **options) as served:
        member = RemoteMember("it", Endpoint(f"unix:{served.folder}/s", pinned=True))
        async with BalancedExecutor([member], Metrics(), patience=patience) as executor:
            yield executor, served


async def test_what_the_other_server_says_of_itself_is_known() -> None:
    async with linked() as (executor, served):
        assert executor.info.backend == "nsjail, cgroup v2"
        assert executor.info.weaknesses == ("one uid for all slots",)
        assert executor.info.runtimes == ("python",)
        assert executor.stats().slots == served.solver.load().executor_slots


async def test_reports_come_back_with_names_evidence_and_output() -> None:
    solver = ScriptedSolver()
    test = TestReport(index=0, verdict=Verdict.WRONG_ANSWER, message="got 2", stdout=b"out\xff", exit_code=1)
    solver.executor.report = Report(
        verdict=Verdict.WRONG_ANSWER, tests=(test,), tests_total=1, weaknesses=("w",), queue_seconds=1.0
    )
    told: list[TestReport] = []
    async with linked(solver) as (executor, _):
        report = await executor.run(PROGRAM, on_test=told.append)
    (found,) = report.tests
    assert (found.name, found.message, found.stdout, found.exit_code) == ("first", "got 2", b"out\xff", 1)
    assert report.weaknesses == ("w",)
    assert report.queue_seconds >= 1.0
    assert [(one.index, one.name, one.verdict) for one in told] == [(0, "first", Verdict.WRONG_ANSWER)]


async def test_what_is_refused_there_or_cannot_be_sent_is_refused_here() -> None:
    solver = ScriptedSolver()
    solver.executor.error = InvalidProgram("tests[0]: no name")
    async with linked(solver) as (executor, _):
        with pytest.raises(InvalidProgram, match="it refused it"):
            await executor.run(PROGRAM)
        with pytest.raises(InvalidProgram, match="allow_in_process"):
            await executor.run(Program(code="x", tests=PROGRAM.tests, allow_in_process=True))
        solver.executor.error = None
        assert (await executor.run(PROGRAM)).verdict is Verdict.PASSED


async def test_a_program_beyond_it_is_refused_by_the_limits_over_there() -> None:
    async with linked(limits={"max_program_bytes": 4}) as (executor, _):
        with pytest.raises(InvalidProgram, match=r"it refused it: program\.tests"):
            await executor.run(PROGRAM)


async def test_a_program_too_large_for_one_message_harms_no_other() -> None:
    solver = ScriptedSolver()
    async with linked(solver, serving={"max_request_bytes": 1 << 17}, limits={"max_program_bytes": 1 << 20}) as both:
        executor, _ = both
        large = Program(code="#" * (1 << 17), tests=PROGRAM.tests)
        runs = [executor.run(program) for program in (PROGRAM, large, PROGRAM)]
        first, second, third = await asyncio.gather(*runs, return_exceptions=True)
        assert isinstance(second, InvalidProgram)
        assert "131072" in str(second)
        assert isinstance(first, Report)
        assert isinstance(third, Report)


async def test_cancel_of_one_that_runs_and_of_one_that_was_not_sent() -> None:
    solver = ScriptedSolver()
    solver.executor.before = forever
    async with linked(solver) as (executor, _):
        first = asyncio.create_task(executor.run(PROGRAM, group="g"))
        await until(lambda: len(solver.executor.programs) == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert solver.executor.cancelled == 1
        second = asyncio.create_task(executor.run(PROGRAM, group="g"))
        await asyncio.sleep(0)
        await executor.cancel_group("g")
        with pytest.raises(ExecutionCancelled):
            await second
        assert executor.stats().cancelled == 2


async def test_a_server_without_its_sandbox_is_left_and_tried_again() -> None:
    solver = ScriptedSolver()
    solver.executor.error = ExecutorDied("gone")
    async with linked(solver) as (executor, _):
        task = asyncio.create_task(executor.run(PROGRAM))
        await until(lambda: len(solver.executor.programs) >= 2, 60)
        solver.executor.error = None
        assert (await asyncio.wait_for(task, 60)).verdict is Verdict.PASSED


async def test_a_fault_over_there_three_times_is_no_verdict_on_the_program() -> None:
    solver = ScriptedSolver()
    solver.executor.error = RuntimeError("a bug")
    async with linked(solver) as (executor, _):
        report = await asyncio.wait_for(executor.run(PROGRAM), 60)
    assert report.verdict is Verdict.SANDBOX_FAILURE
    assert "3 executors" in report.detail


async def test_a_server_that_is_starting_is_waited_for() -> None:
    solver = ScriptedSolver(status="starting")

    async def begin() -> None:
        await asyncio.sleep(0.5)
        solver.status = "ready"

    async with asyncio.TaskGroup() as group:
        group.create_task(begin())
        async with linked(solver) as (executor, _):
            assert (await executor.run(PROGRAM)).verdict is Verdict.PASSED


async def test_tokens_on_tcp(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    async with serving(tcp=True, serving={"token_file": file}) as served:
        right = RemoteMember("right", Endpoint(served.tcp, TOKEN, pinned=True))
        async with BalancedExecutor([right], Metrics()) as executor:
            assert (await executor.run(PROGRAM)).verdict is Verdict.PASSED
        wrong = RemoteMember("wrong", Endpoint(served.tcp, pinned=True))
        with pytest.raises(SandboxUnavailable, match="UNAUTHENTICATED/TOKEN_MISSING"):
            async with BalancedExecutor([wrong], Metrics(), patience=3.0):
                pass


async def test_remotes_by_mutual_tls(tmp_path: Path) -> None:
    """Beyond loopback without --insecure, and the executor knows who asks by a certificate."""
    authority = Authority(tmp_path)
    ours, theirs = authority.issue("solver.example", file="ours"), authority.issue("127.0.0.1", file="theirs")
    serving_settings = {
        "listen": ("0.0.0.0:0",),
        "tls_certificate": theirs.certificate,
        "tls_key": theirs.key,
        "tls_client_ca": authority.ca,
    }
    async with serving(serving=serving_settings) as served:
        remote = served.tcp.replace("0.0.0.0", "127.0.0.1")
        executor = {
            "remotes": (remote,),
            "remote_tls_ca": authority.ca,
            "remote_tls_certificate": ours.certificate,
            "remote_tls_key": ours.key,
        }
        built = build_executor(Settings.model_validate({"executor": executor}), Metrics())
        async with cast(BalancedExecutor, built) as balanced:
            assert (await balanced.run(PROGRAM)).verdict is Verdict.PASSED


async def test_many_runs_over_a_slow_server_lose_nothing() -> None:
    solver = ScriptedSolver()

    async def pause() -> None:
        await asyncio.sleep(0.002)

    solver.executor.before = pause
    async with linked(solver) as (executor, _):
        reports = await asyncio.gather(*(executor.run(PROGRAM, group=str(number % 7)) for number in range(1000)))
    assert {report.verdict for report in reports} == {Verdict.PASSED}
    assert len(solver.executor.programs) == 1000
