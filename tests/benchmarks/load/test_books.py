"""The two books: equal to the last token where everything went right or wrong, and a difference is found and named."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.books import Verdict, compare
from benchmarks.load.generator import Target
from benchmarks.load.loads import Load, Rate, Users
from benchmarks.load.mix import Mix, mix_of
from benchmarks.load.receipts import ServerLog
from benchmarks.load.run import Ran, Served, run
from engine.exposition import Key, key
from tests.support.load_server import LoadServer, load_server

EVERYTHING = [
    {"name": "editor", "weight": 4, "clients": 3, "problems": ["easy", "hard", "hopeless", "race"], "k": 8},
    {"name": "batch", "problems": ["easy", "race"], "k": 12, "policy": "all", "priority": "batch"},
    {"name": "typing", "problems": ["long", "race"], "k": 8, "cancel": {"share": 0.8, "after": [0.0, 0.3]}},
    {"name": "leaves", "problems": ["stuck"], "k": 2, "cancel": {"share": 1, "after": [0.1, 0.8]}},
    {"name": "impatient", "problems": ["stuck", "long", "slow"], "k": 8, "timeout": 0.2},
    {"name": "broken", "problems": ["broken", "dies"], "k": 3},
    {"name": "refused", "problems": ["easy"], "k": 3, "sampling": {"regex": "("}},
    {"name": "budgets", "problems": ["long"], "k": 8, "budget": {"rows": 20}},
    {"name": "spent", "problems": ["hopeless"], "k": 8, "budget": {"executions": 1}},
]
"""Of all ends some come whatever the machine: nothing that is `stuck` has its verdicts before its client leaves, and
not even a text that is guessed takes so few rows."""


def mix(*entries: dict[str, Any]) -> Mix:
    found = []
    for entry in entries or tuple(EVERYTHING):
        more = dict(entry)
        k, names = more.pop("k"), more.pop("problems")
        problems = [{"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in names]
        sampling = {"k": k, "top_p": 1.0, **more.pop("sampling", {})}
        found.append(mix_of({**more, "problems": problems, "sampling": sampling}).entries[0])
    return Mix(tuple(found))


@pytest.fixture(scope="module")
def server() -> Iterator[LoadServer]:
    # Nobody is refused for what is asked here, however slow the machine.
    with load_server(waiting=200) as running:
        yield running


def put_on(server: LoadServer, asked: Mix, load: Load, *, log: bool = True, seed: int = 1) -> Ran:
    served = Served(target=Target(address=server.address), metrics=server.metrics, log=server.log if log else None)
    return asyncio.run(run(served, asked, load, seed=seed, patience=60, title="test", slo=1.0))


def books_of(ran: Ran) -> Verdict:
    assert ran.books is not None
    return ran.books


@pytest.fixture(scope="module")
def everything(server: LoadServer) -> Ran:
    return put_on(server, mix(), Rate(rate=60, seconds=1.5))


def test_books_agree_under_cancels_deadlines_refusals_budgets_and_errors(everything: Ran) -> None:
    books = books_of(everything)
    assert books.differences == ()
    assert books.exact
    ends = Counter(answer.end for answer in everything.answers)
    assert {"solved", "exhausted", "cancelled", "failed", "budget_rows", "budget_executions"} <= set(ends)
    codes = {answer.code for answer in everything.answers}
    assert {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "UNAVAILABLE"} <= codes
    lines = {line.series: line.server for line in books.lines}
    outcomes = [series for series in lines if series.startswith("thresher_solves_total") and lines[series]]
    assert len(outcomes) >= 6
    for name in ("rows_computed", "generated_tokens", "wasted_tokens"):
        assert lines[f'thresher_{name}_total{{model="scripted"}}'] > 0
    assert lines['thresher_verdicts_total{source="sampled", verdict="wrong_answer"}'] > 0
    assert lines['thresher_verdicts_total{source="sampled", verdict="sandbox_failure"}'] > 0


def test_books_agree_when_the_queue_is_full() -> None:
    flood = mix({"name": "flood", "problems": ["hopeless"], "k": 2})
    # Whoever waits begins with a step, so that one call a step is taken.
    with load_server(waiting=1, step_seconds=0.1) as server:
        ran = put_on(server, flood, Rate(rate=300, seconds=0.3))
    assert len(ran.answers) > 60
    assert books_of(ran).differences == ()
    refused = [answer for answer in ran.answers if answer.reason == "QUEUE_FULL"]
    assert refused and all(answer.code == "RESOURCE_EXHAUSTED" for answer in refused)


@pytest.mark.slow
def test_books_of_a_closed_loop_agree(server: LoadServer) -> None:
    ran = put_on(server, mix(EVERYTHING[0], EVERYTHING[1]), Users(users=6, think=0.0, seconds=1.5))
    assert books_of(ran).differences == ()
    assert len(ran.answers) > 6


@pytest.mark.slow
def test_without_a_log_what_was_left_is_held_within_bounds(server: LoadServer) -> None:
    ran = put_on(server, mix(), Rate(rate=40, seconds=2), log=False)
    books = books_of(ran)
    assert books.differences == () and not books.exact
    told = put_on(server, mix(EVERYTHING[1]), Rate(rate=20, seconds=1), log=False)
    assert books_of(told).exact, "nobody left: every count is known"


@pytest.mark.slow
def test_somebody_else_shows_as_a_difference(server: LoadServer) -> None:
    async def both() -> Ran:
        asked, begun = mix(EVERYTHING[1]), asyncio.Event()

        async def ours() -> Ran:
            served = Served(target=Target(address=server.address), metrics=server.metrics, log=server.log)
            load = Rate(rate=20, seconds=2)
            return await run(
                served, asked, load, seed=1, patience=60, title="ours", slo=1.0, on_answer=lambda _: begun.set()
            )

        async def theirs() -> None:
            await begun.wait()
            other, load = Served(target=Target(address=server.address)), Users(users=1, think=0.2, seconds=0.5)
            await run(other, asked, load, seed=2, patience=60, title="theirs", slo=1.0)

        return (await asyncio.gather(ours(), theirs()))[0]

    books = books_of(asyncio.run(both()))
    assert not books.agree
    assert any("somebody else" in difference for difference in books.differences)
    assert any("thresher_solves_total" in difference for difference in books.differences)


def changed(ran: Ran, series: Key, by: float) -> dict[Key, float]:
    assert ran.counted is not None
    return {**ran.counted, series: ran.counted.get(series, 0.0) + by}


@pytest.fixture(scope="module")
def receipts(server: LoadServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All receipts of the server so far, by the log's own reader."""
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(b"")
    log = ServerLog(path)
    path.write_bytes(Path(server.log).read_bytes())
    return log.receipts()


