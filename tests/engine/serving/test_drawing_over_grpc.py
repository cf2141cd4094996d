"""How to draw, from a client's request to its summary: a real front and a real solver over a scripted engine."""

import importlib.util
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from thresher.v1 import info_service_pb2, problem_pb2, solve_pb2, synthesis_service_pb2, verdict_pb2

from engine.metrics import Metrics
from tests.support.event_order import EventOrderChecker
from tests.support.scripted_engine import AheadScript, FakeExecutor, Script, scripted_solver
from tests.support.served import Served, refused, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAMS = {
    "skewed": {"x = 'FAIL likely'\n": 90.0, "x = 'FAIL b'\n": 5.0, "x = 'FAIL c'\n": 3.0, "x = 'PASS rare'\n": 2.0},
    "layout": {f"x{' ' * n}= 1\n": 1.0 for n in range(1, 9)} | {"z = 3\n": 1.0, "w = 'PASS'\n": 0.5},
    "other": {"y = 'FAIL other'\n": 1.0},
    "endless": {"w = 'PASS'\n": 1.0, "y = 'FAIL' + str(" + " + ".join(map(str, range(100, 200))) + ")\n": 1.0},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[Script, AheadScript], ids=["", "ahead"])
async def served(request: pytest.FixtureRequest) -> AsyncGenerator[Served]:
    """With steps one after the other, and with one submitted while another is computed."""
    metrics = Metrics()
    solver: Any = scripted_solver(request.param(PROGRAMS), FakeExecutor(0.001), max_k=4096, metrics=metrics)
    await solver.start()
    async with serving(solver) as running:
        running.metrics = metrics
        yield running
    await solver.close()


def spec(prompt: str = "skewed", *, variants: tuple[str, ...] = (), **fields: Any) -> solve_pb2.SolveSpec:
    problem = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text=prompt),
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="visible"))],
        variants=[{"completion": {"text": variant}} for variant in variants],
    )
    budget = solve_pb2.Budget(**fields.pop("budget", {}))
    policy = fields.pop("policy", solve_pb2.RETURN_POLICY_ALL)
    chosen = {"top_p": 1.0, "seed": 5, **fields}
    if fields.get("mode") == solve_pb2.SAMPLING_MODE_BEAM:
        chosen = fields
    return solve_pb2.SolveSpec(
        problem=problem,
        sampling=solve_pb2.SamplingParams(**chosen),
        return_policy=policy,
        budget=budget,
        events=solve_pb2.EventOptions(branches=True, token_deltas=True, test_results=True),
    )


async def solved(served: Served, asked: solve_pb2.SolveSpec) -> solve_pb2.Summary:
    """The summary of a stream that keeps the contract."""
    call = served.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=asked))
    checker = EventOrderChecker(asked)
    async for response in call:
        checker.see(response.event)
    checker.end(await call.code())
    return checker.summary


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "SAMPLING_MODE_DISTINCT", "k": 4},
        {"mode": "SAMPLING_MODE_DISTINCT", "k": 40, "width": 2},
        {"mode": "SAMPLING_MODE_DISTINCT", "policy": "RETURN_POLICY_FIRST_PASS"},
        {"mode": "SAMPLING_MODE_DISTINCT", "budget": {"rows": 30}},
        {"mode": "SAMPLING_MODE_DISTINCT", "k": 2, "distinct_programs": True, "prompt": "layout"},
        {"mode": "SAMPLING_MODE_BEAM", "k": 3, "length_penalty": 0.5},
        {"mode": "SAMPLING_MODE_BEAM", "k": 2, "policy": "RETURN_POLICY_FIRST_PASS", "prompt": "layout"},
        {"temperatures": [0.2, 0.8, 1.4], "k": 9},
        {"temperatures": [0.2, 0.8], "k": 9, "variants": ("other", "layout"), "greedy_first": True},
        {"variants": ("other",), "k": 6, "policy": "RETURN_POLICY_BEST"},
        {"budget": {"rows": 200}},
        {"budget": {"generated_tokens": 300}},
        {"budget": {"executions": 3}, "prompt": "layout"},
        {"budget": {"rows": 5000}, "policy": "RETURN_POLICY_FIRST_PASS"},
    ],
    ids=str,
)
async def test_streams_keep_the_contract_however_is_drawn(served: Served, fields: dict[str, Any]) -> None:
    fields = dict(fields)
    for name, enum in (("mode", solve_pb2.SamplingMode), ("policy", solve_pb2.ReturnPolicy)):
        if name in fields:
            fields[name] = enum.Value(fields[name])
    summary = await solved(served, spec(**fields))
    assert summary.accounting.samples_started > 0
    assert summary.outcome != solve_pb2.SOLVE_OUTCOME_UNSPECIFIED


@pytest.mark.parametrize("policy", ["RETURN_POLICY_FIRST_PASS", "RETURN_POLICY_ALL", "RETURN_POLICY_BEST"])
async def test_streams_keep_the_contract_with_prior_attempts(served: Served, policy: str) -> None:
    asked = spec(k=6, policy=solve_pb2.ReturnPolicy.Value(policy))
    for code in ("x = 'FAIL b'\n", "x  = 'FAIL b'", "y = 'FAIL'\n"):
        asked.cascade.prior_attempts.add(code=code)
    asked.cascade.tier, asked.cascade.upstream_model = 1, "models/small"
    summary = await solved(served, asked)
    assert summary.accounting.samples_started > 0
    asked.cascade.prior_attempts.add(code="z = 'PASS'\n")
    summary = await solved(served, asked)
    assert summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    passed = [one for one in summary.candidates if one.report.verdict == verdict_pb2.VERDICT_PASSED]
    assert [(one.code, one.model) for one in passed if not one.samples] == [("z = 'PASS'\n", "models/small")]
    if policy == "RETURN_POLICY_FIRST_PASS":
        assert summary.accounting.rows_computed == summary.accounting.generated_tokens == 0


