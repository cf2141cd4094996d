"""`thresher bench decode`: what it says of figures that cannot be right."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import benchmarks.ceiling
import benchmarks.decode
from benchmarks.command import app

VOID = "faster than its own products: other work ran meanwhile; this line is void"


@pytest.mark.parametrize(
    ("step_ms", "prefill_ms", "void"),
    [(10.0, 100.0, False), (9.6, 96.0, False), (9.4, 100.0, True), (10.0, 94.0, True)],
)
def test_a_line_that_beats_its_own_ceiling_is_called_void(
    monkeypatch: pytest.MonkeyPatch, step_ms: float, prefill_ms: float, void: bool
) -> None:
    served: Any = SimpleNamespace(prompt=[0] * 32, load_seconds=1.0)
    line = {"k": 2, "tokens_per_second": 1.0, "step_ms": step_ms, "prefill_ms": prefill_ms}
    monkeypatch.setattr(benchmarks.decode, "serve", lambda *_, **__: served)
    monkeypatch.setattr(benchmarks.decode, "decode", lambda *_, **__: dict(line))
    # The products of a decode step of 2 rows take 10 ms, those of the prompt's 32 rows 100.
    monkeypatch.setattr(benchmarks.ceiling, "ceilings", lambda _, rows, heads: {"ours": 10.0 if rows == 2 else 100.0})
    done = CliRunner().invoke(app, ["decode", "--k", "2", "--arithmetic", "float32"])
    assert done.exit_code == 0, done.output
    assert (VOID in done.stderr) is void
    (run,) = json.loads(done.stdout)["runs"]
    assert run["share_of_ceiling"] == round(10 / step_ms, 3)
