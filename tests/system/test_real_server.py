"""The whole thing, nothing scripted: a server process, a real model, real jails, real gRPC."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from thresher.client import Client, ThresherError, program, solve_spec
from thresher.v1 import solve_pb2, verdict_pb2

from benchmarks import steady
from benchmarks.server import Server, own_server
from engine.text.normalise import program_key
from tests.support.event_order import EventOrderChecker

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with own_server() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Generator[Client]:
    with Client(server.address) as one:
        yield one


def programs(summary: solve_pb2.Summary) -> dict[bytes, list[int]]:
    """The samples of each program. Who is first, and whose text is shown, depends on load, drafts and kept prompts."""
    return {program_key(candidate.code): sorted(candidate.samples) for candidate in summary.candidates}


@pytest.mark.parametrize("policy", ["first_pass", "all", "best"])
def test_a_problem_is_solved_and_the_events_keep_their_order(client: Client, policy: str) -> None:
    wanted = {"branches": True, "test_results": True, "token_deltas": True}
    spec = solve_spec(steady.document(0, policy=policy, events=wanted))
    checker = EventOrderChecker(spec)
    for event in client.solve(spec, timeout=240):
        checker.see(event)
    checker.end(grpc.StatusCode.OK)
    summary = checker.summary
    assert summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    assert summary.candidates[0].report.verdict == verdict_pb2.VERDICT_PASSED
    assert summary.candidates[0].report.evidence == verdict_pb2.EVIDENCE_VALUES
    assert "def add" in summary.candidates[0].code
    assert summary.accounting.rows_computed > 0


def need_int8(client: Client) -> None:
    """In another arithmetic the same programs are promised in strict mode only."""
    if client.models()[0].dtype != "int8":
        pytest.skip("this processor computes in another arithmetic, in which a row depends on its batch")


def test_the_same_seed_draws_the_same_programs(client: Client) -> None:
    need_int8(client)
    spec = solve_spec(steady.document(2, policy="all"))
    first, again = (client.solve_once(spec, timeout=240).summary for _ in range(2))
    assert programs(first) == programs(again)


def test_in_int8_other_solves_change_no_program(client: Client) -> None:
    """Alone, or among solves that share steps, widths and pages with it: the same samples draw the same texts."""
    need_int8(client)
    spec = solve_spec(steady.document(3, policy="all"))

    def drawn() -> dict[bytes, list[int]]:
        return programs(client.solve_once(spec, timeout=240).summary)

    alone = drawn()
    with ThreadPoolExecutor(3) as pool:
        others = [solve_spec(steady.document(number, policy="all")) for number in (4, 5, 6)]
        crowd = [pool.submit(client.solve_once, other, timeout=240) for other in others]
        assert drawn() == alone
        assert all(future.result().summary.candidates for future in crowd)


@pytest.mark.skipif("THRESHER_DATA" not in os.environ, reason="THRESHER_DATA does not name the folder of problem sets")
def test_twenty_shots_are_computed_once(client: Client) -> None:
    """A few-shot prompt of MBPP: the next problem behind the same shots computes no more than its own part."""
    with gzip.open(Path(os.environ["THRESHER_DATA"]) / "mbpp" / "mbpp.jsonl.gz", "rt") as file:
        records = {record["task_id"]: record for record in map(json.loads, file)}

    def asked(record: dict[str, Any]) -> str:
        return f"{record['text']}\n{record['test_list'][0]}\n[BEGIN]\n"

    shots = "".join(f"{asked(records[number])}{records[number]['code']}\n[DONE]\n\n" for number in range(601, 621))
    costs: list[solve_pb2.Accounting] = []
    for number in (12, 14):
        record = records[number]
        document = {"completion": shots + asked(record), "tests": record["test_list"], "policy": "all"}
        sampling = {"k": 2, "seed": 1, "max_new_tokens": 64, "stop": ["[DONE]"]}
        costs.append(client.solve_once(solve_spec(document | {"sampling": sampling}), timeout=240).summary.accounting)
    first, second = costs
    assert first.prompt_tokens > 1000
    own = second.prompt_tokens - second.cached_prompt_tokens
    assert own < 200, "the shots, but for the rest of a page, came from the cache"


def test_a_program_is_judged_without_a_model(client: Client) -> None:
    document = {"tests": ["assert f(2) == 4", "assert f(3) == 10"], "entry_point": "f"}
    report = client.execute(program("def f(x):\n    return x * x\n", document, run_all=True))
    assert report.verdict == verdict_pb2.VERDICT_WRONG_ANSWER
    assert [result.verdict for result in report.results] == [
        verdict_pb2.VERDICT_PASSED,
        verdict_pb2.VERDICT_WRONG_ANSWER,
    ]


def test_what_is_not_there_is_refused_by_name(client: Client) -> None:
    spec = solve_spec(steady.document(0))
    spec.sampling.repetition_penalty = 1.1
    with pytest.raises(ThresherError, match="repetition_penalty"):
        client.solve_once(spec)


def test_a_crowd_ends_with_one_summary_each_and_leaves_nothing(server: Server, client: Client) -> None:
    asyncio.run(steady.crowd(server.address, 32))  # gRPC's pools and the heaps grow to their size once
    steady.settled(server, client)
    before = steady.resting_state(server)
    assert asyncio.run(steady.crowd(server.address, 32)) == [1] * 32
    steady.settled(server, client)
    after = steady.resting_state(server)
    assert after["processes"] == before["processes"]
    assert after["descriptors"] <= before["descriptors"] + 2, "a descriptor or two may be a connection being closed"
    assert after["resident_bytes"] < before["resident_bytes"] + (300 << 20)


def test_a_vanished_client_takes_its_rows_and_jails_along(server: Server, client: Client) -> None:
    # Many times what is promised (a step of 100 ms, 250 ms for jails), and much less than either would last by itself.
    assert steady.vanishing_while_drawing(server, client, samples=64) < 5.0
    assert steady.vanishing_while_judging(server, client) < 10.0
    steady.settled(server, client)


def test_the_programs_of_the_readme_run_as_they_stand(server: Server) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    programs = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    folder = str(Path(server.address.removeprefix("unix:")).parent)
    printed = [
        subprocess.run(
            [sys.executable, "-c", text],
            env=os.environ | {"XDG_RUNTIME_DIR": folder},
            capture_output=True,
            text=True,
            timeout=280,
            check=True,
        ).stdout
        for text in programs
    ]
    assert len(printed) == 2
    assert "def median" in printed[0]
    assert "defaultModel" in printed[1]
