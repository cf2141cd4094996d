"""Until the first pass, as a careful client of an engine that knows nothing of tests does it: samples are drawn with a
fixed number at once, each is judged as soon as it has ended, and the first pass closes all that is still open."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from thresher.client import AsyncClient, program, solve_spec
from thresher.v1 import solve_pb2, verdict_pb2

from benchmarks.peers.lanes import TEMPERATURE, TOP_P

NEW_TOKENS = 256
SAMPLES = 32
"""The budget of a problem, the same for all."""
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""What ends a peer's completion of a HumanEval stub, as its paper has it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`document` is a problem document whose completion is `text`; `tokens` are the ids of that text."""

    name: str
    document: dict[str, Any]
    text: str
    tokens: list[int]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion that has come to its end."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a problem: `seconds` from the request to the client's knowledge of a pass, or of the last failure.

    `finished` samples had ended by then.
    """

    solved: bool
    seconds: float
    finished: int


class Contestant(Protocol):
    """An engine at one setting. `start` may be called once, `stop` at any time and more than once."""

    @property
    def name(self) -> str:
        """Engine and arithmetic."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that was set, for the record."""
        ...

    def start(self) -> None:
        """Get ready. Raises LaneFailed."""
        ...

    async def solve(self, problem: Problem, width: int) -> Found:
        """Draw until the first pass, `width` samples at once; an engine that chooses that itself does not look."""
        ...

    def pause(self) -> None:
        """Use no processor time until `resume`."""
        ...

    def resume(self) -> None:
        """Go on after `pause`; prompts from before are forgotten."""
        ...

    def stop(self) -> None:
        """End all processes of the engine."""
        ...


class Judge:
    """Runs programs in the sandbox of a Thresher server. Equal programs of a problem are run once."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def of(self, problem: Problem) -> Callable[[str], Coroutine[Any, Any, bool]]:
        """Whether the problem's stub with a completion passes."""
        known: dict[str, asyncio.Task[bool]] = {}

        async def run(completion: str) -> bool:
            report = await self._client.execute(program(problem.text + completion, problem.document))
            return report.verdict == verdict_pb2.VERDICT_PASSED

        async def passes(completion: str) -> bool:
            if completion not in known:
                known[completion] = asyncio.create_task(run(completion))
            return await known[completion]

        return passes


async def until_first_pass(
    samples: AsyncGenerator[Sample], passes: Callable[[str], Coroutine[Any, Any, bool]]
) -> Found:
    """Judge each sample while the others are drawn; the first pass closes `samples`, which is to end all drawing."""
    began = time.perf_counter()
    finished = 0
    drawing: asyncio.Task[Sample | None] | None = asyncio.create_task(_next(samples))
    judging: set[asyncio.Task[bool]] = set()
    try:
        while drawing is not None or judging:
            awaited = {*judging, *([] if drawing is None else [drawing])}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() for task in judging & done):
                return Found(True, time.perf_counter() - began, finished)
            judging -= done
            if drawing in done:
                sample = drawing.result()
                drawing = None
                if sample is not None:
                    finished += 1
                    judging.add(asyncio.create_task(passes(sample.text)))
                    drawing = asyncio.create_task(_next(samples))
        return Found(False, time.perf_counter() - began, finished)
    finally:
        await end_all([*judging, *([] if drawing is None else [drawing])])
        await samples.aclose()


async def _next(samples: AsyncGenerator[Sample]) -> Sample | None:
    return await anext(samples, None)


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them and wait until they have ended, however they do."""
    cancelled = [task for task in tasks if task.cancel()]
    if cancelled:
        await asyncio.wait(cancelled)


async def ours(client: AsyncClient, problem: Problem) -> Found:
    """The same by one call of Solve, with the server's own choice of how many samples to draw at once."""
    sampling = {"k": SAMPLES, "temperature": TEMPERATURE, "top_p": TOP_P, "max_new_tokens": NEW_TOKENS}
    began = time.perf_counter()
    stream = client.solve(solve_spec({**problem.document, "policy": "first_pass", "sampling": sampling}))
    async for event in stream:
        if event.HasField("summary"):
            seconds = time.perf_counter() - began
            solved = event.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
            return Found(solved, seconds, event.summary.accounting.samples_finished)
    raise RuntimeError("a solve without a summary")
