"""Every example of docs/client.md runs."""

import dataclasses
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import thresher.client
from support.fake_server import PROGRAM, Event, FakeServer
from thresher.client import Attempt, Cost, Result, local_server
from thresher.client.asking import LOADING_SECONDS
from thresher.client.progress import Progress
from thresher.client.runtime import RuntimeInfo, write_runtime_file
from thresher.v1 import solve_pb2, verdict_pb2

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """The server that runs here, as far as clients can see."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("THRESHER_ADDRESS", raising=False)
    with FakeServer(tmp_path / "s.sock") as fake:
        write_runtime_file(RuntimeInfo(fake.address, os.getpid()))
        yield fake


def test_the_examples_run_one_after_the_other(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/client.md", "exec"), namespace)  # noqa: S102
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert PROGRAM.splitlines()[0] in lines
    assert [line for line in lines if line == "solved"] == ["solved"] * 3
    assert "1 of 1" in lines
    assert {"0 1", "1 1", "2 1"} <= set(lines)
    assert "StatusCode.UNAVAILABLE" in lines[-1]
    assert len(server.programs) == 4
    assert [spec.sampling.k for spec in server.specs[:3]] == [16, 8, 4]


def test_the_tables_name_what_there_is() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert {one.name for one in dataclasses.fields(Attempt)} <= told
    properties = {name for name, value in vars(Result).items() if isinstance(value, property)}
    assert properties | {"attempts", "summary", "spec"} <= told
    functions = {name for name in thresher.client.__all__ if name[0].islower()}
    assert functions - {"load_document", "parse_document", "to_plain", "solve_spec", "program"} <= told


def test_a_cost_looks_as_the_page_shows_it() -> None:
    cost = solve_pb2.Accounting(
        samples_requested=8,
        samples_finished=8,
        candidates_finished=8,
        candidates_executed=8,
        prompt_tokens=92,
        generated_tokens=611,
        rows_computed=418,
        rows_saved=193,
    )
    assert f"{Cost(solve_pb2.Summary(seed=7, accounting=cost))!r}\n" == SHOWN[0]


def test_lines_look_as_the_page_shows_them() -> None:
    failed = verdict_pb2.ExecutionReport(
        verdict="VERDICT_WRONG_ANSWER",
        tests_passed=1,
        tests_total=2,
        results=[verdict_pb2.TestResult(message="median([4, 1, 2, 3]) == 2.5 (got 2)")],
    )
    passed = verdict_pb2.ExecutionReport(verdict="VERDICT_PASSED", tests_passed=2, tests_total=2)
    events = [
        Event(accepted=solve_pb2.Accepted(model="models/qwen2.5-coder-0.5b-instruct", prompt_tokens=92, seed=7)),
        Event(candidate_finished=_finished(0, [0, 3], 41)),
        Event(candidate_judged=solve_pb2.CandidateJudged(candidate=solve_pb2.Candidate(index=0, report=failed))),
        Event(candidate_finished=_finished(1, [1], 52)),
        Event(candidate_judged=solve_pb2.CandidateJudged(candidate=solve_pb2.Candidate(index=1, report=passed))),
        Event(summary=solve_pb2.Summary(outcome="SOLVE_OUTCOME_SOLVED")),
    ]
    progress = Progress()
    assert [progress.apply(event) for event in events] == [line.partition("] ")[2] for line in SHOWN[1].splitlines()]


def _finished(index: int, samples: list[int], tokens: int) -> solve_pb2.CandidateFinished:
    return solve_pb2.CandidateFinished(
        index=index, samples=samples, generated_tokens=tokens, finish_reason="FINISH_REASON_END_OF_PROGRAM"
    )


def test_the_times_that_the_page_names() -> None:
    assert LOADING_SECONDS == 240 and "wait_ready(240)" in PAGE and "up to four minutes more" in PAGE
    patience = inspect.signature(local_server).parameters["timeout"].default
    assert f"({patience:g} s)" in PAGE
