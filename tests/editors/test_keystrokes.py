"""A thousand keystrokes, each of which ends a solve. Only the model is a script; all else is as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types
from support.editor import editor, until

from engine.core.distribution import Distribution
from engine.core.types import Mask
from engine.metrics import Metrics
from tests.support.scripted_engine import NAME, FakeExecutor, Script, scripted_solver
from tests.support.served import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KEYSTROKES = 1000
STUB = '''def double(n):
    """Twice n.

    >>> double(2)
    4
    """
    ...
'''


class Endless(Script):
    """A model that writes `x` and `y` after any prompt, and never an end."""

    def __init__(self) -> None:
        super().__init__({"": {"x" * 600: 1.0, "y" * 600: 1.0}}, step_seconds=0.001)

    def _distribution(self, path: bytes, mask: Mask | None) -> Distribution:
        return super()._distribution(b"", mask)


def drawing(solver: Any) -> tuple[int, bool]:
    """How many solves there are, and whether samples are being drawn."""
    load = solver.load()
    return load.solves_running + load.solves_waiting, load.branches_running > 0


def outcomes(metrics: Metrics) -> Mapping[str, float]:
    """How many solves have ended, by how."""
    words = ("solved", "exhausted", "cancelled", "cut_off", "deadline", "error", "budget")
    labels = ({"model": NAME, "outcome": word, "priority": "interactive"} for word in words)
    found = {label["outcome"]: metrics.registry.get_sample_value("thresher_solves_total", label) for label in labels}
    return {word: count for word, count in found.items() if count}


async def test_a_thousand_keystrokes_leak_nothing(tmp_path: Path) -> None:
    metrics = Metrics()
    solver: Any = scripted_solver(Endless(), FakeExecutor(), metrics=metrics)
    await solver.start()
    async with serving(solver) as served, editor(tmp_path, f"unix:{served.folder}/s", k=8) as one:
        uri = one.open("double.py", STUB)
        (action,) = await one.actions(uri, 0)
        assert action.command is not None
        solve = types.ExecuteCommandParams(action.command.command, arguments=action.command.arguments)
        language_server = psutil.Process(one.client._server.pid)  # type: ignore[union-attr]
        server = psutil.Process()  # all of it runs in this process
        sizes: list[tuple[int, ...]] = []
        for keystroke in range(KEYSTROKES):
            await one.client.workspace_execute_command_async(solve)
            await until(lambda: drawing(solver) == (1, True))
            # What is typed stays short, as what a user types and takes back.
            one.type(uri, 6, 7, "#" if keystroke % 2 == 0 else "", end=(6, 7 + keystroke % 2))
            await until(lambda: drawing(solver) == (0, False))
            if keystroke % 50 == 49:
                counts = [
                    n for process in (language_server, server) for n in (process.num_fds(), process.num_threads())
                ]
                sizes.append((*counts, language_server.memory_info().rss))
        assert solver.load().kv_cache_usage == 0
        assert outcomes(metrics) == {"cancelled": KEYSTROKES}
        first, last = sizes[0], sizes[-1]
        # A leak would be as many as there were keystrokes; pools of threads may still have grown a little.
        assert all(after - before <= 8 for before, after in zip(first[:4], last[:4], strict=True)), sizes
        assert last[4] - first[4] < 16 << 20, sizes
        assert one.edits == []
    await solver.close()


async def test_after_an_edit_only_what_follows_it_is_computed(tmp_path: Path) -> None:
    metrics = Metrics()
    solver: Any = scripted_solver(Endless(), FakeExecutor(), metrics=metrics)
    await solver.start()
    above = "Twice n. " * 60
    text = STUB.replace("Twice n.", above.strip())

    def tokens(kind: str) -> float:
        return metrics.registry.get_sample_value(f"thresher_{kind}_total", {"model": NAME}) or 0.0

    async with serving(solver) as served, editor(tmp_path, f"unix:{served.folder}/s", k=8) as one:
        uri = one.open("double.py", text)
        (action,) = await one.actions(uri, 0)
        assert action.command is not None
        solve = types.ExecuteCommandParams(action.command.command, arguments=action.command.arguments)
        for edit in ("", "    >>> double(8)\n    16\n"):
            one.type(uri, 5, 0, edit)
            before = tokens("prompt_tokens"), tokens("cached_prompt_tokens")
            await one.client.workspace_execute_command_async(solve)
            await until(lambda: drawing(solver) == (1, True))
            await one.client.workspace_execute_command_async(types.ExecuteCommandParams("thresher.cancel"))
            await until(lambda: drawing(solver) == (0, False))
            await until(lambda old=before: tokens("prompt_tokens") > old[0])
        prompt, cached = tokens("prompt_tokens") - before[0], tokens("cached_prompt_tokens") - before[1]
        assert before[1] == 0
        assert len(above) < cached < prompt, (prompt, cached)
    await solver.close()
