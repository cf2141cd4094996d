"""Lanes that are a script in a process of its own: ours, vLLM and transformers. One JSON value a line, in and out."""

import json
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.family import Family
from benchmarks.peers.lane import Drawn, LaneFailed, Work, check_tokens

_START_SECONDS = 600.0
_ANSWER_SECONDS = 900.0


class Engine:
    """A script's process. Several lanes may share it: they differ in what they ask for."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._family: Family | None = None
        self._started: float | None = None
        self.greeting: dict[str, Any] = {}
        """What the script said when it was ready."""

    def start(self) -> float:
        """Seconds until the script was ready, measured the first time. Raises LaneFailed, later too."""
        if self._family is None:
            began = time.perf_counter()
            self._family = Family(self._command, log=self._log, environment=self._environment, talk=True)
            self.greeting = self._answer(_START_SECONDS)
            self._started = time.perf_counter() - began
        if self._started is None:
            raise LaneFailed(f"its process, shared with the lane before it, did not start: see {self._log}")
        return self._started

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The script's answer. Raises LaneFailed if it ends instead or says nothing for long."""
        self.tell(request)
        return self._answer(_ANSWER_SECONDS)

    def tell(self, request: dict[str, Any]) -> None:
        """Do not wait for an answer. Raises LaneFailed if the script has ended."""
        try:
            self.family.pipes[0].write(json.dumps(request) + "\n")
            self.family.pipes[0].flush()
        except (OSError, ValueError) as error:  # ValueError: the pipe was closed when the process was ended
            raise LaneFailed(f"its process has ended; {self._log} ends with: {self.family.last_words()}") from error

    @property
    def family(self) -> Family:
        """Its processes."""
        assert self._family is not None, "start it first"
        return self._family

    def pause(self) -> None:
        """Stop the processes; they may be stopped already."""
        self.family.pause()

    def resume(self) -> None:
        """Let them go on."""
        self.family.resume()

    def stop(self) -> None:
        """End the processes, if there are any."""
        if self._family is not None:
            self._family.end()

    def _answer(self, seconds: float) -> dict[str, Any]:
        pipe = self.family.pipes[1]
        readable, _, _ = select.select([pipe], [], [], seconds)
        line = pipe.readline() if readable else ""
        if not line:
            what = "ended" if readable else f"gave no answer for {seconds:.0f} s"
            raise LaneFailed(f"the script {what}; {self._log} ends with: {self.family.last_words()}")
        return json.loads(line)


class ScriptedLane:
    """One way of asking a script's process. `extra` is added to each request to draw."""

    def __init__(
        self, *, name: str, peer: str, sampler: str, settings: dict[str, Any], engine: Engine, extra: dict[str, Any]
    ) -> None:
        self.name = name
        self.peer = peer
        self.sampler = sampler
        self._settings = settings
        self._engine = engine
        self._extra = extra
        self.answer: dict[str, Any] = {}
        """What the script said to the last request to draw."""

    @property
    def settings(self) -> dict[str, Any]:
        """See Lane; what the script said of itself included, but for the prompt."""
        said = {key: value for key, value in self._engine.greeting.items() if key != "prompt"}
        return self._settings | said

    def start(self) -> float:
        """See Lane."""
        return self._engine.start()

    def draw(self, work: Work) -> Drawn:
        """See Lane."""
        self.answer = answer = self._engine.ask(
            {
                "do": "draw",
                "prompt": work.prompt,
                "k": work.k,
                "new_tokens": work.new_tokens,
                "room": max(work.room, work.new_tokens),
                "ends": list(work.ends),
                **self._extra,
            }
        )
        return Drawn(
            tokens=check_tokens(self.name, answer["counts"], work),
            seconds=answer["seconds"],
            decode_rate=answer.get("decode_rate"),
            resident_mib=self._engine.family.resident_mib(),
        )

    def greedy(self, prompt: list[int], new_tokens: int) -> list[int]:
        """See Lane."""
        return self._engine.ask({"do": "greedy", "prompt": prompt, "new_tokens": new_tokens})["tokens"]

    def pause(self) -> None:
        """See Lane."""
        self._engine.pause()

    def resume(self) -> None:
        """See Lane."""
        self._engine.resume()

    def stop(self) -> None:
        """See Lane."""
        self._engine.stop()
