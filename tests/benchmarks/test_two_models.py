"""The benchmark of two models: its figures from what the servers' series have grown by, its solves, its table."""

import json
from pathlib import Path
from typing import Any

from thresher.client import solve_spec

from benchmarks.engine_table import _two_models, table  # pyright: ignore[reportPrivateUsage]
from benchmarks.scheduling import turns, two_models
from engine.exposition import Book, key
from engine.metrics import Metrics

SMALL, BIG = two_models._MODELS["small"], two_models._MODELS["big"]  # pyright: ignore[reportPrivateUsage]


def book(model: str, *, rows: float, device: float, steps: float, waited: float) -> Book:
    return {
        key("thresher_rows_computed_total", model=model): rows,
        key("thresher_device_seconds_total", model=model): device,
        key("thresher_device_wait_seconds_total", model=model): waited,
        key("thresher_step_seconds_count", model=model): steps,
    }


def both() -> dict[str, Any]:
    small = book(SMALL, rows=6000, device=4.0, steps=100, waited=5.0)
    big = book(BIG, rows=2000, device=5.0, steps=50, waited=4.0)
    return two_models.figures({"small": small, "big": big}, 10.0)


def test_figures_are_what_the_series_have_grown_by() -> None:
    found = both()
    assert found["models"]["small"] == {
        "tokens_per_second": 600.0,
        "step_ms": 40.0,
        "device_share": 0.4444,
        "device_of_window": 0.4,
        "waited_of_window": 0.5,
    }
    assert found["between_steps_ms"] == round(1000 / 150, 3)
    alone = {"small": {"models": {"small": {"tokens_per_second": 1200.0}}}}
    alone["big"] = {"models": {"big": {"tokens_per_second": 500.0}}}
    assert two_models.worth(found, alone) == 0.9


def test_the_series_are_those_that_a_server_has() -> None:
    names = {one.name for one in Metrics().families}
    asked = {name.removesuffix("_count") for name, _ in book(SMALL, rows=0, device=0, steps=0, waited=0)}
    assert asked <= names


async def test_a_turn_is_measured_by_processes_that_take_some() -> None:
    assert 0 < await turns.measure(20) < 1000


def test_the_solves_are_accepted_and_of_one_model() -> None:
    (document,) = two_models.asked("big", "batch", 1)
    asked = solve_spec(document)
    assert (asked.model.removeprefix("models/"), asked.sampling.k) == (BIG, 16)


def test_the_table_tells_shares_and_what_the_models_are_worth(tmp_path: Path) -> None:
    machine = {"cores": 2, "cpu": "any"}
    result = {
        "provenance": {"date": "2026-11-28", "machine": machine},
        "load_before": 3.0,
        "arms": {"turns": {**both(), "worth": 0.9}},
    }
    (tmp_path / "two-models.json").write_text(json.dumps(result))
    text = table(tmp_path, {"two-models": _two_models})
    assert "other work meanwhile): turns | small 600 tokens/s; big 200 tokens/s; of the device small 44.4 %" in text
    assert "together worth 0.9 of one alone" in text
