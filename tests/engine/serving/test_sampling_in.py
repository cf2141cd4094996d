"""Every rule of SamplingParams and of several prompts: what is refused names its field and the way out."""

import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from thresher.v1 import problem_pb2, solve_pb2

from engine.config import Settings
from engine.core.types import Mode
from engine.serving.solve_in import solve_in
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.spec import ChatPrompt, CompletionPrompt, Constraint, InfillPrompt, Prune, SolveSpec
from tests.support.served import spec

SETTINGS = Settings.model_validate({"limits": {"max_k": 100}})
DISTINCT, BEAM = solve_pb2.SAMPLING_MODE_DISTINCT, solve_pb2.SAMPLING_MODE_BEAM
SYNTAX = solve_pb2.PRUNE_SYNTAX


def asked(*, variants: int = 0, budget: dict[str, Any] | None = None, **sampling: Any) -> solve_pb2.SolveSpec:
    message = spec(sampling=solve_pb2.SamplingParams(**sampling))
    if budget is not None:
        message.budget.CopyFrom(solve_pb2.Budget(**budget))
    for number in range(variants):
        message.problem.variants.add(completion=problem_pb2.CompletionPrompt(text=f"variant {number}"))
    return message


def read(message: solve_pb2.SolveSpec) -> SolveSpec:
    return solve_in(message, "spec", SETTINGS)


