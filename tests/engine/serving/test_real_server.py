"""`thresher serve` with a real model and real jails, as its clients see it."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from thresher.v1 import (
    execution_service_pb2,
    execution_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    problem_pb2,
    refine_pb2,
    solve_pb2,
    synthesis_service_pb2,
    synthesis_service_pb2_grpc,
    verdict_pb2,
)

from engine.text.normalise import program_key
from tests.support.event_order import EventOrderChecker
from tests.support.sampling_page import run_page
from tests.support.served import refused

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.slow]
pytestmark += [pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

MODEL = "smollm2-135m-instruct"
EVENTS = solve_pb2.EventOptions(token_deltas=True, test_results=True, failing_code=True, branches=True)
IMPOSSIBLE = "assert add(1, 2) == 4 != add(1, 2)"
"""No program passes it, whatever the model comes upon."""


@dataclass
class Server:
    """A running server process."""

    child: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    folder: Path

    @property
    def synthesis(self) -> Any:
        return synthesis_service_pb2_grpc.SynthesisServiceStub(self.channel)

    async def load(self) -> info_service_pb2.GetLoadResponse:
        stub: Any = info_service_pb2_grpc.InfoServiceStub(self.channel)
        return await stub.GetLoad(info_service_pb2.GetLoadRequest())

    async def wait_idle(self) -> None:
        """Until nothing of any solve is left."""
        async with asyncio.timeout(60):
            while True:
                load = await self.load()
                if not (load.solves_running or load.solves_waiting or load.branches_running or load.executor_queue):
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def server(*options: str) -> AsyncGenerator[Server]:
    with tempfile.TemporaryDirectory(prefix="thr") as folder, (Path(folder) / "log").open("wb") as log:
        listen = ("--listen", f"unix:{folder}/s", "--model", MODEL, "--set", "engine.kv_bytes=128MiB")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.cli.main", "serve", *listen, *options,
            env={**os.environ, "XDG_RUNTIME_DIR": folder}, stderr=log,
        )  # fmt: skip
        try:
            async with grpc.aio.insecure_channel(f"unix:{folder}/s") as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                watch = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=240)
                while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
                    assert child.returncode is None
                watch.cancel()
                yield Server(child, channel, Path(folder))
        finally:
            if child.returncode is None:
                child.terminate()
                await child.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncGenerator[Server]:
    async with server() as running:
        yield running


def problem(test: str = "assert add(1, 2) == 3", **fields: Any) -> problem_pb2.Problem:
    # The small model follows an instruction better than a bare signature; begun like this it hardly can miss.
    text = 'def add(a, b):\n    """Return the sum of a and b."""\n    return'
    return problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text=text, part_of_program=True),
        entry_point="add",
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code=test))],
        **fields,
    )


async def checked(running: Server, spec: solve_pb2.SolveSpec, timeout: float | None = None) -> EventOrderChecker:
    """Solve, with the order of events checked as they come."""
    call = running.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec), timeout=timeout)
    checker = EventOrderChecker(spec)
    try:
        async for response in call:
            checker.see(response.event)
    except grpc.aio.AioRpcError:
        pass
    checker.end(await call.code())
    return checker


def programs_of(summary: solve_pb2.Summary) -> list[tuple[list[int], bytes]]:
    """Who drew which. Of texts that are one program the first to finish is shown, which no seed decides."""
    return [(sorted(one.samples), program_key(one.code)) for one in summary.candidates]


@pytest.mark.parametrize("policy", ["FIRST_PASS", "ALL", "BEST"])
@pytest.mark.parametrize("test", ["assert add(1, 2) == 3", IMPOSSIBLE])
async def test_real_streams_keep_the_contract(shared: Server, policy: str, test: str) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(test),
        sampling=solve_pb2.SamplingParams(k=8, seed=3, max_new_tokens=24),
        return_policy=solve_pb2.ReturnPolicy.Value(f"RETURN_POLICY_{policy}"),
        events=EVENTS,
    )
    checker = await checked(shared, spec)
    expected = solve_pb2.SOLVE_OUTCOME_EXHAUSTED if test == IMPOSSIBLE else solve_pb2.SOLVE_OUTCOME_SOLVED
    assert checker.summary.outcome == expected
    await shared.wait_idle()


async def test_hidden_tests_run_after_a_pass_and_do_not_decide(shared: Server) -> None:
    task = problem()
    task.tests.add(snippet=problem_pb2.SnippetTest(code="assert add(2, 2) == 5"), hidden=True)
    spec = solve_pb2.SolveSpec(
        problem=task, sampling=solve_pb2.SamplingParams(k=8, seed=3, max_new_tokens=24), events=EVENTS
    )
    checker = await checked(shared, spec)
    assert checker.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    held_out = checker.summary.candidates[0].held_out
    assert held_out.verdict == verdict_pb2.VERDICT_WRONG_ANSWER
    assert [(result.test_index, result.message) for result in held_out.results] == [(1, "")]


@pytest.mark.parametrize("budget", ["generated_tokens", "executions", "rows", "wall_time"])
async def test_budgets_end_with_a_summary(shared: Server, budget: str) -> None:
    limit = solve_pb2.Budget(generated_tokens=20, executions=1, rows=10)
    limit.wall_time.FromMilliseconds(300)
    for field, _ in limit.ListFields():
        if field.name != budget:
            limit.ClearField(field.name)
    spec = solve_pb2.SolveSpec(
        problem=problem(IMPOSSIBLE),
        # Hot, so that there is more than one program to execute.
        sampling=solve_pb2.SamplingParams(
            k=16,
            seed=1,
            temperature=2.0,
            max_new_tokens=16 if budget == "executions" else 400,
            keep_after_program=True,
        ),
        budget=limit,
        events=EVENTS,
    )
    checker = await checked(shared, spec)
    name = {"wall_time": "TIME", "generated_tokens": "TOKENS"}.get(budget, budget.upper())
    assert solve_pb2.SolveOutcome.Name(checker.summary.outcome) == f"SOLVE_OUTCOME_BUDGET_{name}"
    await shared.wait_idle()


async def test_a_deadline_and_a_cancel_free_everything(shared: Server) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(IMPOSSIBLE),
        sampling=solve_pb2.SamplingParams(k=16, seed=3, max_new_tokens=800, keep_after_program=True),
        events=EVENTS,
    )
    late = shared.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec), timeout=0.7)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in late:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = shared.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec))
    for _ in range(5):
        await call.read()
    call.cancel()
    await shared.wait_idle()
    assert (await shared.load()).kv_cache_usage < 0.5


async def test_concurrent_solves_each_end_with_one_summary(shared: Server) -> None:
    specs = [
        solve_pb2.SolveSpec(
            request_id=f"c{number}",
            problem=problem(),
            sampling=solve_pb2.SamplingParams(k=4, seed=number, max_new_tokens=24),
            events=EVENTS,
        )
        for number in range(8)
    ]
    checkers = await asyncio.gather(*(checked(shared, spec) for spec in specs))
    assert all(checker.summary.outcome != solve_pb2.SOLVE_OUTCOME_UNSPECIFIED for checker in checkers)
    await shared.wait_idle()


async def test_the_same_seed_gives_the_same_candidates(shared: Server) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(),
        sampling=solve_pb2.SamplingParams(k=4, seed=11, max_new_tokens=24),
        return_policy=solve_pb2.RETURN_POLICY_ALL,
    )
    once = synthesis_service_pb2.SolveOnceRequest(spec=spec)
    first, second = [await shared.synthesis.SolveOnce(once) for _ in range(2)]
    assert sorted(programs_of(first.summary)) == sorted(programs_of(second.summary))
    assert first.summary.seed == 11


@pytest.mark.parametrize(
    ("fields", "samples", "programs"),
    [
        ({"mode": "SAMPLING_MODE_DISTINCT", "k": 6, "seed": 3}, 6, None),
        ({"mode": "SAMPLING_MODE_DISTINCT", "k": 4, "seed": 3, "distinct_programs": True}, None, 4),
        ({"mode": "SAMPLING_MODE_BEAM", "k": 4}, None, None),
        ({"temperatures": [0.0, 0.6, 1.2], "k": 6, "seed": 3}, 6, None),
        ({"prune": "PRUNE_SYNTAX", "k": 16, "temperature": 1.0, "seed": 1}, None, None),
    ],
    ids=str,
)
async def test_each_way_to_draw(
    shared: Server, fields: dict[str, Any], samples: int | None, programs: int | None
) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(),
        sampling=solve_pb2.SamplingParams(max_new_tokens=24, **fields),
        return_policy=solve_pb2.RETURN_POLICY_ALL,
        events=EVENTS,
    )
    first, again = [(await checked(shared, spec)).summary for _ in range(2)]
    codes = [programs_of(summary) for summary in (first, again)]
    if "DISTINCT" not in fields.get("mode", ""):
        # Only distinct draws have an order; elsewhere drafts and a prompt that is there already change who is first.
        codes = [sorted(one) for one in codes]
    assert codes[0] == codes[1], "nothing but the seed decides"
    assert first.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    assert samples in (None, first.accounting.samples_finished)
    assert programs in (None, len(first.candidates))
    await shared.wait_idle()


async def test_samples_take_turns_with_the_prompts(shared: Server) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(),
        sampling=solve_pb2.SamplingParams(max_new_tokens=24, temperatures=[0.0, 0.6], k=6, seed=3),
        return_policy=solve_pb2.RETURN_POLICY_ALL,
        events=EVENTS,
    )
    variant = spec.problem.variants.add().completion
    variant.text, variant.part_of_program = 'def add(x, y):\n    """Return the sum of x and y."""\n    return', True
    for candidate in (await checked(shared, spec)).summary.candidates:
        names = {0: "def add(a, b)", 1: "def add(x, y)"}
        assert all(names[sample % 2] in candidate.code for sample in candidate.samples)
    await shared.wait_idle()


async def test_rounds_of_a_session_compute_only_what_is_new_in_their_prompts(shared: Server) -> None:
    asked = problem(IMPOSSIBLE)
    words = "Write a Python function add(a, b) that returns the sum of a and b."
    asked.chat.messages.add(role="user", content=words)
    spec = solve_pb2.SolveSpec(problem=asked, sampling=solve_pb2.SamplingParams(k=4, seed=3, max_new_tokens=48))
    call = shared.synthesis.Refine()
    start = refine_pb2.StartSession(spec=spec, rounds=4)
    await call.write(synthesis_service_pb2.RefineRequest(start=start))
    await call.done_writing()
    ends = [reply.event.summary.accounting async for reply in call if reply.event.HasField("summary")]
    assert len(ends) == 4
    for number, cost in enumerate(ends, start=1):
        print(f"round {number}: {cost.prompt_tokens} prompt tokens, {cost.cached_prompt_tokens} of them cached")
    for before, after in pairwise(ends):
        # Pages hold 16 tokens, and the last one may be partial; the tokens at the seam may be others.
        assert before.prompt_tokens - 32 <= after.cached_prompt_tokens < after.prompt_tokens
    await shared.wait_idle()


async def test_an_open_end_goes_on_until_its_budget(shared: Server) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(IMPOSSIBLE),
        sampling=solve_pb2.SamplingParams(max_new_tokens=24, temperature=1.0, seed=3),
        budget=solve_pb2.Budget(rows=150),
        events=EVENTS,
    )
    summary = (await checked(shared, spec)).summary
    assert summary.outcome == solve_pb2.SOLVE_OUTCOME_BUDGET_ROWS
    assert summary.accounting.samples_requested == 4096
    await shared.wait_idle()


async def test_the_page_on_sampling_holds(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_ADDRESS", f"unix:{shared.folder}/s")
    await asyncio.to_thread(run_page)
    await shared.wait_idle()


async def test_a_text_matches_its_expression(shared: Server) -> None:
    spec = solve_pb2.SolveSpec(
        problem=problem(),
        sampling=solve_pb2.SamplingParams(k=4, seed=3, max_new_tokens=24, regex=r" [ab] [-+] [ab]\n"),
        return_policy=solve_pb2.RETURN_POLICY_ALL,
        events=EVENTS,
    )
    for candidate in (await checked(shared, spec)).summary.candidates:
        assert re.search(r"return [ab] [-+] [ab]$", candidate.code.strip())
    await shared.wait_idle()


async def test_errors_of_a_real_server_have_their_reasons(shared: Server) -> None:
    async def error(**fields: Any) -> str:
        spec = solve_pb2.SolveSpec(**{"problem": problem(), **fields})
        found = await refused(shared.synthesis.SolveOnce(synthesis_service_pb2.SolveOnceRequest(spec=spec)))
        return found.info.reason

    assert await error(model="models/none-such") == "MODEL_NOT_FOUND"
    long = problem()
    long.completion.text = "x = 1\n" * 20_000
    assert await error(problem=long) == "PROMPT_TOO_LONG"


async def test_execute_runs_in_a_real_jail(shared: Server) -> None:
    stub: Any = execution_service_pb2_grpc.ExecutionServiceStub(shared.channel)
    for code, verdict in (
        ("def add(a, b): return a + b", verdict_pb2.VERDICT_PASSED),
        ("def add(a, b): return a - b", verdict_pb2.VERDICT_WRONG_ANSWER),
        ("def add(a, b:", verdict_pb2.VERDICT_COMPILE_ERROR),
        ("def add(a, b): raise KeyError(a)", verdict_pb2.VERDICT_RUNTIME_ERROR),
    ):
        program = execution_service_pb2.Program(code=code, entry_point="add", tests=problem().tests)
        reply = await stub.Execute(execution_service_pb2.ExecuteRequest(program=program))
        assert reply.report.verdict == verdict, code


async def test_a_killed_engine_is_started_again_and_its_solves_are_told() -> None:
    async with server() as running:
        health: Any = health_pb2_grpc.HealthStub(running.channel)
        model = health_pb2.HealthCheckRequest(service=f"models/{MODEL}")
        watch = health.Watch(model)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        spec = solve_pb2.SolveSpec(
            problem=problem(IMPOSSIBLE),
            sampling=solve_pb2.SamplingParams(k=16, seed=3, max_new_tokens=800, keep_after_program=True),
            events=EVENTS,
        )
        call = running.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec))
        for _ in range(3):
            await call.read()
        family = psutil.Process(running.child.pid)
        for restarts in (1, 2):
            (engine,) = [one for one in family.children() if "engine.loop.process" in one.cmdline()]
            engine.kill()
            if restarts == 1:
                found = await refused(call)
                assert (found.code, found.info.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_RESTARTING")
            async with asyncio.timeout(240):
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = running.synthesis
        good = solve_pb2.SolveSpec(problem=problem(), sampling=solve_pb2.SamplingParams(k=8, seed=3, max_new_tokens=24))
        answer = await stub.SolveOnce(synthesis_service_pb2.SolveOnceRequest(spec=good))
        assert answer.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
        await running.wait_idle()


async def test_sigterm_under_real_load_leaves_nothing_behind() -> None:
    async with server("--drain-seconds", "1") as running:
        family = psutil.Process(running.child.pid)
        spec = solve_pb2.SolveSpec(
            problem=problem(IMPOSSIBLE),
            sampling=solve_pb2.SamplingParams(k=32, seed=3, max_new_tokens=800, keep_after_program=True),
            events=EVENTS,
        )
        calls = [running.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec)) for _ in range(4)]
        for call in calls:
            await call.read()
        await asyncio.sleep(1)
        children = family.children(recursive=True)
        assert children
        running.child.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(running.child.wait(), 1 + 10)
        assert code == 0, (running.folder / "log").read_text()
        for call in calls:
            assert (await refused(call)).info.reason == "DRAINING"
        gone, alive = psutil.wait_procs(children, timeout=60)
        assert alive == []
        assert gone
        assert not (running.folder / "s").exists()
