"""A whole engine without a model: texts are drawn byte by byte from a weighted list of programs.

The prompt is a completion prompt that ends with a line naming the list, so that a test says what may be drawn:
`Script({"easy": {"PASS\\n": 3.0, "FAIL\\n": 1.0}})` and a prompt of `"easy"`.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from tokenizers import models, pre_tokenizers

from engine.core.distribution import Distribution, from_probabilities
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import Mask, Step
from engine.loop.engine import Engine
from engine.loop.messages import Ready, frame
from engine.metrics import Metrics
from engine.solving.solver import Solver
from engine.text.chat import ChatTemplate
from engine.text.infill import InfillForm
from engine.text.model_text import ModelText
from engine.text.tokenizer import Tokenizer
from engine.text.vocabulary import Vocabulary
from executor import ExecutionCancelled, ExecutorStats, SandboxInfo
from executor.types import Program
from executor.verdict import Evidence, Report, TestReport, Verdict
from tests.support.following import Following

EOS = 256
NAME = "scripted"


def byte_tokenizer() -> Tokenizer:
    """One token a byte, token 256 ends a text."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = {byte: chr(byte) for byte in printable}
    spelled |= {byte: chr(256 + n) for n, byte in enumerate(b for b in range(256) if b not in spelled)}
    assert set(spelled.values()) == set(letters)
    tokens = [spelled[byte] for byte in range(256)] + ["<eos>"]
    model = models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=[])
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    kinds = [1] * 256 + [3]
    return Tokenizer(Vocabulary(model=model, words=words, tokens=tokens, kinds=kinds, starts=(), ends=frozenset({EOS})))


