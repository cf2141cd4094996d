"""The careful client of the race until the first pass, and what llama-server and vLLM are told by it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from support.tiny_gguf import write_gguf
from tokenizers import Tokenizer as HubTokenizer

from benchmarks.peers.contestants import Llama, Scripted, events
from benchmarks.peers.lane import LaneFailed
from benchmarks.peers.passing import SAMPLES, Found, Judge, Problem, Sample, until_first_pass
from benchmarks.peers.scripted import Engine
from benchmarks.peers.tokenizer import write_tokenizer
from engine.text.tokenizer import Tokenizer

PROBLEM = Problem("p/1", {"tests": ["f()"]}, "def f():\n", [1, 2, 3], (9,))


class Source:
    """Samples in order, each after a pause if there is one; remembers whether it was closed."""

    def __init__(self, *texts: str, pause: float = 0.0) -> None:
        self.texts = texts
        self.pause = pause
        self.given = 0
        self.closed = False

    async def samples(self) -> AsyncGenerator[Sample]:
        try:
            for text in self.texts:
                if self.pause:
                    await asyncio.sleep(self.pause)
                self.given += 1
                if text == "broken":
                    raise LaneFailed("broken")
                yield Sample(text, 3)
        finally:
            self.closed = True


def test_the_first_pass_closes_what_is_still_open() -> None:
    source = Source("wrong", "slow", "right", *["never"] * 1000, pause=0.001)
    ended: list[str] = []

    async def passes(text: str) -> bool:
        try:
            if text == "slow":
                await asyncio.sleep(3600)
            return text == "right"
        finally:
            ended.append(text)

    found = asyncio.run(until_first_pass(source.samples(), passes))
    assert found.solved
    assert found.finished >= 3
    assert source.closed
    assert source.given < 1000
    assert "slow" in ended  # its judging was given up


def test_a_sample_that_comes_with_the_pass_leaves_nothing_open() -> None:
    source = Source("right", *["never"] * 1000)

    async def passes(text: str) -> bool:
        return text == "right"

    async def closed() -> bool:
        assert (await until_first_pass(source.samples(), passes)).solved
        return source.closed  # now, and not when the loop ends

    assert asyncio.run(closed())


def test_without_a_pass_all_samples_are_judged() -> None:
    source = Source("a", "b", "c")

    async def passes(text: str) -> bool:
        await asyncio.sleep(0.02)
        return False

    found = asyncio.run(until_first_pass(source.samples(), passes))
    assert (found.solved, found.finished) == (False, 3)


def test_the_last_sample_counts_too() -> None:
    async def passes(text: str) -> bool:
        await asyncio.sleep(0.02)
        return text == "c"

    assert asyncio.run(until_first_pass(Source("a", "b", "c").samples(), passes)).solved


@pytest.mark.parametrize("where", ["drawing", "judging"])
def test_a_failure_is_no_verdict(where: str) -> None:
    async def passes(text: str) -> bool:
        if where == "judging":
            raise LaneFailed("broken")
        return False

    source = Source("a", "broken" if where == "drawing" else "b", "c")
    with pytest.raises(LaneFailed, match="broken"):
        asyncio.run(until_first_pass(source.samples(), passes))
    assert source.closed


class Everything:
    """An executor's client that passes programs which end with `pass`."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    async def execute(self, program: Any) -> Any:
        from thresher.v1 import verdict_pb2

        self.codes.append(program.code)
        passed = program.code.endswith("pass")
        name = "VERDICT_PASSED" if passed else "VERDICT_WRONG_ANSWER"
        return verdict_pb2.ExecutionReport(verdict=verdict_pb2.Verdict.Value(name))


def test_equal_texts_are_run_once_with_the_stub_before_them() -> None:
    client = Everything()

    async def judge() -> list[bool]:
        passes = Judge(client).of(PROBLEM)  # pyright: ignore[reportArgumentType]  # all of a client that it needs
        return list(await asyncio.gather(*(passes(text) for text in (" pass", " fail", " pass"))))

    assert asyncio.run(judge()) == [True, False, True]
    assert sorted(client.codes) == ["def f():\n fail", "def f():\n pass"]


class FakeServer:
    """A llama-server of sorts: streams three events a sample, each sample of a request in turn. At the text `hold` it
    waits until the client leaves."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.bodies: list[dict[str, Any]] = []
        self.port = 0
        self.open = 0
        self.most = 0
        self.left = asyncio.Event()

    async def __aenter__(self) -> "FakeServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().partition("content-length:")[2].split()[0])
        body = json.loads(await reader.readexactly(size))
        self.bodies.append(body)
        if body.get("fail"):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno!")
            writer.close()
            return
        self.open += body["n_cmpl"]
        self.most = max(self.most, self.open)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for index in range(body["n_cmpl"]):
            text = self.texts.pop(0)
            if text == "hold":
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                self.left.set()
                return
            for stop, content in ((False, text[:2]), (False, text[2:]), (True, "")):
                self.open -= stop
                event = {"index": index, "content": content, "stop": stop, "tokens_predicted": len(text)}
                data = f"data: {json.dumps(event)}\n\n".encode()
                # An event may be cut anywhere.
                for part in (data[:7], data[7:]):
                    writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.0005)
        writer.write(b"0\r\n\r\n")
        writer.close()


class AtPort:
    """As much of LlamaServer as drawing needs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.settings: dict[str, Any] = {"options": "--parallel 4"}


