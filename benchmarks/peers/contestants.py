"""Who races until the first pass: ours, llama-server by HTTP, vLLM and transformers by scripts of their own."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

from thresher.client import AsyncClient

from benchmarks.peers.lane import LaneFailed
from benchmarks.peers.lanes import (
    LLAMA_KINDS,
    TEMPERATURE,
    TOP_P,
    TRANSFORMERS_TYPES,
    VLLM_FORMS,
    VllmScript,
    transformers_engine,
    vllm_engine,
)
from benchmarks.peers.llama import LlamaServer
from benchmarks.peers.passing import (
    NEW_TOKENS,
    SAMPLES,
    STOPS,
    Contestant,
    Found,
    Judge,
    Problem,
    Sample,
    end_all,
    ours,
    until_first_pass,
)
from benchmarks.peers.scripted import Engine
from benchmarks.peers.setup import LLAMA, TRANSFORMERS, VLLM, Home, cores
from benchmarks.server import own_server

MOST_AT_ONCE = 64
"""Samples of all problems together that a peer has room for."""
_CELLS = 768
"""Tokens of a prompt and its sample: HumanEval's longest stub has 391."""
_SCRIPT = Path(__file__).with_name("vllm_requests.py")
_TRANSFORMERS_SCRIPT = Path(__file__).with_name("transformers_requests.py")


class Ours:
    """Our server as it is by default."""

    def __init__(self, name: str, model: str) -> None:
        self.name = name
        self.settings: dict[str, Any] = {"server": "defaults", "k": SAMPLES, "policy": "first_pass"}
        self._model = model
        self._held = ExitStack()
        self._client: AsyncClient | None = None

    def start(self) -> None:
        """See Contestant."""
        self._client = AsyncClient(self._held.enter_context(own_server("--model", self._model)).address)

    async def solve(self, problem: Problem, width: int) -> Found:
        """See Contestant."""
        assert self._client is not None
        return await ours(self._client, problem)

    def pause(self) -> None:
        """It is idle between solves."""

    def resume(self) -> None:
        """It is asked for each problem once only, so that nothing it keeps is of use."""

    def stop(self) -> None:
        """See Contestant."""
        self._held.close()


class Llama:
    """llama-server. The first samples of a problem are one request, which computes the prompt once; each further one
    is a request of its own, which finds the prompt in the slot of one that has ended."""

    def __init__(self, name: str, server: LlamaServer, judge: Judge) -> None:
        self.name = name
        self._server = server
        self._judge = judge
        self.settings: dict[str, Any] = server.settings | {"request": self._body(None)}

    def start(self) -> None:
        """See Contestant."""
        self._server.start()

    async def solve(self, problem: Problem, width: int) -> Found:
        """See Contestant."""
        return await until_first_pass(self._samples(problem, width), self._judge.of(problem))

    def pause(self) -> None:
        """See Contestant."""
        self._server.pause()

    def resume(self) -> None:
        """See Contestant; `cache_prompt` is off for a problem's first request."""
        self._server.resume()

    def stop(self) -> None:
        """See Contestant."""
        self._server.stop()

    async def _samples(self, problem: Problem, width: int) -> AsyncGenerator[Sample]:
        ended: asyncio.Queue[Sample | LaneFailed] = asyncio.Queue()

        async def ask(count: int) -> None:
            try:
                async with aclosing(self._complete(problem, count)) as found:
                    async for sample in found:
                        ended.put_nowait(sample)
            except (OSError, EOFError, ValueError, KeyError, LaneFailed) as error:
                ended.put_nowait(LaneFailed(f"{self.name}: {error!r}"))

        asking = {asyncio.create_task(ask(width))}
        try:
            for number in range(SAMPLES):
                sample = await ended.get()
                if isinstance(sample, LaneFailed):
                    raise sample
                if number + width < SAMPLES:
                    asking.add(asyncio.create_task(ask(1)))
                yield sample
        finally:
            await end_all(asking)

    async def _complete(self, problem: Problem, count: int) -> AsyncGenerator[Sample]:
        body = self._body(problem.tokens) | {"n_cmpl": count, "cache_prompt": count == 1}
        texts = [""] * count
        async with aclosing(events(self._server.port, "/completion", body)) as found:
            async for event in found:
                texts[event["index"]] += event["content"]
                if event["stop"]:
                    yield Sample(texts[event["index"]], event["tokens_predicted"])

    @staticmethod
    def _body(prompt: list[int] | None) -> dict[str, Any]:
        return {
            **({} if prompt is None else {"prompt": prompt}),
            "n_predict": NEW_TOKENS,
            "samplers": ["temperature", "top_p"],
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "stop": STOPS,
            "stream": True,
        }


