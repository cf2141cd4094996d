"""Lanes of llama.cpp: its server, which samples, and its batched bench, which does not."""

import http.client
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.family import Family
from benchmarks.peers.lane import Drawn, LaneFailed, Work, check_tokens

PEER = "llama.cpp"
_START_SECONDS = 120.0
_ANSWER_SECONDS = 900.0
# The KV cells of a slot: a prompt of about 192 tokens and its sample.
_CELLS = 512


class LlamaServer:
    """llama-server with as many slots as samples, of `cells` KV cells each; all samples of a prompt are one request
    (n_cmpl), which prefills it once. `samplers` and `parameters` go into the request."""

    def __init__(
        self,
        *,
        name: str,
        sampler: str,
        program: Path,
        model: Path,
        slots: int,
        cells: int = _CELLS,
        threads: int,
        parameters: dict[str, Any],
        log: Path,
    ) -> None:
        self.name = name
        self.peer = PEER
        self.sampler = sampler
        self._program = program
        self._parameters = parameters
        self._log = log
        self._port = 0
        self._family: Family | None = None
        self._options = ["--model", str(model), "--parallel", str(slots), "--ctx-size", str(slots * cells)]
        self._options += ["--threads", str(threads), "--threads-batch", str(threads), "--no-kv-unified"]
        # Prompts of earlier requests are never wanted again.
        self._options += ["--cache-ram", "0", "--no-webui"]
        self.settings = {
            "options": " ".join(["llama-server", "--model", model.name, *self._options[2:]]),
            "request": parameters | {"ignore_eos": True, "cache_prompt": False},
        }

    @property
    def port(self) -> int:
        """Where it listens on the loopback, once started."""
        return self._port

    def start(self) -> float:
        """See Lane."""
        began = time.perf_counter()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        command = [str(self._program), *self._options, "--host", "127.0.0.1", "--port", str(self._port)]
        self._family = Family(command, log=self._log, environment=os.environ)
        self._family.wait_until(self._healthy, _START_SECONDS)
        return time.perf_counter() - began

    def draw(self, work: Work) -> Drawn:
        """See Lane."""
        began = time.perf_counter()
        found = self._complete(work, self._parameters | {"n_cmpl": work.k})
        seconds = time.perf_counter() - began
        answers: list[dict[str, Any]] = found if isinstance(found, list) else [found]
        assert self._family is not None
        return Drawn(
            tokens=check_tokens(self.name, [int(answer["tokens_predicted"]) for answer in answers], work),
            seconds=seconds,
            resident_mib=self._family.resident_mib(),
        )

    def greedy(self, prompt: list[int], new_tokens: int) -> list[int]:
        """See Lane."""
        work = Work(prompt=prompt, k=1, new_tokens=new_tokens)
        return self._complete(work, {"samplers": ["top_k"], "top_k": 1, "return_tokens": True})["tokens"]

    def pause(self) -> None:
        """See Lane."""
        assert self._family is not None
        self._family.pause()

    def resume(self) -> None:
        """See Lane."""
        assert self._family is not None
        self._family.resume()

    def stop(self) -> None:
        """See Lane."""
        if self._family is not None:
            self._family.end()

    def _complete(self, work: Work, more: dict[str, Any]) -> Any:
        body = {
            "prompt": work.prompt,
            "n_predict": work.new_tokens,
            "ignore_eos": not work.ends,  # its model knows them itself
            "cache_prompt": False,
            # Texts of thousands of tokens are not what is measured.
            "response_fields": ["tokens_predicted", "tokens"],
            **more,
        }
        return self._ask("POST", "/completion", json.dumps(body))

    def _healthy(self) -> bool:
        try:
            self._ask("GET", "/health", None)
        except (OSError, http.client.HTTPException, LaneFailed):
            return False
        return True

    def _ask(self, method: str, path: str, body: str | None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise LaneFailed(f"{self.name}: {method} {path} gave {response.status}: {text[:500]!r}")
        return json.loads(text)


class BatchedBench:
    """llama-batched-bench: feeds random tokens and never looks at the logits. A process for each draw, whose start and
    loading of the model do not count."""

    def __init__(self, *, name: str, program: Path, model: Path, threads: int, log: Path) -> None:
        self.name = name
        self.peer = PEER
        self.sampler = "none"
        self._program = program
        self._model = model
        self._log = log
        self._options = ["-pps", "--no-kv-unified", "--threads", str(threads), "--threads-batch", str(threads)]
        self.settings = {"options": " ".join(["llama-batched-bench", "--model", model.name, *self._options])}

    def start(self) -> float:
        """The time of a process that does next to nothing."""
        began = time.perf_counter()
        self._run(Work(prompt=[0] * 16, k=1, new_tokens=1))
        return time.perf_counter() - began

    def draw(self, work: Work) -> Drawn:
        """See Lane."""
        line, resident = self._run(work)
        return drawn(self.name, line, work, resident)

    def greedy(self, prompt: list[int], new_tokens: int) -> None:
        """It cannot: its tokens are random."""
        return

    def pause(self) -> None:
        """Nothing runs between draws."""

    def resume(self) -> None:
        """Nothing runs between draws."""

    def stop(self) -> None:
        """Nothing runs between draws."""

    def _run(self, work: Work) -> tuple[str, float]:
        """Its line of figures, and the most memory that it had, in MiB."""
        sizes = {"-npp": len(work.prompt), "-ntg": work.new_tokens, "-npl": work.k, "--ctx-size": work.k * _CELLS}
        options = [part for option, size in sizes.items() for part in (option, str(size))]
        command = [str(self._program), "--model", str(self._model), *options, *self._options]
        command += ["--output-format", "jsonl"]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            assert process.stdout is not None
            text = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            process.stdout.close()
        if process.returncode != 0:
            raise LaneFailed(f"{self.name} ended with status {process.returncode}: {text[-500:]}")
        return text, usage.ru_maxrss / 1024


def drawn(name: str, output: str, work: Work, resident_mib: float) -> Drawn:
    """What llama-batched-bench's output (JSON lines) says. Raises LaneFailed if it is not about this work."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    asked = (len(work.prompt), work.new_tokens, work.k)
    if [(line["pp"], line["tg"], line["pl"]) for line in lines] != [asked]:
        raise LaneFailed(f"{name} did not measure (prompt, new tokens, k) = {asked} but said: {output[-500:]}")
    return Drawn(
        tokens=work.k * work.new_tokens,
        seconds=lines[0]["t_pp"] + lines[0]["t_tg"],
        decode_rate=lines[0]["speed_tg"],
        resident_mib=round(resident_mib, 1),
    )