async def test_the_summary_says_how_many_draws_a_pass_takes(served: Served) -> None:
    for policy in (solve_pb2.RETURN_POLICY_ALL, solve_pb2.RETURN_POLICY_BEST):
        summary = await solved(served, spec(k=400, policy=policy))
        passed = summary.accounting.samples_passed
        assert 0 < passed < 30  # 2 in 100
        assert summary.expected_draws == 401 / (passed + 1)
    unknown: list[dict[str, Any]] = [
        {"k": 400, "policy": solve_pb2.RETURN_POLICY_FIRST_PASS},  # the pass came last
        {"k": 6, "prompt": "other"},  # none passes
        {"prompt": "endless", "budget": {"rows": 60}},  # samples are missing, some pass
        {"k": 4, "mode": solve_pb2.SAMPLING_MODE_DISTINCT},
        {"k": 300, "temperatures": [0.8, 1.4]},
        {"k": 300, "variants": ("other",)},
        {"k": 300, "greedy_first": True},
    ]
    for fields in unknown:
        assert not (await solved(served, spec(**fields))).HasField("expected_draws"), fields


async def test_distinct_candidates_come_in_their_order(served: Served) -> None:
    mode = solve_pb2.SAMPLING_MODE_DISTINCT
    few, more = [await solved(served, spec(mode=mode, k=k, seed=11)) for k in (2, 4)]
    assert [one.code for one in few.candidates] == [one.code for one in more.candidates][:2]
    assert {one.code for one in more.candidates} == set(PROGRAMS["skewed"])


async def test_the_log_probabilities_are_those_of_the_samples(served: Served) -> None:
    summary = await solved(served, spec(k=30))
    for candidate in summary.candidates:
        assert len(candidate.sample_logprobs) == len(candidate.samples)
        tokens = len(candidate.code) + 1  # its characters and the end
        assert candidate.sample_logprobs[0] == pytest.approx(candidate.mean_logprob * tokens)


async def test_what_is_asked_for_in_vain_is_refused(served: Served) -> None:
    cases = [
        ({"mode": solve_pb2.SAMPLING_MODE_BEAM}, "spec.sampling.k", "INVALID_ARGUMENT"),
        ({"mode": solve_pb2.SAMPLING_MODE_BEAM, "k": 2, "seed": 4}, "spec.sampling.seed", "INVALID_ARGUMENT"),
        ({"distinct_programs": True}, "spec.sampling.distinct_programs", "INVALID_ARGUMENT"),
        ({"mode": solve_pb2.SAMPLING_MODE_DISTINCT, "variants": ("other",)}, "spec.problem.variants", "UNIMPLEMENTED"),
        ({"k": 4097}, "spec.sampling.k", "INVALID_ARGUMENT"),
        ({"regex": "("}, "sampling.regex", "INVALID_ARGUMENT"),
        ({"prune": solve_pb2.PRUNE_SYNTAX}, "sampling.prune", "INVALID_ARGUMENT"),  # of a raw text
    ]
    for fields, field, code in cases:
        call = served.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec(**fields)))
        found = await refused(call)
        assert found.code is grpc.StatusCode[code]
        assert field in found.message


async def test_the_metrics_count_what_the_summaries_say(served: Served) -> None:
    labels = {"model": "scripted"}

    def stages() -> dict[str, float]:
        name = "thresher_samples_total"
        return {
            stage: served.metric(name, labels | {"stage": stage})
            for stage in ("started", "finished", "pruned", "cut_off")
        }

    before = stages()
    summary = await solved(served, spec(mode=solve_pb2.SAMPLING_MODE_BEAM, k=3))
    cost = summary.accounting
    after = stages()
    assert {stage: after[stage] - before[stage] for stage in after} == {
        "started": cost.samples_started,
        "finished": cost.samples_finished,
        "pruned": cost.samples_pruned,
        "cut_off": cost.samples_cut_off,
    }
    assert served.metric("thresher_branches_total", labels | {"outcome": "pruned"}) > 0

    def drafts() -> list[float]:
        name = "thresher_draft_tokens_total"
        return [served.metric(name, labels | {"result": result}) for result in ("accepted", "rejected")]

    accepted, rejected = drafts()
    cost = (await solved(served, spec(k=6))).accounting
    wrong = cost.drafted_tokens - cost.accepted_draft_tokens
    assert drafts() == [accepted + cost.accepted_draft_tokens, rejected + wrong]


async def test_the_server_says_what_it_draws(served: Served) -> None:
    info = await served.info.GetServerInfo(info_service_pb2.GetServerInfoRequest())
    wanted = {"SAMPLING_MODE_DISTINCT", "SAMPLING_MODE_BEAM", "SamplingParams.temperatures", "Problem.variants"}
    assert wanted <= set(info.features)
    models = await served.info.ListModels(info_service_pb2.ListModelsRequest())
    assert models.models[0].deterministic


@pytest.mark.parametrize("kind", ["regex", "ebnf", "json_schema"])
async def test_a_constraint_without_its_extra_is_refused_with_the_command(
    served: Served, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "llguidance" else find(name))
    monkeypatch.setattr("engine.serving.info.find_spec", importlib.util.find_spec)
    call = served.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=spec(**{kind: "{}"})))
    found = await refused(call)
    assert (found.code, found.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "CONSTRAINT_UNSUPPORTED")
    assert f"sampling.{kind}" in found.message
    assert "pip install 'thresher[constraints]'" in found.message
    info = await served.info.GetServerInfo(info_service_pb2.GetServerInfoRequest())
    assert f"SamplingParams.{kind}" not in info.features
