"""Where the time of a step goes: functions of the engine wrapped by a clock, from outside."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch


class Stopwatch:
    """Seconds by part. A part that runs inside another is taken out of it: the parts add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its own time added to `part`."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - began
                self.seconds[part] += seconds - self._inner.pop()
                self._inner[-1] += seconds

        return wrapper

    @contextmanager
    def watching(self, parts: dict[str, list[tuple[Any, str]]]) -> Generator[None]:
        """Wrap attributes, given as part -> [(owner, name)], while the context is open."""
        with ExitStack() as stack:
            for part, places in parts.items():
                for owner, name in places:
                    stack.enter_context(patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield
