"""A device of several scripted engines that notes who computes on it, and whether two ever do at once."""

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from engine.core.distribution import Distribution
from engine.core.types import Step
from tests.support.scripted_engine import Script

SECONDS = 30.0
"""After so long something hangs."""


class Watched(Script):
    """Says to its device when it computes a step; `entered` is set then, and the step waits for `let`."""

    def __init__(
        self, device: "Device", name: str, programs: Mapping[str, Mapping[str, float]], step_seconds: float = 0.0
    ) -> None:
        super().__init__(programs, step_seconds=step_seconds)
        self.device = device
        self.name = name
        self.entered = threading.Event()
        self.let = threading.Event()
        self.let.set()

    def run(self, step: Step) -> list[list[Distribution]]:
        """As the script, on the device."""
        with self.device.computing(self.name):
            self.entered.set()
            assert self.let.wait(SECONDS)
            return super().run(step)


class Device:
    """What several runners compute on. `most`: steps at once so far; `turns`: whose the steps were."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.most = 0
        self.busy = 0
        self.turns: list[str] = []

    @contextmanager
    def computing(self, name: str) -> Generator[None]:
        """A step of that engine."""
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
            self.turns.append(name)
        try:
            yield
        finally:
            with self.lock:
                self.busy -= 1