class Script:
    """A runner that draws whole programs by their weights."""

    def __init__(
        self,
        programs: Mapping[str, Mapping[str, float]],
        *,
        pages: int = 4000,
        step_seconds: float = 0.0,
    ) -> None:
        self.page_size = 4
        self.pages = pages
        self.step_seconds = step_seconds
        self.fail = False
        self.steps = 0
        self._programs = {
            name.encode(): [(text.encode(), weight) for text, weight in texts.items()]
            for name, texts in programs.items()
        }
        self._pool: dict[int, int] = {}

    def run(self, step: Step) -> list[list[Distribution]]:
        """Answer each chunk from the tokens along its path."""
        if self.fail:
            raise RuntimeError("scripted failure of a step")
        if self.step_seconds:
            time.sleep(self.step_seconds)
        self.steps += 1
        results: list[list[Distribution]] = []
        for chunk in step.chunks:
            path = np.concatenate([chunk.prefix, chunk.suffix]).tolist()
            self._pool.update(zip(path[chunk.start :], chunk.tokens, strict=True))
            tokens = [self._pool[slot] for slot in path]
            if EOS in tokens:  # a row after a text's end, computed in vain
                over = from_probabilities(np.array([EOS], np.int32), np.ones(1), np.zeros(1, np.float32), 0)
                results.append([over for _ in chunk.asks])
                continue
            text = bytes(tokens)
            results.append([self._distribution(text[: chunk.start + ask.token + 1], ask.mask) for ask in chunk.asks])
        return results

    def _distribution(self, path: bytes, mask: Mask | None) -> Distribution:
        name = max((name for name in self._programs if path.startswith(name)), key=len)
        drawn = path[len(name) :]
        weights: dict[int, float] = {}
        for text, weight in self._programs[name]:
            if text.startswith(drawn):
                token = text[len(drawn)] if len(text) > len(drawn) else EOS
                weights[token] = weights.get(token, 0.0) + weight
        if not weights:
            weights = {EOS: 1.0}  # after a wrong draft: nobody draws from this
        if mask is not None:
            weights = {token: weight for token, weight in weights.items() if mask[token // 32] >> (token % 32) & 1}
        ids = np.array(sorted(weights), np.int32)
        probabilities = np.array([weights[token] for token in ids.tolist()])
        probabilities /= probabilities.sum()
        return from_probabilities(
            ids, probabilities, np.log(probabilities).astype(np.float32), int(probabilities.argmax())
        )


class AheadScript(Script):
    """Draws as a device of its own does: steps wait for it in a queue, one more while one is computed."""

    def __init__(self, programs: Mapping[str, Mapping[str, float]], **more: Any) -> None:
        super().__init__(programs, **more)
        self.ahead = 0
        self._device = ThreadPoolExecutor(1, "device")
        self._following = Following()

    def submit(self, step: Step) -> "Future[list[list[Distribution]]]":
        """See engine.core.ahead.AheadRunner."""
        self.ahead += bool(step.after)
        return self._device.submit(self._computed, step)

    def collect(self, flight: "Future[list[list[Distribution]]]") -> list[list[Distribution]]:
        """See engine.core.ahead.AheadRunner."""
        return flight.result()

    def _computed(self, step: Step) -> list[list[Distribution]]:
        self._following.fill(step)
        results = self.run(step)
        self._following.note(step, results)
        return results


def serve_script(
    script: Script,
    *,
    rows: int = 16,
    waiting: int = 64,
    infill: InfillForm | None = None,
    chat: ChatTemplate | None = None,
    shared: bool = False,
) -> Callable[[socket.socket], None]:
    """What the engine's thread runs. The tokens of `infill` are bytes, so that they show in the scripts' prompts.
    `shared`: it takes turns with other engines."""

    def serve(connection: socket.socket) -> None:
        script.fail = False
        scheduler = Scheduler(pages=script.pages, page_size=script.page_size, limits=Limits(rows=rows, waiting=waiting))
        ready = Ready(
            name=NAME,
            context_length=2000,
            chat=chat is not None,
            infill=infill is not None,
            dtype="float32",
            device="none",
            deterministic=True,
            pages=script.pages,
            page_size=script.page_size,
            load_seconds=0.0,
            versions={},
        )
        connection.sendall(frame(ready))
        Engine(
            scheduler=scheduler,
            runner=script,
            text=ModelText(byte_tokenizer(), chat, infill),
            context_length=2000,
            shared=shared,
        ).serve(connection)

    return serve


class FakeExecutor:
    """Judges by words in the program: PASS passes, SLOW takes half a minute, LONG 1.5 s, BROKEN breaks the sandbox,
    DIES raises.

    A test whose code holds HELD passes only programs with RIGHT in them.
    """

    def __init__(self, seconds: float = 0.0, slots: int = 4) -> None:
        self.seconds = seconds
        self.slots = slots
        self.running: set[asyncio.Future[None]] = set()
        self.judged: list[str] = []
        self.cancelled = 0

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo(backend="fake", version="0", weaknesses=())

    def stats(self) -> ExecutorStats:
        return ExecutorStats(
            slots=self.slots,
            busy=len(self.running),
            idle=0,
            starting=0,
            queue_depth=0,
            queue_limit=100,
            executed={},
            cancelled=0,
            jails_started=0,
            jails_live=0,
            start_failures=0,
            kill_alarms=0,
            leaked_cgroups=0,
        )

    async def __aenter__(self) -> "FakeExecutor":
        return self

    async def close(self) -> None:
        for future in self.running:
            future.cancel()

    async def cancel_group(self, group: str) -> None:
        raise ExecutionCancelled(group)

    async def run(self, program: Program, *, group: str = "", on_test: object = None) -> Report:
        held = asyncio.get_running_loop().create_future()
        self.running.add(held)
        try:
            seconds = 30.0 if "SLOW" in program.code else 1.5 if "LONG" in program.code else self.seconds
            await asyncio.wait_for(asyncio.shield(held), seconds)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running.discard(held)
        self.judged.append(program.code)
        if "DIES" in program.code:
            raise RuntimeError("scripted death of the executor")
        if "BROKEN" in program.code:
            return Report(verdict=Verdict.SANDBOX_FAILURE, tests_total=len(program.tests), detail="scripted")
        tests: list[TestReport] = []
        for index, test in enumerate(program.tests):
            word = "RIGHT" if "HELD" in getattr(test, "code", "") else "PASS"
            verdict = Verdict.PASSED if word in program.code else Verdict.WRONG_ANSWER
            tests.append(TestReport(index=index, verdict=verdict, evidence=Evidence.VALUES))
            if callable(on_test):
                on_test(tests[-1])
        worst = next((t.verdict for t in tests if t.verdict is not Verdict.PASSED), Verdict.PASSED)
        return Report(verdict=worst, tests=tuple(tests), tests_total=len(tests), wall_seconds=self.seconds)


def scripted_solver(
    script: Script,
    executor: FakeExecutor,
    *,
    rows: int = 16,
    waiting: int = 64,
    infill: InfillForm | None = None,
    chat: ChatTemplate | None = None,
    max_k: int = 256,
    metrics: Metrics | None = None,
) -> Solver:
    """A solver over a scripted engine in a thread and a fake executor."""
    from engine.loop.client import thread_starter

    return Solver(
        starters={NAME: thread_starter(serve_script(script, rows=rows, waiting=waiting, infill=infill, chat=chat))},
        executor=executor,  # type: ignore[arg-type]
        metrics=metrics or Metrics(),
        max_k=max_k,
    )
