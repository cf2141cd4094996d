"""Several prompts and temperatures of one solve with a real model: what its verdicts teach decides who draws first."""

from collections.abc import Generator
from typing import Any

import grpc
import pytest
from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2

from benchmarks.server import own_server
from tests.support.event_order import EventOrderChecker

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.timeout(900)]

MODEL = "smollm2-135m-instruct"
GOOD = "Write a Python function add(a, b) that returns the sum of a and b."
HOPELESS = "Write a Python function subtract(a, b) that returns the difference of a and b."
TESTS = ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]


@pytest.fixture(scope="module")
def client() -> Generator[Client]:
    with own_server("--model", MODEL, "--set", "engine.kv_bytes=128MiB") as server, Client(server.address) as client:
        yield client


def chat(words: str) -> dict[str, Any]:
    return {"chat": [{"role": "user", "content": words}]}


def drawn(client: Client, document: dict[str, Any], **sampling: Any) -> tuple[list[int], solve_pb2.Summary]:
    """The samples of a solve in the order in which they start, and its end."""
    spec = solve_spec({**document, "sampling": {"max_new_tokens": 64, **sampling}, "events": {"branches": True}})
    checker, order = EventOrderChecker(spec), list[int]()
    for event in client.solve(spec, timeout=120):
        checker.see(event)
        order += [sample for sample in event.branch_started.samples if sample not in order]
    checker.end(grpc.StatusCode.OK)
    return order, checker.summary


def test_the_prompt_that_has_passed_comes_first(client: Client) -> None:
    document = {**chat(HOPELESS), "entry_point": "add", "tests": TESTS, "variants": [chat(GOOD)]}
    firsts: list[int] = []
    for seed in range(6):
        order, summary = drawn(client, document, k=16, temperature=0.8, seed=seed)
        firsts.append(order[0] % 2)
        passed = [sample for candidate in summary.candidates for sample in candidate.samples]
        assert all(sample % 2 == 1 for sample in passed), "a program of the other prompt passes no test"
    assert firsts[0] == 0, "nothing is known yet: the order of the numbers"
    assert firsts[-3:] == [1, 1, 1], firsts


def test_the_temperature_that_has_passed_comes_first(client: Client) -> None:
    document = {**chat(GOOD), "entry_point": "add", "tests": TESTS}
    firsts: list[int] = []
    for seed in range(6):
        order, _ = drawn(client, document, k=16, temperatures=[2.0, 0.4], top_p=1.0, seed=100 + seed)
        firsts.append(order[0] % 2)
    assert firsts[0] == 0
    assert firsts[-3:] == [1, 1, 1], firsts