def llama(port: int, client: Everything) -> Llama:
    return Llama("server", AtPort(port), Judge(client))  # pyright: ignore[reportArgumentType]


def test_llama_server_draws_all_samples_a_few_at_once() -> None:
    client = Everything()

    async def solve() -> tuple[Found, FakeServer]:
        async with FakeServer([f"text {number}" for number in range(SAMPLES)]) as server:
            return await llama(server.port, client).solve(PROBLEM, 4), server

    found, server = asyncio.run(solve())
    assert (found.solved, found.finished) == (False, SAMPLES)
    assert sorted(client.codes) == sorted(f"def f():\ntext {number}" for number in range(SAMPLES))
    first, *others = server.bodies
    assert (first["n_cmpl"], first["cache_prompt"], first["prompt"]) == (4, False, [1, 2, 3])
    assert {(body["n_cmpl"], body["cache_prompt"]) for body in others} == {(1, True)}
    assert len(others) == SAMPLES - 4
    assert server.most == 4


def test_llama_server_is_left_at_the_first_pass() -> None:
    async def solve() -> tuple[Found, FakeServer]:
        async with FakeServer(["a", "b", "hold", "c pass", *["d"] * 100]) as server:
            found = await llama(server.port, Everything()).solve(PROBLEM, 2)
            await asyncio.wait_for(server.left.wait(), 30)
            return found, server

    found, server = asyncio.run(solve())
    assert found.solved
    assert len(server.bodies) < SAMPLES - 10


def test_a_refused_request_fails_the_lane() -> None:
    async def ask() -> None:
        async with FakeServer([]) as server:
            async for _ in events(server.port, "/completion", {"fail": True}):
                pass

    with pytest.raises(LaneFailed, match="400 Bad Request"):
        asyncio.run(ask())


SCRIPT = """
import json, sys
print(json.dumps({}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    with open(LOG, "a") as log:
        log.write(line)
    if "add" in request:
        if int(request["add"]) == DIES:
            raise SystemExit("no more")
        if int(request["add"]) not in HELD:
            text = "pass" if int(request["add"]) == PASSES else request["add"]
            print(json.dumps({"id": request["add"], "text": text, "tokens": 1}), flush=True)
"""


def solve_with_script(tmp_path: Path, width: int, **names: object) -> tuple[Found, list[dict[str, Any]]]:
    """The outcome, and what the script was told."""
    log = tmp_path / "log.jsonl"
    values = {"LOG": str(log), "DIES": 0, "PASSES": 0, "HELD": (), **names}
    script = tmp_path / "script.py"
    script.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()) + SCRIPT)
    engine = Engine(["python3", "-I", str(script)], {"PATH": "/usr/bin:/bin"}, tmp_path / "stderr")

    async def solve() -> Found:
        peer = Scripted("vllm", engine, {}, Judge(Everything()))  # pyright: ignore[reportArgumentType]
        peer.start()
        return await peer.solve(PROBLEM, width)

    try:
        found = asyncio.run(solve())
        engine.tell({"forget": True})
        engine.family.pipes[0].close()  # it ends with its input
        engine.family.wait_until(lambda: '"forget"' in log.read_text(), 30)
    finally:
        engine.stop()
    return found, [json.loads(line) for line in log.read_text().splitlines()]


def test_a_script_draws_all_samples(tmp_path: Path) -> None:
    found, told = solve_with_script(tmp_path, 4)
    assert (found.solved, found.finished) == (False, SAMPLES)
    assert [request["add"] for request in told[:-1]] == [str(number + 1) for number in range(SAMPLES)]
    assert told[0]["prompt"] == [1, 2, 3]
    assert told[0]["ends"] == [9]


def test_a_script_is_told_to_abort_what_is_open_at_the_first_pass(tmp_path: Path) -> None:
    found, told = solve_with_script(tmp_path, 3, HELD=(1, 2), PASSES=5)
    assert found.solved
    (aborted,) = [request["abort"] for request in told if "abort" in request]
    assert set(aborted) >= {"1", "2"}
    assert not {"3", "4", "5"} & set(aborted)


def test_a_script_that_dies_fails_the_lane(tmp_path: Path) -> None:
    with pytest.raises(LaneFailed, match="no more"):
        solve_with_script(tmp_path, 2, DIES=6)


def test_a_script_that_dies_while_all_wait_for_it_fails_the_lane(tmp_path: Path) -> None:
    with pytest.raises(LaneFailed, match="no more"):
        solve_with_script(tmp_path, 2, DIES=2, HELD=(1,))


def test_the_tokenizer_written_for_peers_reads_and_writes_as_ours(tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "model.gguf")
    write_tokenizer(gguf, tmp_path / "folder")
    theirs = HubTokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    ours = Tokenizer.from_gguf(gguf)
    text = "def f(x):\n    return 'é' + x  # ok\n"
    ids = ours.encode(text, special=False)
    assert theirs.encode(text, add_special_tokens=False).ids == ids
    assert theirs.decode([*ids, *ours.eos_ids]) == text
