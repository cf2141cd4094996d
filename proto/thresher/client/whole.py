"""A solve in one call: `solve`, `refine` and `execute`, blocking and for asyncio.

They find the server as `Client` does, wait while it loads its model, and return when there is a result. A notebook
shows a table of the programs while it runs. Interrupting or cancelling one ends it on the server.
"""

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from thresher.client.aio import AsyncClient
from thresher.client.asking import LOADING_SECONDS, Asked, Tests, deadline, request, round_after, to_execute
from thresher.client.document import Problem
from thresher.client.errors import ThresherError, waiting_words
from thresher.client.result import Result
from thresher.client.showing import Shown
from thresher.client.sync import Client
from thresher.v1 import solve_pb2, verdict_pb2


def solve(
    problem: Asked,
    tests: Tests | None = None,
    *,
    k: int | None = None,
    timeout: float | None = None,
    client: Client | None = None,
    show: bool | None = None,
) -> Result:
    """Solves a problem: a task in words with its tests, a problem document, or a request.

    `k` samples are drawn at most, and after `timeout` seconds the solve ends with what it has. `show` False shows
    nothing, True also writes lines to standard error where there is no notebook.

    Raises:
        ProblemError: the problem says something that it cannot say.
        ThresherError: the call failed. That no program passed is a result.
    """
    return _solve(request(problem, tests, k, timeout), client, show)


def refine(
    result: Result,
    words: str = "",
    *,
    k: int | None = None,
    timeout: float | None = None,
    client: Client | None = None,
    show: bool | None = None,
) -> Result:
    """Another round: the model sees the best programs that failed, what they failed at, and your words.

    For a problem that is solved it sees the program that passed. The tests still decide. Raises as `solve`.
    """
    return _solve(round_after(result, words, k, timeout), client, show)


def execute(
    code: str,
    tests: Tests | Problem | Mapping[str, Any],
    *,
    timeout: float | None = None,
    client: Client | None = None,
) -> verdict_pb2.ExecutionReport:
    """Runs a program of yours in the server's sandbox, against `tests` or those of a problem document.

    Raises as `solve`.
    """
    program = to_execute(code, tests)
    with _client(client) as one:
        return one.execute(program, timeout=timeout)


async def solve_async(
    problem: Asked,
    tests: Tests | None = None,
    *,
    k: int | None = None,
    timeout: float | None = None,
    client: AsyncClient | None = None,
    show: bool | None = None,
) -> Result:
    """As `solve`."""
    return await _solve_async(request(problem, tests, k, timeout), client, show)


async def refine_async(
    result: Result,
    words: str = "",
    *,
    k: int | None = None,
    timeout: float | None = None,
    client: AsyncClient | None = None,
    show: bool | None = None,
) -> Result:
    """As `refine`."""
    return await _solve_async(round_after(result, words, k, timeout), client, show)


async def execute_async(
    code: str,
    tests: Tests | Problem | Mapping[str, Any],
    *,
    timeout: float | None = None,
    client: AsyncClient | None = None,
) -> verdict_pb2.ExecutionReport:
    """As `execute`."""
    program = to_execute(code, tests)
    async with _async_client(client) as one:
        return await one.execute(program, timeout=timeout)


def _solve(spec: solve_pb2.SolveSpec, client: Client | None, show: bool | None) -> Result:
    with _client(client) as one:
        shown = Shown(show)
        try:
            return _drawn(spec, one, shown)
        except ThresherError as error:
            if error.reason != "STARTING":
                raise
            shown.waiting(waiting_words(error))
        one.wait_ready(LOADING_SECONDS)
        return _drawn(spec, one, shown)


def _drawn(spec: solve_pb2.SolveSpec, client: Client, shown: Shown) -> Result:
    with client.solve(spec, timeout=deadline(spec)) as stream:
        for event in stream:
            shown.apply(event)
    return Result.of(spec, shown.progress)


async def _solve_async(spec: solve_pb2.SolveSpec, client: AsyncClient | None, show: bool | None) -> Result:
    async with _async_client(client) as one:
        shown = Shown(show)
        try:
            return await _drawn_async(spec, one, shown)
        except ThresherError as error:
            if error.reason != "STARTING":
                raise
            shown.waiting(waiting_words(error))
        await one.wait_ready(LOADING_SECONDS)
        return await _drawn_async(spec, one, shown)


async def _drawn_async(spec: solve_pb2.SolveSpec, client: AsyncClient, shown: Shown) -> Result:
    async with client.solve(spec, timeout=deadline(spec)) as stream:
        async for event in stream:
            shown.apply(event)
    return Result.of(spec, shown.progress)


@contextmanager
def _client(given: Client | None) -> Generator[Client]:
    """The client that was given, left open, or one for this call."""
    if given is not None:
        yield given
        return
    with Client() as own:
        yield own


@asynccontextmanager
async def _async_client(given: AsyncClient | None) -> AsyncGenerator[AsyncClient]:
    if given is not None:
        yield given
        return
    async with AsyncClient() as own:
        yield own