async def events(port: int, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """The server-sent events of one request to the loopback, which is closed with the generator.

    Raises LaneFailed where the answer is not 200.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        if " 200 " not in answer.splitlines()[0]:
            raise LaneFailed(f"POST {path}: {answer} {(await reader.read(500))!r}")
        text = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            text += (await reader.readexactly(size + 2))[:size]
            *whole, text = text.split(b"\n\n")
            for event in whole:
                if event.startswith(b"data: {"):
                    yield json.loads(event.removeprefix(b"data: "))
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Scripted:
    """An engine behind a script in its environment, a request a sample: vLLM, whose prefix cache holds the prompt, and
    transformers, which computes a prompt once for the samples that it draws together."""

    def __init__(self, name: str, engine: Engine, settings: dict[str, Any], judge: Judge) -> None:
        self.name = name
        self.settings = settings | {"request": self._request(None)}
        self._engine = engine
        self._judge = judge
        self._asked = 0
        self._waiting: dict[str, asyncio.Queue[Sample | LaneFailed]] = {}

    def start(self) -> None:
        """See Contestant."""
        self._engine.start()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=[loop], daemon=True).start()

    async def solve(self, problem: Problem, width: int) -> Found:
        """See Contestant."""
        return await until_first_pass(self._samples(problem, width), self._judge.of(problem))

    def pause(self) -> None:
        """See Contestant."""
        self._engine.pause()

    def resume(self) -> None:
        """See Contestant."""
        self._engine.resume()
        self._engine.tell({"forget": True})

    def stop(self) -> None:
        """See Contestant."""
        self._engine.stop()

    async def _samples(self, problem: Problem, width: int) -> AsyncGenerator[Sample]:
        ended: asyncio.Queue[Sample | LaneFailed] = asyncio.Queue()
        mine: list[str] = []

        def ask() -> None:
            self._asked += 1
            mine.append(str(self._asked))
            self._waiting[mine[-1]] = ended
            self._engine.tell({"add": mine[-1], **self._request(problem)})

        try:
            for _ in range(width):
                ask()
            for _ in range(SAMPLES):
                sample = await ended.get()
                if isinstance(sample, LaneFailed):
                    raise sample
                if len(mine) < SAMPLES:
                    ask()
                yield sample
        finally:
            left = [name for name in mine if self._waiting.pop(name, None) is not None]
            if left:
                self._engine.tell({"abort": left})

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError, ValueError):  # the loop or the pipe is closed: all is over
            for line in self._engine.family.pipes[1]:
                loop.call_soon_threadsafe(self._take, json.loads(line))
            loop.call_soon_threadsafe(self._fail)

    def _take(self, answer: dict[str, Any]) -> None:
        # An aborted sample may have ended before it heard of it.
        if (queue := self._waiting.pop(answer["id"], None)) is not None:
            queue.put_nowait(Sample(answer["text"], answer["tokens"]))

    def _fail(self) -> None:
        for queue in self._waiting.values():
            queue.put_nowait(LaneFailed(f"{self.name} ended: {self._engine.family.last_words()}"))

    @staticmethod
    def _request(problem: Problem | None) -> dict[str, Any]:
        return {
            **({} if problem is None else {"prompt": problem.tokens, "ends": problem.ends}),
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "new_tokens": NEW_TOKENS,
            "stop": STOPS,
        }


def peers_of(home: Home, peer: str, model: Path, judge: Judge) -> list[Contestant]:
    """A peer in each arithmetic that may be its best. Raises SetupFailed."""
    if peer == LLAMA:
        return [_llama(home, model, kind, judge) for kind in LLAMA_KINDS]
    found: list[Contestant] = []
    if peer == TRANSFORMERS:
        for kind in TRANSFORMERS_TYPES:
            name = f"transformers {kind}"
            more = {"tokenizer": str(home.tokenizer(model) / "tokenizer.json")}
            log = home.log(f"{name} passing")
            engine, settings = transformers_engine(home, model, kind, _TRANSFORMERS_SCRIPT, more, log)
            found.append(Scripted(name, engine, settings | {"cache": "dynamic"}, judge))
        return found
    assert peer == VLLM
    for form in VLLM_FORMS:
        name = f"vllm {form}"
        script = VllmScript(_SCRIPT, widest=MOST_AT_ONCE, longest=_CELLS, tokenizer=home.tokenizer(model))
        engine, settings = vllm_engine(home, model, form, script, log=home.log(f"{name} passing"))
        found.append(Scripted(name, engine, settings, judge))
    return found


def _llama(home: Home, model: Path, kind: str, judge: Judge) -> Llama:
    name = f"llama-server {kind}"
    server = LlamaServer(
        name=name,
        sampler="same",
        program=home.program("llama-server"),
        model=home.gguf(model, kind),
        slots=MOST_AT_ONCE,
        cells=_CELLS,
        threads=cores(),
        parameters={},
        log=home.log(f"{name} passing"),
    )
    return Llama(name, server, judge)