@pytest.mark.parametrize(
    ("field", "sampling"),
    [
        ("k", {"k": 0}),
        ("k", {"k": 101}),
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": math.inf}),
        ("temperature", {"temperature": 1e-9}),
        ("temperatures", {"temperature": 0.2, "temperatures": [0.4]}),
        ("temperatures", {"temperatures": [0.5] * 17, "k": 100}),
        ("temperatures[1]", {"temperatures": [0.2, 1e-9]}),
        ("temperatures[0]", {"temperatures": [math.nan, 1.0]}),
        ("temperatures", {"temperatures": [0.2, 0.4, 0.6], "k": 2}),
        ("temperatures", {"temperatures": [0.2, 0.4, 0.6], "k": 4, "variants": 1}),
        ("top_p", {"top_p": 0}),
        ("top_p", {"top_p": 1.01}),
        ("min_p", {"min_p": -0.1}),
        ("max_new_tokens", {"max_new_tokens": 0}),
        ("stop", {"stop": ["x"] * 17}),
        ("stop[1]", {"stop": ["x", ""]}),
        ("width", {"width": 0}),
        ("length_penalty", {"length_penalty": 1}),
        ("length_penalty", {"length_penalty": 1, "mode": DISTINCT}),
        ("length_penalty", {"length_penalty": -1, "mode": BEAM, "k": 2}),
        ("length_penalty", {"length_penalty": math.nan, "mode": BEAM, "k": 2}),
        ("distinct_programs", {"distinct_programs": True}),
        ("distinct_programs", {"distinct_programs": True, "mode": BEAM, "k": 2}),
        ("greedy_first", {"greedy_first": True, "mode": DISTINCT}),
        ("greedy_first", {"greedy_first": True, "mode": BEAM, "k": 2}),
        ("temperature", {"temperature": 0.5, "mode": BEAM, "k": 2}),
        ("temperatures", {"temperatures": [0.5], "mode": BEAM, "k": 2}),
        ("top_p", {"top_p": 0.5, "mode": BEAM, "k": 2}),
        ("top_k", {"top_k": 0, "mode": BEAM, "k": 2}),
        ("min_p", {"min_p": 0, "mode": BEAM, "k": 2}),
        ("seed", {"seed": 0, "mode": BEAM, "k": 2}),
        ("k", {"mode": BEAM}),
        ("k", {"mode": BEAM, "k": 65}),
        ("k", {"mode": BEAM, "budget": {"rows": 5}}),
        ("prune", {"prune": SYNTAX, "regex": "a"}),
        ("keep_after_program", {"keep_after_program": True, "ebnf": "a"}),
        ("regex", {"regex": ""}),
        ("regex", {"regex": "x" * 65537}),
        ("ebnf", {"ebnf": "é" * 32769}),
        ("json_schema", {"json_schema": "{"}),
        ("json_schema", {"json_schema": "[]"}),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_path(field: str, sampling: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(asked(**sampling))
    assert caught.value.field == f"spec.sampling.{field}"


@pytest.mark.parametrize(
    ("field", "sampling"),
    [
        ("sampling.mode", {"mode": 9}),
        ("sampling.prune", {"prune": 9}),
        ("sampling.repetition_penalty", {"repetition_penalty": 1.1}),
        ("sampling.temperatures", {"temperatures": [0.2, 0.4], "mode": DISTINCT}),
        ("problem.variants", {"variants": 1, "mode": DISTINCT}),
        ("problem.variants", {"variants": 1, "mode": BEAM, "k": 4}),
    ],
)
def test_what_is_not_served_is_refused_by_its_path(field: str, sampling: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        read(asked(**sampling))
    assert caught.value.field == f"spec.{field}"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("variants", asked(variants=16, k=100)),
        ("variants", asked(variants=4, k=4)),
        ("variants[0].prompt", spec(problem=problem_pb2.Problem(completion={"text": "x"}, variants=[{}]))),
        (
            "variants[0].completion.text",
            spec(problem=problem_pb2.Problem(completion={"text": "x"}, variants=[{"completion": {}}])),
        ),
    ],
)
def test_variants_are_checked_as_prompts(field: str, message: solve_pb2.SolveSpec) -> None:
    message.problem.tests.add(snippet=problem_pb2.SnippetTest(code="assert f() == 1"))
    with pytest.raises(InvalidRequest) as caught:
        read(message)
    assert caught.value.field == f"spec.problem.{field}"


def test_a_ladder_and_prompts_of_several_kinds_arrive() -> None:
    message = asked(k=12, temperatures=[0, 0.5, 1.0], greedy_first=True, prune=SYNTAX)
    message.problem.variants.add(chat=problem_pb2.ChatPrompt(messages=[{"role": "user", "content": "write f"}]))
    message.problem.variants.add(infill=problem_pb2.InfillPrompt(prefix="a", suffix="b"))
    found = read(message)
    assert found.sampling.temperatures == (0, 0.5, 1.0)
    assert found.sampling.prune is Prune.SYNTAX
    assert found.sampling.mode is Mode.INDEPENDENT
    assert [type(prompt) for prompt in found.prompts] == [CompletionPrompt, ChatPrompt, InfillPrompt]


def test_the_other_modes_arrive() -> None:
    found = read(asked(mode=DISTINCT, temperatures=[0.7], top_p=0.9, min_p=0.1, distinct_programs=True)).sampling
    assert (found.mode, found.temperatures, found.distinct_programs) == (Mode.DISTINCT, (0.7,), True)
    beam = read(asked(mode=BEAM, k=64, length_penalty=0)).sampling
    assert (beam.mode, beam.k, beam.length_penalty) == (Mode.BEAM, 64, 0.0)
    assert read(asked(mode=BEAM, k=1)).sampling.length_penalty == 1.0


@pytest.mark.parametrize("kind", ["regex", "ebnf", "json_schema"])
def test_a_constraint_arrives(kind: str) -> None:
    found = read(asked(**{kind: "{}"})).sampling
    assert found.constraint == Constraint(kind=kind, text="{}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampling", "budget", "samples"),
    [
        ({}, None, 16),
        ({"k": 7}, {"rows": 9}, 7),
        ({}, {"rows": 9}, 100),
        ({}, {"executions": 9}, 100),
        ({}, {"generated_tokens": 9}, 100),
        ({}, {"wall_time": Duration(seconds=1)}, 100),
        ({}, {}, 16),
    ],
)
def test_k_is_open_where_a_budget_ends_the_solve(
    sampling: dict[str, Any], budget: dict[str, Any] | None, samples: int
) -> None:
    assert read(asked(budget=budget, **sampling)).samples(SETTINGS.limits.max_k) == samples


def test_a_server_of_few_samples_has_no_more_without_a_k() -> None:
    few = Settings.model_validate({"limits": {"max_k": 4}})
    assert solve_in(asked(), "spec", few).samples(4) == 4
