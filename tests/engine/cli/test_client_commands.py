"""`thresher solve` against a server that does what it is told, and what it has in common with `thresher exec`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2
from support.fake_server import PROGRAM, FakeServer, bad_request, rich_error, solved_events, unsolved_events
from thresher.v1 import problem_pb2, solve_pb2, verdict_pb2

from tests.support.command_line import PROBLEM, thresher

pytestmark = pytest.mark.usefixtures("no_environment")


def test_solved_prints_only_the_program_on_stdout(server: FakeServer, problem: str) -> None:
    result = thresher("solve", problem, "--address", server.address)
    assert result.exit_code == 0
    assert result.stdout == PROGRAM
    assert "program 0: wrong answer, 0 of 1 tests: got -1, expected 3" in result.stderr
    assert "branch" not in result.stderr
    assert "tokens cut off" in result.stderr
    (spec,) = server.specs
    assert not spec.events.branches
    assert not spec.events.token_deltas


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({"model": "qwen"}, "thresher: waiting for the server to load qwen; that does not count towards --timeout"),
        ({}, "thresher: waiting for the server to start; that does not count towards --timeout"),
    ],
)
def test_a_server_that_is_still_loading_is_waited_for(
    server: FakeServer, problem: str, metadata: dict[str, str], line: str
) -> None:
    server.error = rich_error(code_pb2.UNAVAILABLE, "STARTING", "loading", metadata=metadata)
    server.errors_left = 1
    server.set_serving(True)
    result = thresher("solve", problem, "--address", server.address)
    assert (result.exit_code, result.stdout) == (0, PROGRAM)
    assert result.stderr.splitlines()[0] == line
    assert server.calls == 2


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_waiting_for_a_server_that_loads_is_not_told_where_nothing_is(
    server: FakeServer, problem: str, option: str
) -> None:
    server.error = rich_error(code_pb2.UNAVAILABLE, "STARTING", "loading")
    server.errors_left = 1
    server.set_serving(True)
    result = thresher("solve", problem, "--address", server.address, option)
    assert (result.exit_code, result.stderr) == (0, "")


def test_quiet_shows_nothing_else(server: FakeServer, problem: str) -> None:
    result = thresher("solve", problem, "--address", server.address, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, PROGRAM, "")
    assert not server.specs[0].events.branches


def test_json_is_one_document(server: FakeServer, problem: str) -> None:
    result = thresher("solve", problem, "--address", server.address, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["solved"] is True
    assert (document["outcome"], document["program"], document["model"]) == ("solved", PROGRAM, "fake")
    assert document["summary"]["accounting"]["rows_saved"] == 11


def test_not_solved(server: FakeServer, problem: str) -> None:
    server.events = unsolved_events
    result = thresher("solve", problem, "--address", server.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not solved (exhausted)" in result.stderr
    document = json.loads(thresher("solve", problem, "--address", server.address, "--json").stdout)
    assert (document["solved"], document["program"], document["outcome"]) == (False, None, "exhausted")


def test_options_win_over_the_file(server: FakeServer, problem: str) -> None:
    options = "--k 9 --temperature 0 --seed 5 --policy all --model m --max-new-tokens 7 --width 2 --timeout 31.5 -q"
    thresher("solve", problem, "--address", server.address, "--test", "assert add(0, 0) == 0", *options.split())
    (spec,) = server.specs
    sampling = spec.sampling
    assert (sampling.k, sampling.temperature, sampling.top_p, sampling.seed) == (9, 0.0, 0.5, 5)
    assert sampling.HasField("temperature")
    assert (sampling.max_new_tokens, sampling.width) == (7, 2)
    assert (spec.return_policy, spec.model) == (solve_pb2.RETURN_POLICY_ALL, "models/m")
    assert spec.budget.wall_time.ToMilliseconds() == 31500
    assert [test.snippet.code for test in spec.problem.tests] == ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]


def test_how_to_draw_is_said_by_options(server: FakeServer, problem: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Sum them.\n")
    (tmp_path / "hole.yaml").write_text("infill: {prefix: a, suffix: b}\n")
    (tmp_path / "schema.json").write_text('{"type": "integer"}')
    run = ("solve", problem, "--address", server.address, "-q")
    thresher(*run, "--mode", "distinct", "--distinct-programs", "--temperature", "0.5", "--regex", "a+")
    schema = str(tmp_path / "schema.json")
    thresher(*run, "--mode", "beam", "--k", "3", "--length-penalty", "0", "--json-schema", schema)
    files = [str(tmp_path / "words.txt"), str(tmp_path / "hole.yaml")]
    thresher(*run, "--temperatures", "0.2,0.8", "--prune", "syntax", "--variant", files[0], "--variant", files[1])
    thresher(*run, "--open-end", "--max-rows", "9", "--max-tokens", "8", "--max-executions", "7")
    distinct, beam, ladder, endless = server.specs
    assert distinct.sampling == solve_pb2.SamplingParams(
        k=4, top_p=0.5, mode="SAMPLING_MODE_DISTINCT", distinct_programs=True, temperature=0.5, regex="a+"
    )
    assert beam.sampling == solve_pb2.SamplingParams(
        k=3, mode="SAMPLING_MODE_BEAM", length_penalty=0, json_schema='{"type": "integer"}'
    )
    assert (list(ladder.sampling.temperatures), ladder.sampling.prune) == ([0.2, 0.8], solve_pb2.PRUNE_SYNTAX)
    words, hole = ladder.problem.variants
    assert "Sum them." in words.chat.messages[0].content
    assert hole.infill == problem_pb2.InfillPrompt(prefix="a", suffix="b")
    assert not endless.sampling.HasField("k")
    assert endless.budget == solve_pb2.Budget(rows=9, generated_tokens=8, executions=7)


def test_an_option_takes_the_place_of_what_it_excludes(server: FakeServer, tmp_path: Path) -> None:
    file, grammar = tmp_path / "p.yaml", tmp_path / "g.lark"
    file.write_text(PROBLEM.replace("{k: 4, top_p: 0.5}", "{temperatures: [0.1, 0.2], regex: a}"))
    grammar.write_text('start: "a"\n')
    run = ("solve", str(file), "--address", server.address, "-q")
    thresher(*run, "--temperature", "0.5", "--ebnf", str(grammar))
    assert server.specs[0].sampling == solve_pb2.SamplingParams(temperature=0.5, ebnf='start: "a"\n')


def test_prompt_and_tests_instead_of_a_file(server: FakeServer) -> None:
    arguments = ("--prompt", "Add.", "--test", "assert add(1, 2) == 3", "--test", "assert add(0, 0) == 0")
    result = thresher("solve", *arguments, "--entry-point", "add", "--address", server.address)
    assert result.exit_code == 0
    problem = server.specs[0].problem
    assert (len(problem.tests), problem.entry_point) == (2, "add")
    assert "Add." in problem.chat.messages[0].content


def test_standard_input_and_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_ADDRESS", server.address)
    monkeypatch.setenv("THRESHER_TOKEN", "secret")
    server.token = "secret"
    assert thresher("solve", "-", stdin=PROBLEM).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        ([], "", "either a problem file or --prompt"),
        (["{file}", "--prompt", "x"], PROBLEM, "either a problem file or --prompt"),
        (["--prompt", "x"], "", "tests: missing"),
        (["{file}"], PROBLEM + "sampilng: {}\n", "sampilng: unknown key; did you mean sampling?"),
        (["{file}"], "a: [", "not readable as YAML"),
        (["/does/not/exist.yaml"], "", "cannot read /does/not/exist.yaml"),
        (["{file}", "--policy", "some"], PROBLEM, "'some' is none of first_pass, all, best"),
        (["{file}", "--mode", "wild"], PROBLEM, "'wild' is none of independent, distinct, beam"),
        (["{file}", "--temperature", "1", "--temperatures", "1,2"], PROBLEM, "either --temperature or --temperatures"),
        (["{file}", "--temperatures", "hot"], PROBLEM, "write it like 0.2,0.8"),
        (["{file}", "--regex", "a", "--ebnf", "{file}"], PROBLEM, "only one of --regex, --ebnf and --json-schema"),
        (["{file}", "--ebnf", "/does/not/exist"], PROBLEM, "cannot read /does/not/exist"),
        (["{file}", "--variant", "{file}"], PROBLEM, "variants[0].entry_point: unknown key"),
        (["{file}", "--open-end"], PROBLEM, "--open-end needs a budget"),
        (["{file}", "--open-end", "--k", "3"], PROBLEM, "either --k or --open-end"),
        (["{file}", "--k", "-1"], PROBLEM, "--k (sampling.k): -1 is out of range"),
        (["{file}", "--k", "3"], PROBLEM.replace("{k: 4, top_p: 0.5}", "[]"), "sampling: expected a mapping"),
    ],
)
def test_wrong_use_is_exit_code_2(tmp_path: Path, arguments: list[str], text: str, words: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    arguments = [argument.format(file=file) for argument in arguments]
    result = thresher("solve", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    as_json = thresher("solve", *arguments, "--json")
    assert as_json.exit_code == 2
    assert words in json.loads(as_json.stdout)["error"]["message"]


def test_unknown_option_is_exit_code_2() -> None:
    assert thresher("solve", "--no-such-option").exit_code == 2
    assert thresher("no-such-command").exit_code == 2


def test_no_server_is_exit_code_3(problem: str) -> None:
    result = thresher("solve", problem)
    assert result.exit_code == 3
    assert "thresher serve" in result.stderr
    document = json.loads(thresher("solve", problem, "--json").stdout)
    assert document["error"]["reason"] == "NO_SERVER"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (bad_request(), 2),
        (rich_error(code_pb2.NOT_FOUND, "MODEL_NOT_FOUND", "no model m"), 2),
        (rich_error(code_pb2.UNIMPLEMENTED, "UNSUPPORTED", "no infill"), 2),
        (rich_error(code_pb2.UNAVAILABLE, "SANDBOX_UNAVAILABLE", "no nsjail"), 3),
        (rich_error(code_pb2.INTERNAL, "ENGINE_FAILED", "bug"), 3),
        (rich_error(code_pb2.DEADLINE_EXCEEDED, "DEADLINE_RUNNING", "late"), 3),
    ],
)
def test_refusals_and_failures(server: FakeServer, problem: str, error: Any, code: int) -> None:
    server.error = error
    result = thresher("solve", problem, "--address", server.address)
    assert result.exit_code == code
    shown = error.message.replace("spec.sampling.k:", "--k (spec.sampling.k):")
    assert result.stderr.count(shown) == 1
    document = json.loads(thresher("solve", problem, "--address", server.address, "--json").stdout)["error"]
    assert document["message"] == error.message
    if code == 2 and document["details"]:
        assert document["details"]["violations"][0]["field"] == "spec.sampling.k"


@pytest.mark.parametrize(
    ("refused", "shown"),
    [
        ("spec.sampling.temperatures[1]: 200 is more than 100", "--temperatures (spec.sampling.temperatures[1]): 200"),
        ("spec.budget.wall_time: 0 is too little", "--timeout (spec.budget.wall_time): 0 is too little"),
        ("spec.problem.tests[0].snippet.code: is empty", "thresher: spec.problem.tests[0].snippet.code: is empty"),
        ("sampling.prune: cannot be", "--prune (sampling.prune): cannot be"),
        ("nothing: to be named", "thresher: nothing: to be named"),
    ],
)
def test_a_refused_field_is_named_by_its_option(server: FakeServer, problem: str, refused: str, shown: str) -> None:
    server.error = rich_error(code_pb2.INVALID_ARGUMENT, "BAD_REQUEST", refused)
    assert shown in thresher("solve", problem, "--address", server.address).stderr
    # What stands in a file has no option; what was given by one has.
    server.error = rich_error(code_pb2.INVALID_ARGUMENT, "BAD_REQUEST", "spec.problem.tests[0].snippet.code: is empty")
    by_options = thresher("solve", "--prompt", "Write f.", "--test", "x", "--address", server.address)
    assert "--test (spec.problem.tests[0].snippet.code): is empty" in by_options.stderr


def test_pruning_that_gave_nothing_up_is_told(server: FakeServer, problem: str) -> None:
    words = ("solve", problem, "--address", server.address)
    asked = thresher(*words, "--prune", "syntax")
    assert asked.exit_code == 0
    assert "no sample was given up; of a chat's answer it reads the Python code block alone" in asked.stderr
    assert "given up" not in thresher(*words).stderr
    assert "given up" not in thresher(*words, "--prune", "syntax", "--quiet").stderr
    events = solved_events()
    events[-1].summary.accounting.samples_pruned = 2
    server.events = lambda: events
    told = " ".join(thresher(*words, "--prune", "syntax").stderr.split())
    assert "2 given up" in told
    assert "no sample was given up" not in told


def test_who_goes_first_is_said_on_the_command_line(server: FakeServer, problem: str) -> None:
    thresher("solve", problem, "--address", server.address, "--priority", "batch", "--client", "nightly")
    assert server.specs[-1].priority == solve_pb2.PRIORITY_BATCH
    assert server.clients == ["nightly"]
    thresher("solve", problem, "--address", server.address)
    assert server.clients[-1].endswith(f"/{os.getpid()}")
    assert thresher("solve", problem, "--address", server.address, "--priority", "soon").exit_code == 2


def test_interrupt_cancels_the_call_and_exits_130(server: FakeServer, problem: str) -> None:
    server.hang = True
    command = [sys.executable, "-m", "engine.cli.main", "solve", problem, "--address", server.address]
    # A process inherits it if SIGINT is ignored, as in all that a shell runs in the background; a handler it does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    assert "drawing from" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "the solve is cancelled" in rest
    assert "Traceback" not in rest
    assert server.cancelled.wait(60)


@pytest.mark.parametrize(
    "command", [["solve", "{problem}"], ["exec", "{problem}", "--test", "f()", "--language=python"]]
)
def test_a_token_comes_from_its_file(
    server: FakeServer, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    server.token = "secret"
    words = [*(word.format(problem=problem) for word in command), "--address", server.address]
    without = thresher(*words)
    assert (without.exit_code, "--token-file" in without.stderr) == (3, True)
    token = tmp_path / "token"
    token.write_text("secret\n")
    monkeypatch.setenv("THRESHER_TOKEN", "another, which the option overrides")
    assert thresher(*words, "--token-file", str(token)).exit_code == 0
    for bad in ("", "two words", "\u00e9"):
        token.write_text(bad)
        result = thresher(*words, "--token-file", str(token))
        assert (result.exit_code, "--token-file: " in result.stderr) == (2, True)
    assert "cannot read" in thresher(*words, "--token-file", str(tmp_path / "none")).stderr


def test_limits_that_the_server_lowered_are_shown(server: FakeServer, problem: str, tmp_path: Path) -> None:
    source = tmp_path / "p.py"
    source.write_text(PROGRAM)
    lowered = [verdict_pb2.LoweredLimit(limit="cpu_time", asked=9999, applied=60, test_index=i) for i in range(3)]
    server.report.lowered_limits.extend(lowered)
    words = "this server allows no more than: cpu_time 60 instead of 9999"
    arguments = ("--tests", problem, "--address", server.address)
    assert thresher("exec", str(source), *arguments).stdout.count(words) == 1
    assert thresher("exec", str(source), str(source), *arguments).stdout.count(words) == 2
    events = solved_events()
    events[-1].summary.lowered_limits.extend(lowered)
    server.events = lambda: events
    assert thresher("solve", problem, "--address", server.address).stderr.count(words) == 1
