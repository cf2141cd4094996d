"""Problem files: a documented, checked schema (docs/problem-files.md) and the messages that it stands for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from thresher.client.document import Problem
from thresher.client.drawing import read_sampling
from thresher.client.problem_tests import read_limits, read_tests
from thresher.client.prompts import chat_prompt
from thresher.client.reader import ProblemError, Reader
from thresher.v1 import execution_service_pb2, problem_pb2, solve_pb2

__all__ = ["ProblemError", "load_document", "parse_document", "program", "solve_spec"]

_PROMPTS = ("prompt", "chat", "completion", "infill")
_BUDGET = {"generated_tokens": int, "executions": int, "rows": int}
_EVENTS = {
    "token_deltas": bool,
    "delta_interval_ms": int,
    "test_results": bool,
    "failing_code": bool,
    "branches": bool,
}


def load_document(path: str | Path) -> dict[str, Any]:
    """Reads a .json, .yaml or .yml file. Raises ProblemError where it holds no mapping, OSError where it is absent."""
    path = Path(path)
    return parse_document(path.read_text(encoding="utf-8"), json_only=path.suffix == ".json")


def parse_document(text: str, *, json_only: bool = False) -> dict[str, Any]:
    """Reads YAML, of which JSON is a part. A key that is given twice is refused: one of the two would be ignored."""
    try:
        if json_only:
            found = json.loads(text, object_pairs_hook=_no_duplicates)
        else:
            found = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ProblemError("", f"not readable as {'JSON' if json_only else 'YAML or JSON'}: {error}") from error
    if not isinstance(found, dict):
        raise ProblemError("", f"expected a mapping, found {type(found).__name__}")
    return found


def solve_spec(document: Problem | Mapping[str, Any]) -> solve_pb2.SolveSpec:
    """Turns a problem document into a request. Raises ProblemError, which names the key."""
    reader = Reader(document)
    spec = solve_pb2.SolveSpec(
        request_id=reader.take("request_id", str, ""),
        model=model_name(reader.take("model", str, "")),
        problem=_problem(reader, prompt_needed=True),
    )
    if sampling := reader.section("sampling"):
        read_sampling(sampling, spec.sampling)
    spec.return_policy = reader.take_word("policy", solve_pb2.ReturnPolicy.DESCRIPTOR)
    spec.priority = reader.take_word("priority", solve_pb2.Priority.DESCRIPTOR)
    reader.fill(spec, {"stop_after_passes": int})
    if given := reader.take_some("budget", dict, None):
        budget = Reader(given, "budget")
        budget.fill(spec.budget, _BUDGET)
        budget.fill_seconds(spec.budget, {"wall_seconds": "wall_time"})
        budget.done()
    if cascade := reader.section("cascade"):
        _cascade(cascade, spec.cascade)
    if events := reader.section("events"):
        events.fill(spec.events, _EVENTS)
        events.done()
    reader.done()
    return spec


def program(
    code: str, document: Problem | Mapping[str, Any], *, run_all: bool = False
) -> execution_service_pb2.Program:
    """Joins a program with the tests, set-up code, entry point and limits of a problem document.

    The document may have all keys of a problem file, so that one file serves both; those about drawing are not read.
    A `hidden` test is one that no model may see, and here none does: it is a test like the others. Raises ProblemError.
    """
    rest = {"request_id", "model", "sampling", "policy", "priority", "stop_after_passes", "budget", "events", "cascade"}
    problem = _problem(reader := Reader(document), prompt_needed=False)
    reader.skip(rest)
    reader.done()
    result = execution_service_pb2.Program(
        language=problem.language,
        code=code,
        entry_point=problem.entry_point,
        tests=problem.tests,
        setup_code=problem.setup_code,
        run_all=run_all,
    )
    for test in result.tests:
        test.hidden = False
    if problem.HasField("limits"):
        result.limits.CopyFrom(problem.limits)
    return result


def model_name(name: str) -> str:
    """Adds the prefix of resource names: `models/x` for `x`. Empty stays empty: the server's default."""
    return name if not name or name.startswith("models/") else f"models/{name}"


def _problem(reader: Reader, *, prompt_needed: bool) -> problem_pb2.Problem:
    problem = problem_pb2.Problem(
        problem_id=reader.take("problem_id", str, ""),
        language=reader.take_word("language", problem_pb2.Language.DESCRIPTOR),
        entry_point=reader.take("entry_point", str, ""),
        setup_code=reader.take("setup_code", str, ""),
        tests=read_tests(reader.take("tests", list, None)),
    )
    if limits := reader.section("limits"):
        read_limits(limits, problem.limits)
    if prompt_needed or any(reader.has(key) for key in _PROMPTS):
        _prompt(reader, problem, problem)
    variants: list[object] = reader.take_some("variants", list, [])
    for index, item in enumerate(variants):
        variant = Reader({"prompt": item} if isinstance(item, str) else item, f"variants[{index}]")
        _prompt(variant, problem.variants.add(), problem)
        variant.done()
    return problem


def _prompt(reader: Reader, target: problem_pb2.Problem | problem_pb2.PromptVariant, of: problem_pb2.Problem) -> None:
    """Reads one of the ways to say what is wanted; `of` has the tests that are quoted."""
    given = [key for key in _PROMPTS if reader.has(key)]
    if len(given) > 1:
        raise ProblemError(
            reader.path(given[1]), f"only one of prompt, chat, completion and infill can be given; {given[0]} is there"
        )
    if not given:
        raise ProblemError(
            reader.path("prompt"),
            "missing: give prompt (a task in words), chat (messages), completion (raw text) or infill",
        )
    if given == ["prompt"]:
        task = reader.take("prompt", str, "")
        target.chat.messages.add(role="user", content=chat_prompt(task, of.tests, of.entry_point))
    elif given == ["chat"]:
        path = reader.path("chat")
        for index, item in enumerate(reader.take("chat", list, [])):
            message = Reader(item, f"{path}[{index}]")
            target.chat.messages.add(role=message.take("role", str), content=message.take("content", str))
            message.done()
    elif given == ["completion"]:
        _completion(reader, target.completion)
    elif section := reader.section("infill"):
        section.fill(target.infill, {"prefix": str, "suffix": str, "path": str})
        section.done()


def _cascade(reader: Reader, target: solve_pb2.CascadeContext) -> None:
    reader.fill(target, {"tier": int, "upstream_model": str, "attempts_in_prompt": bool, "difficulty": float})
    attempts: list[object] = reader.take_some("prior_attempts", list, [])
    for index, item in enumerate(attempts):
        attempt = Reader({"code": item} if isinstance(item, str) else item, f"{reader.path('prior_attempts')}[{index}]")
        added = target.prior_attempts.add(code=attempt.take("code", str))
        attempt.fill(added, {"mean_logprob": float})
        attempt.done()
    reader.done()


def _completion(reader: Reader, target: problem_pb2.CompletionPrompt) -> None:
    if isinstance(reader.peek("completion"), str):
        target.text = reader.take("completion", str)
        return
    if section := reader.section("completion"):
        target.text = section.take("text", str)
        target.part_of_program = section.take("part_of_program", bool, False)
        section.done()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ProblemError(key, "given twice")
        found[key] = value
    return found


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, less its habit of taking the last of two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise ProblemError(str(key), f"given twice (line {node.start_mark.line + 1})")
        return super().construct_mapping(node, deep)
