"""SolveOnce with a request id: a retry has the running solve's answer, and nothing is drawn twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from thresher.v1 import synthesis_service_pb2

from engine.serving.once import SharedSolves
from engine.solving.errors import DeadlineExceeded, InvalidRequest, Unavailable
from tests.support.scripted_solver import ScriptedSolver, accepted, forever, passing_script
from tests.support.served import once_request, refused, serving, until

Answer = synthesis_service_pb2.SolveOnceResponse
KEY = ("token:1", "r")


class Solves:
    """Counts the solves that are begun; each waits for `gate`, then answers or raises `error`."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> Answer:
        self.begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Answer(request_id=f"answer {self.begun}")


def ask(shared: SharedSolves, solve: Callable[[], Awaitable[Answer]], digest: bytes = b"d") -> asyncio.Task[Answer]:
    return asyncio.create_task(shared.answer(KEY, digest, solve))


async def test_all_who_ask_have_one_answer_also_afterwards() -> None:
    shared, solve = SharedSolves(), Solves()
    asked = [ask(shared, solve) for _ in range(3)]
    await asyncio.sleep(0)
    solve.gate.set()
    asked.append(ask(shared, solve))
    answers = [await one for one in asked]
    answers.append(await ask(shared, solve))
    assert [answer.request_id for answer in answers] == ["answer 1"] * 5
    await shared.close()


async def test_an_answer_is_forgotten_after_its_time() -> None:
    shared, solve = SharedSolves(kept_seconds=0.01), Solves()
    solve.gate.set()
    await ask(shared, solve)
    await until(lambda: len(shared) == 0)
    assert (await ask(shared, solve)).request_id == "answer 2"
    await shared.close()


async def test_a_lost_call_s_solve_is_found_by_the_next() -> None:
    shared, solve = SharedSolves(linger_seconds=60), Solves()
    lost = ask(shared, solve)
    await until(lambda: solve.begun == 1)
    lost.cancel()
    await asyncio.wait([lost])
    again = ask(shared, solve)
    await asyncio.sleep(0)
    solve.gate.set()
    assert (await again).request_id == "answer 1"
    assert solve.cancelled == 0
    await shared.close()


async def test_a_solve_that_nobody_comes_back_for_is_ended() -> None:
    shared, solve = SharedSolves(linger_seconds=0.05), Solves()
    first, second = ask(shared, solve), ask(shared, solve)
    await until(lambda: solve.begun == 1)
    first.cancel()
    await asyncio.sleep(0.1)
    assert solve.cancelled == 0, "the other one still waits"
    second.cancel()
    await until(lambda: solve.cancelled == 1 and len(shared) == 0)


async def test_an_error_is_told_to_all_and_not_kept() -> None:
    shared, solve = SharedSolves(), Solves()
    solve.error = Unavailable("ENGINE_RESTARTING", "again")
    asked = [ask(shared, solve) for _ in range(2)]
    await asyncio.sleep(0)
    solve.gate.set()
    assert {type(error) for error in await asyncio.gather(*asked, return_exceptions=True)} == {Unavailable}
    solve.error = None
    assert (await ask(shared, solve)).request_id == "answer 2"
    await shared.close()


async def test_the_deadline_of_the_first_is_not_that_of_the_second() -> None:
    shared, solve, later = SharedSolves(), Solves(), Solves()
    solve.error = DeadlineExceeded(queued=False)
    later.gate.set()
    first = ask(shared, solve)
    await until(lambda: solve.begun == 1)
    second = ask(shared, later)
    await asyncio.sleep(0)
    solve.gate.set()
    with pytest.raises(DeadlineExceeded):
        await first
    assert (await second).request_id == "answer 1"
    assert later.begun == 1
    await shared.close()


async def test_another_request_under_the_same_id_is_refused() -> None:
    shared, solve = SharedSolves(), Solves()
    solve.gate.set()
    await ask(shared, solve)
    with pytest.raises(InvalidRequest) as caught:
        await ask(shared, solve, b"other")
    assert (caught.value.field, caught.value.reason) == ("spec.request_id", "REQUEST_ID_IN_USE")
    await shared.close()


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.serving.once._MOST_KEPT_BYTES", 10 * 5000)
    shared = SharedSolves()

    async def solve() -> Answer:
        return Answer(request_id="x" * 900)

    for number in range(100):
        await shared.answer(("c", str(number)), b"d", solve)
        assert len(shared) <= 10
    assert len(shared) == 10
    await shared.close()
    assert len(shared) == 0


async def test_closing_ends_whatever_is_left() -> None:
    shared, solve = SharedSolves(), Solves()
    asked = ask(shared, solve)
    await until(lambda: solve.begun == 1)
    await shared.close()
    assert solve.cancelled == 1
    await asyncio.wait([asked])


# Over a real socket.


async def test_a_retry_after_a_lost_connection_draws_nothing_again() -> None:
    gate = asyncio.Event()

    def script(spec: Any) -> list[Any]:
        first, *rest = passing_script(spec)
        return [first, gate.wait, *rest]

    async with serving(ScriptedSolver(script)) as served:
        request = once_request(request_id="id-1")
        lost = served.synthesis.SolveOnce(request)
        await until(lambda: served.solver.live == 1)
        lost.cancel()
        await asyncio.sleep(0.05)
        again = asyncio.ensure_future(served.synthesis.SolveOnce(request))
        await asyncio.sleep(0.05)
        gate.set()
        answer = await again
        once_more = await served.synthesis.SolveOnce(request)
        other = await refused(served.synthesis.SolveOnce(once_request(request_id="id-1", model="models/scripted")))
    assert answer == once_more
    assert answer.request_id == "id-1"
    assert len(served.solver.specs) == 1
    assert (other.code, other.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_IN_USE")


async def test_without_an_id_a_lost_call_is_the_end_of_its_solve() -> None:
    async with serving(ScriptedSolver(lambda spec: [accepted(spec), forever])) as served:
        call = served.synthesis.SolveOnce(once_request())
        await until(lambda: served.solver.live == 1)
        call.cancel()
        await until(lambda: served.solver.live == 0)
        assert served.solver.ended == ["cancelled"]


async def test_a_stopping_server_waits_for_no_retry() -> None:
    async with serving(ScriptedSolver(lambda spec: [accepted(spec), forever])) as served:
        call = served.synthesis.SolveOnce(once_request(request_id="id-2"))
        await until(lambda: served.solver.live == 1)
        call.cancel()
        await asyncio.sleep(0.05)
        assert served.solver.live == 1
    assert served.solver.ended == ["cancelled"]