@pytest.mark.parametrize(
    "series",
    [
        key("thresher_solves_total", model="scripted", outcome="solved", priority="interactive"),
        key("thresher_samples_total", model="scripted", stage="finished"),
        key("thresher_rows_computed_total", model="scripted"),
        key("thresher_generated_tokens_total", model="scripted"),
        key("thresher_wasted_tokens_total", model="scripted", reason="client_gone"),
        key("thresher_verdicts_total", verdict="wrong_answer", source="sampled"),
        key("thresher_execution_seconds_count"),
        key("thresher_grpc_requests_total", method="/thresher.v1.SynthesisService/Solve", code="INVALID_ARGUMENT"),
    ],
)
def test_one_too_many_or_too_few_is_found(everything: Ran, receipts: Any, series: Key) -> None:
    mine = [receipt for receipt in receipts if receipt.id in {answer.id for answer in everything.answers}]
    assert compare(everything.answers, everything.counted or {}, mine).differences == ()
    for by in (1, -1):
        found = compare(everything.answers, changed(everything, series, by), mine)
        assert len(found.differences) == 1
        assert series[0] in found.differences[0] or "calls of Solve" in found.differences[0]


def test_a_receipt_that_says_something_else_is_found(everything: Ran, receipts: Any) -> None:
    ids = {answer.id: answer for answer in everything.answers}
    mine = [receipt for receipt in receipts if receipt.id in ids]

    def differences(receipts: Any) -> str:
        return "\n".join(compare(everything.answers, everything.counted or {}, receipts).differences)

    told = next(place for place, receipt in enumerate(mine) if ids[receipt.id].end == "solved")
    left = next(place for place, receipt in enumerate(mine) if ids[receipt.id].end == "cancelled")
    for change, said in (
        ({"outcome": "exhausted"}, "was told solved, the server has counted exhausted"),
        ({"accounting": {**mine[told].accounting, "generated_tokens": 1}}, "generated_tokens is"),
        ({"verdicts": {"passed": 9}}, "verdicts"),
    ):
        assert said in differences([*mine[:told], dataclasses.replace(mine[told], **change), *mine[told + 1 :]])
    wrong = dataclasses.replace(mine[left], outcome="error")
    assert "error to the server" in differences([*mine[:left], wrong, *mine[left + 1 :]])
    assert "has 0 ends" in differences([*mine[:told], *mine[told + 1 :]])
    assert "has 2 ends" in differences([*mine, mine[told]])


def test_a_gap_that_calls_that_were_left_cannot_fill_is_found(everything: Ran) -> None:
    left = sum(not answer.answered for answer in everything.answers)
    cancelled = key("thresher_solves_total", model="scripted", outcome="cancelled", priority="interactive")
    assert compare(everything.answers, everything.counted or {}, None).differences == ()
    more = compare(everything.answers, changed(everything, cancelled, left + 1), None)
    assert any("more than were told" in difference for difference in more.differences)
    solved = key("thresher_solves_total", model="scripted", outcome="solved", priority="interactive")
    fewer = compare(everything.answers, changed(everything, solved, -(everything.counted or {})[solved]), None)
    assert any("only" in difference for difference in fewer.differences)
