"""Problem files: what they stand for, and what is refused."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thresher.client import ProblemError, document, load_document, parse_document, program, solve_spec
from thresher.client.prompts import chat_prompt
from thresher.v1 import problem_pb2, solve_pb2

ROOT = Path(__file__).parents[3]
BASE: dict[str, Any] = {"prompt": "Add two numbers.", "tests": ["assert add(1, 2) == 3"]}


def test_everything_arrives_in_its_field() -> None:
    document = {
        "problem_id": "p",
        "language": "python",
        "completion": {"text": "def add(", "part_of_program": True},
        "entry_point": "add",
        "setup_code": "import math",
        "tests": [
            "assert add(1, 2) == 3",
            {"snippet": "check(add)", "name": "s", "hidden": True, "weight": 2, "limits": {"cpu_seconds": 0.5}},
            {"call": {"function": "f", "args": [1, [2]], "kwargs": {"x": None}, "expected": {"a": 1.5}}},
            {"call": {"args": [], "raises": "ValueError"}},
            {"call": {"expected": 1.0, "comparison": "approx", "rel_tol": 1e-3, "abs_tol": 0}},
            {"stdio": {"stdin": "ü\n", "expected": "1\n", "argv": ["-x"], "comparison": "tokens"}},
            {"stdio": {"stdin": "3", "judge": "def judge(stdin, expected, output):\n    return output == stdin"}},
            {"stdio": {"expected": "a b", "comparison": "apps"}},
        ],
        "limits": {"wall_seconds": 9, "memory_bytes": 1 << 33, "output_bytes": 10, "max_processes": 3},
        "model": "m",
        "sampling": {
            "k": 4,
            "temperature": 0,
            "top_p": 0.9,
            "top_k": 0,
            "min_p": 0.1,
            "max_new_tokens": 7,
            "stop": ["\n\n"],
            "seed": 2**64 - 1,
            "greedy_first": True,
            "repetition_penalty": 1.1,
            "mode": "distinct",
            "width": 2,
            "keep_after_program": True,
            "temperatures": [0, 0.5],
            "length_penalty": 0.5,
            "distinct_programs": True,
            "prune": "syntax",
            "regex": "a+",
        },
        "variants": ["Add.", {"chat": [{"role": "user", "content": "add"}]}, {"infill": {"prefix": "a"}}],
        "policy": "best",
        "stop_after_passes": 2,
        "budget": {"wall_seconds": 1.5, "generated_tokens": 10, "executions": 3, "rows": 4},
        "priority": "batch",
        "events": {
            "token_deltas": True,
            "delta_interval_ms": 5,
            "test_results": True,
            "failing_code": True,
            "branches": True,
        },
        "request_id": "r",
    }
    spec = solve_spec(document)
    problem = spec.problem
    assert (problem.problem_id, problem.entry_point, problem.setup_code) == ("p", "add", "import math")
    assert problem.language == problem_pb2.LANGUAGE_PYTHON
    words, chat, hole = problem.variants
    assert "Add." in words.chat.messages[0].content and "assert add(1, 2) == 3" in words.chat.messages[0].content
    assert chat.chat == problem_pb2.ChatPrompt(messages=[{"role": "user", "content": "add"}])
    assert hole.infill == problem_pb2.InfillPrompt(prefix="a")
    assert problem.completion == problem_pb2.CompletionPrompt(text="def add(", part_of_program=True)
    kinds = [test.WhichOneof("kind") for test in problem.tests]
    assert kinds == ["snippet", "snippet", "call", "call", "call", "stdio", "stdio", "stdio"]
    second = problem.tests[1]
    assert (second.name, second.hidden, second.weight, second.limits.cpu_time.nanos) == ("s", True, 2.0, 500_000_000)
    call = problem.tests[2].call
    assert (call.function, json.loads(call.args_json), json.loads(call.kwargs_json)) == ("f", [1, [2]], {"x": None})
    assert json.loads(call.expected_json) == {"a": 1.5}
    assert problem.tests[3].call.expected_exception == "ValueError"
    approx = problem.tests[4].call
    assert (approx.comparison, approx.rel_tol) == (problem_pb2.COMPARISON_APPROX, 1e-3)
    assert approx.HasField("abs_tol")
    stdio = problem.tests[5].stdio
    assert (stdio.stdin, stdio.expected_stdout, list(stdio.argv)) == ("ü\n".encode(), b"1\n", ["-x"])
    judged = problem.tests[6].stdio
    assert (judged.judge.splitlines()[0], judged.expected_stdout) == ("def judge(stdin, expected, output):", b"")
    assert problem.tests[7].stdio.comparison == problem_pb2.COMPARISON_APPS
    limits = problem.limits
    assert (limits.wall_time.seconds, limits.memory_bytes, limits.output_bytes, limits.max_processes) == (
        9,
        1 << 33,
        10,
        3,
    )
    assert not limits.HasField("cpu_time")
    sampling = spec.sampling
    assert sampling.HasField("temperature")
    assert sampling.HasField("top_k")
    assert (sampling.k, sampling.seed, sampling.mode) == (4, 2**64 - 1, solve_pb2.SAMPLING_MODE_DISTINCT)
    assert (list(sampling.temperatures), sampling.prune) == ([0, 0.5], solve_pb2.PRUNE_SYNTAX)
    assert all(field.name in document["sampling"] for field, _ in sampling.ListFields())
    assert len(sampling.ListFields()) == len(document["sampling"])
    assert spec.model == "models/m"
    assert (spec.return_policy, spec.stop_after_passes) == (solve_pb2.RETURN_POLICY_BEST, 2)
    assert spec.budget.wall_time.ToMilliseconds() == 1500
    assert (spec.budget.generated_tokens, spec.budget.executions, spec.budget.rows) == (10, 3, 4)
    assert spec.priority == solve_pb2.PRIORITY_BATCH
    assert len(spec.events.ListFields()) == 5
    assert spec.request_id == "r"


@pytest.mark.parametrize("schema", [{"type": "integer"}, '{"type": "integer"}'])
def test_a_schema_is_a_mapping_or_its_text(schema: object) -> None:
    sampling = solve_spec({**BASE, "sampling": {"json_schema": schema}}).sampling
    assert json.loads(sampling.json_schema) == {"type": "integer"}


def test_absent_values_are_absent() -> None:
    spec = solve_spec(BASE)
    assert not spec.HasField("sampling") or not spec.sampling.ListFields()
    assert not spec.HasField("budget")
    assert not spec.problem.HasField("limits")
    assert spec.return_policy == solve_pb2.RETURN_POLICY_UNSPECIFIED


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"policyy": "all"}, "policyy", "did you mean policy"),
        ({"xyz": 1}, "xyz", "unknown key; known here"),
        ({"sampling": {"k": -1}}, "sampling.k", "out of range"),
        ({"sampling": {"k": 2**32}}, "sampling.k", "out of range"),
        ({"sampling": {"k": True}}, "sampling.k", "whole number"),
        ({"sampling": {"k": 1.5}}, "sampling.k", "whole number"),
        ({"sampling": {"k": None}}, "sampling.k", "found nothing"),
        ({"sampling": {"temperature": "hot"}}, "sampling.temperature", "a number"),
        ({"sampling": {"temprature": 1}}, "sampling.temprature", "did you mean temperature"),
        ({"sampling": {"stop": "x"}}, "sampling.stop", "a list"),
        ({"sampling": {"stop": [1]}}, "sampling.stop", "list of texts"),
        ({"sampling": []}, "sampling", "a mapping"),
        ({"sampling": {"temperatures": 0.5}}, "sampling.temperatures", "a list"),
        ({"sampling": {"temperatures": [True]}}, "sampling.temperatures", "list of numbers"),
        ({"sampling": {"prune": "all"}}, "sampling.prune", "none, syntax"),
        ({"sampling": {"regex": "a", "ebnf": "b"}}, "sampling.ebnf", "only one of regex, ebnf, json_schema"),
        ({"sampling": {"json_schema": [1]}}, "sampling.json_schema", "a mapping"),
        ({"sampling": {"json_schema": {"a": {1}}}}, "sampling.json_schema", "not a JSON value"),
        ({"variants": "x"}, "variants", "a list"),
        ({"variants": []}, "variants", "leave it out"),
        ({"sampling": {"temperatures": []}}, "sampling.temperatures", "leave it out"),
        ({"budget": {}}, "budget", "leave it out"),
        ({"variants": [{}]}, "variants[0].prompt", "missing"),
        ({"variants": ["x", {"chat": [], "infill": {}}]}, "variants[1].infill", "only one of"),
        ({"variants": [{"prompt": "x", "tests": []}]}, "variants[0].tests", "unknown key"),
        ({"variants": [{"chat": [{"role": "user"}]}]}, "variants[0].chat[0].content", "missing"),
        ({"policy": "some"}, "policy", "first_pass, all, best"),
        ({"policy": "unspecified"}, "policy", "none of"),
        ({"chat": []}, "chat", "only one of"),
        ({"tests": []}, "tests", "at least one"),
        ({"tests": "assert x"}, "tests", "a list"),
        ({"tests": ["assert add(1"]}, "tests[0]", "not Python"),
        ({"tests": [{"snippet": "a\0"}]}, "tests[0].snippet", "not Python"),
        ({"tests": [3]}, "tests[0]", "a mapping"),
        ({"tests": ["a", {}]}, "tests[1]", "none of them"),
        ({"tests": [{"snippet": "a", "stdio": {}}]}, "tests[0]", "snippet and stdio"),
        ({"tests": [{"call": {"args": 3, "expected": 1}}]}, "tests[0].call.args", "a list"),
        ({"tests": [{"call": {"args": []}}]}, "tests[0].call.expected", "either expected"),
        ({"tests": [{"call": {"expected": 1, "raises": "E"}}]}, "tests[0].call.expected", "either expected"),
        ({"tests": [{"call": {"expected": {1, 2}}}]}, "tests[0].call.expected", "not a JSON value"),
        ({"tests": [{"call": {"expected": float("nan")}}]}, "tests[0].call.expected", "not a JSON value"),
        ({"sampling": {"top_p": 10**400}}, "sampling.top_p", "a number"),
        ({"tests": [{"stdio": {"stdin": ""}}]}, "tests[0].stdio.expected", "missing"),
        ({"tests": [{"stdio": {"judge": "def ("}}]}, "tests[0].stdio.judge", "not Python"),
        ({"tests": [{"snippet": "a", "wieght": 1}]}, "tests[0].wieght", "did you mean weight"),
        ({"tests": [{"call": {"expected": 1, "comparison": "near"}}]}, "tests[0].call.comparison", "approx"),
        ({"limits": {"cpu_seconds": -1}}, "limits.cpu_seconds", "from 0 on"),
        ({"limits": {"cpu_seconds": float("nan")}}, "limits.cpu_seconds", "from 0 on"),
        ({"limits": {"cpu": 1}}, "limits.cpu", "known here: cpu_seconds"),
        ({"budget": {"wall_time": 1}}, "budget.wall_time", "wall_seconds"),
    ],
)
def test_mistakes_are_refused_by_name(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ProblemError, match=re.escape(words)) as caught:
        solve_spec({**BASE, **change})
    assert caught.value.field == field


@pytest.mark.parametrize("key", ["prompt", "tests"])
def test_what_is_needed_is_asked_for(key: str) -> None:
    with pytest.raises(ProblemError, match="missing") as caught:
        solve_spec({name: value for name, value in BASE.items() if name != key})
    assert caught.value.field == key


_WORDS = """k seed width stop mode top_p text part_of_program role content snippet call stdio args kwargs expected
raises weight hidden limits cpu_seconds wall_seconds memory_bytes generated_tokens rows branches delta_interval_ms x"""
_KEYS = _WORDS.split()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(
        ["tests", "sampling", "limits", "budget", "events", "chat", "completion", "policy", "setup_code", "variants"]
    ),
)
def test_any_document_is_read_or_refused_with_a_problem_error(value: Any, key: str) -> None:
    document = {"tests": ["a"], key: value}
    if key not in {"chat", "completion"}:
        document["prompt"] = "x"
    with contextlib.suppress(ProblemError):
        solve_spec(document).SerializeToString()


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x: {b: 1, b: 2}", '{"a": 1, "a": 2}'])
def test_a_key_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ProblemError, match="given twice"):
        parse_document(text)


def test_duplicate_in_json_and_broken_texts() -> None:
    with pytest.raises(ProblemError, match="given twice"):
        parse_document('{"a": {"b": 1, "b": 2}}', json_only=True)
    for text in ("[1]", "just words", ""):
        with pytest.raises(ProblemError, match="expected a mapping"):
            parse_document(text)
    with pytest.raises(ProblemError, match="not readable as JSON"):
        parse_document("a: 1", json_only=True)
    with pytest.raises(ProblemError, match="not readable as YAML"):
        parse_document("a: [")
    with pytest.raises(ProblemError, match="not readable as YAML"):
        parse_document("!!python/object/apply:os.getcwd []")


def test_program_takes_the_tests_of_a_problem_file() -> None:
    document = {**BASE, "entry_point": "add", "setup_code": "x = 1", "sampling": {"k": 3}, "limits": {"cpu_seconds": 1}}
    made = program("code", document, run_all=True)
    assert (made.code, made.entry_point, made.setup_code, made.run_all) == ("code", "add", "x = 1", True)
    assert made.limits.cpu_time.seconds == 1
    assert len(made.tests) == 1
    assert not program("code", {"tests": ["a"]}).HasField("limits")
    with pytest.raises(ProblemError, match="unknown key"):
        program("code", {**BASE, "tset": 1})


def test_a_program_has_no_hidden_tests() -> None:
    document = {"tests": ["a", {"snippet": "b", "hidden": True}]}
    assert [(test.snippet.code, test.hidden) for test in program("code", document).tests] == [
        ("a", False),
        ("b", False),
    ]


def test_prompt_shows_visible_tests_only() -> None:
    spec = solve_spec(
        {
            "prompt": "Add.",
            "entry_point": "add",
            "tests": [
                "assert add(1, 2) == 3",
                {"snippet": "assert add(40, 2) == 42", "hidden": True},
                {"call": {"args": [1, "x"], "kwargs": {"y": None}, "expected": [True]}},
                {"call": {"args": ["secret"], "expected": 0}, "hidden": True},
                {"stdio": {"stdin": "in put", "expected": "out put"}},
            ],
        }
    )
    (message,) = spec.problem.chat.messages
    assert message.role == "user"
    assert "assert add(1, 2) == 3" in message.content
    assert "assert add(1, 'x', y=None) == [True]" in message.content
    assert "in put" in message.content
    assert "out put" in message.content
    assert "42" not in message.content
    assert "secret" not in message.content


def test_prompt_without_visible_tests_names_the_entry_point() -> None:
    test = problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f()"), hidden=True)
    assert "`f`" in chat_prompt("Do.", [test], "f")
    assert "tests:" not in chat_prompt("Do.", [test], "f")


def test_prompt_quotes_as_many_tests_as_fit() -> None:
    tests = [
        problem_pb2.Test(snippet=problem_pb2.SnippetTest(code=f"assert f({i}) == '{'x' * 1000}'")) for i in range(20)
    ]
    text = chat_prompt("Do.", tests)
    assert "f(0)" in text
    assert "f(19)" not in text
    assert len(text) < 6000


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    spec = solve_spec(load_document(str(path)))
    assert spec.problem.problem_id == f"examples/{path.stem}"
    assert spec.sampling.k >= 16


def test_the_page_names_every_key() -> None:
    page = (ROOT / "docs" / "problem-files.md").read_text()
    known: set[str] = set()
    for section in ("", "sampling", "budget", "events", "limits", "tests"):
        bad: dict[str, Any] = {"zzzzzzzz": 1}
        document = {**BASE, section: bad} if section not in {"", "tests"} else {**BASE, **bad}
        if section == "tests":
            document = {**BASE, "tests": [{"snippet": "a", **bad}]}
        with pytest.raises(ProblemError, match="known here") as caught:
            solve_spec(document)
        known |= set(caught.value.description.partition("known here: ")[2].split(", "))
    assert len(known) > 35
    assert [key for key in sorted(known) if not re.search(rf"`[^`]*\b{key}\b[^`]*`", page)] == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", document.Problem),
        ("sampling", document.Sampling),
        ("budget", document.Budget),
        ("events", document.Events),
        ("limits", document.Limits),
        ("completion", document.Completion),
        ("infill", document.Infill),
        ("variants[0]", document.Variant),
    ],
)
def test_the_types_have_the_keys_that_are_read(path: str, kind: Any) -> None:
    bad: dict[str, Any] = {"zzzzzzzz": 1}
    asked: dict[str, Any] = {**BASE, path: bad} if path else {**BASE, **bad}
    if path == "variants[0]":
        asked = {**BASE, "variants": [{"prompt": "x", **bad}]}
    elif path in {"completion", "infill"}:
        asked = {"tests": ["a"], path: {"text": "x", **bad} if path == "completion" else bad}
    with pytest.raises(ProblemError, match="known here") as caught:
        solve_spec(asked)
    assert set(caught.value.description.partition("known here: ")[2].split(", ")) == set(kind.__annotations__)
