"""A cascade with nothing scripted: two real models on one server, real jails, and a router as a process before it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2, verdict_pb2

from benchmarks import steady
from benchmarks.server import own_server
from tests.support.event_order import EventOrderChecker

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]

MODELS = {"small": "smollm2-135m-instruct", "big": "qwen2.5-coder-0.5b-instruct"}
TIER = '[[cascade.tiers]]\nname = "{name}"\nmodel = "{model}"\n{more}\n'


def config(folder: Path, **more: str) -> str:
    """A file with the cascade; `more`: lines of a tier's table."""
    path = folder / "cascade.toml"
    tiers = "".join(TIER.format(name=name, model=model, more=more.get(name, "")) for name, model in MODELS.items())
    path.write_text(f"[models]\nserve = {list(MODELS.values())}\n{tiers}")
    return str(path)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server whose small tier may draw one token of a solve: it never passes, and the big one is always asked."""
    with own_server("--config", config(tmp_path_factory.mktemp("c"), small="max_tokens = 1")) as server:
        yield server.address


@contextmanager
def router(address: str) -> Generator[str]:
    """`thresher route` whose tiers are the two models of that server."""
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        path = Path(folder) / "route.toml"
        lines = dict.fromkeys(MODELS, f'addresses = ["{address}"]') | {
            "small": f'addresses = ["{address}"]\nmax_tokens = 1'
        }
        path.write_text("".join(TIER.format(name=n, model=model, more=lines[n]) for n, model in MODELS.items()))
        words = ("route", "--config", str(path), "--listen", f"unix:{folder}/r")
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli.main", *words], env=os.environ | {"XDG_RUNTIME_DIR": folder}
        )
        try:
            yield f"unix:{folder}/r"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def solved(client: Client, document: dict[str, Any]) -> solve_pb2.Summary:
    spec = solve_spec(document)
    checker = EventOrderChecker(spec)
    for event in client.solve(spec, timeout=240):
        checker.see(event)
    checker.end(grpc.StatusCode.OK)
    return checker.summary


def nothing_left(client: Client) -> None:
    until = time.monotonic() + 20
    while True:
        load = client.load()
        if not (load.solves_running or load.solves_waiting or load.branches_running or load.executor_queue):
            return
        assert time.monotonic() < until, load
        time.sleep(0.1)


def check_both(summary: solve_pb2.Summary) -> None:
    assert summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    small, big = summary.tiers
    assert (small.outcome, big.outcome) == (solve_pb2.TIER_OUTCOME_BUDGET, solve_pb2.TIER_OUTCOME_SOLVED)
    assert small.accounting.generated_tokens < big.accounting.generated_tokens
    assert summary.candidates[0].model == f"models/{MODELS['big']}"
    assert summary.candidates[0].report.verdict == verdict_pb2.VERDICT_PASSED


def test_two_models_of_one_server(address: str) -> None:
    with Client(address) as client:
        names = [model.name.removeprefix("models/") for model in client.models()]
        assert names == [*MODELS.values(), "cascade"]
        check_both(solved(client, steady.document(0, model="cascade", events={"branches": True})))
        nothing_left(client)


def test_a_router_before_it_and_a_program_that_was_there_already(address: str) -> None:
    with router(address) as front, Client(front) as client, Client(address) as behind:
        client.wait_ready(180)
        summary = solved(client, steady.document(0, events={"branches": True}))
        check_both(summary)
        code = summary.candidates[0].code
        again = solved(client, {**steady.document(0), "cascade": {"prior_attempts": [code], "upstream_model": "them"}})
        assert again.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
        assert (again.candidates[0].code, again.candidates[0].model) == (code, "models/them")
        assert again.accounting.generated_tokens == again.accounting.rows_computed == 0
        assert again.accounting.candidates_executed == 1
        nothing_left(behind)


def test_a_caller_that_vanishes_leaves_nothing_in_either_model(address: str) -> None:
    with Client(address) as client:
        # It would go on for much longer than it takes to look.
        sampling = {"k": 64, "seed": 1, "max_new_tokens": 400, "keep_after_program": True}
        document = steady.document(1, model="cascade", policy="all", sampling=sampling, events={"branches": True})
        spec = solve_spec(document)
        stream = client.solve(spec, timeout=240)
        for event in stream:
            if event.HasField("branch_started") and event.branch_started.tier == 1:
                break
        assert client.load().solves_running >= 1
        stream.cancel()
        nothing_left(client)
