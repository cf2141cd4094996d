"""Two models on one device: what each gets alone, together by turns, and together without a common budget.

    python -m benchmarks.scheduling.two_models [--seconds 20] [--out FILE.json]

Two clients of each model keep asking for 16 samples of 128 tokens, so that the steps of both models are of 32 rows. A
window of `--seconds` is read from the servers' metrics: tokens a second (decode rows), seconds of the device, steps.

The arms: a server with both models, of which one has work (`alone`); then both (`turns`); then both while the small
one's work is of the priority batch (`turns, small in batch`); the same server with a weight of 3 for the big model; and
two servers of one model each on the same cores, first one after the other, then together (`oversubscribed`).

`worth` adds what each model gets over what it gets alone: 1 is a device shared without loss. `between_steps_ms` is what
passes between two steps of the device, in milliseconds: the engine's own work and, with turns, handing over. `turn_ms`
is what a turn costs of itself, see benchmarks.scheduling.turns.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.decode import PROMPT
from benchmarks.load.scrape import Scraper
from benchmarks.record import provenance, write
from benchmarks.scheduling import turns
from benchmarks.scheduling.crowd import load
from benchmarks.server import free_port, own_server
from engine.exposition import Book, grown, total

_MODELS = {"small": "smollm2-135m-instruct", "big": "qwen2.5-coder-0.5b-instruct"}
_CLIENTS, _SAMPLES, _TOKENS = 2, 16, 128
_HEAVY = 3
_WARM_ROWS = 640
_TURNS = 2000


@dataclass(frozen=True, slots=True)
class Place:
    """A server and its metrics."""

    address: str
    metrics: str


def asked(model: str, priority: str, seed: int) -> list[dict[str, Any]]:
    """Solves whose samples go on to the last token, hardly two of which agree; judging them takes next to nothing."""
    sampling = {
        "k": _SAMPLES,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_new_tokens": _TOKENS,
        "keep_after_program": True,
        "seed": seed,
    }
    one = {"prompt": PROMPT, "tests": ["assert True"], "policy": "all", "priority": priority, "sampling": sampling}
    return [{**one, "model": _MODELS[model]}]


@contextmanager
def serving(folder: Path, names: list[str], weights: dict[str, float]) -> Generator[Place]:
    """A server of these models."""
    config = folder / "two.toml"
    tables = (f'[[engine.shares]]\nmodel = "{_MODELS[name]}"\nweight = {weight}\n' for name, weight in weights.items())
    config.write_text("".join(tables))
    metrics = f"127.0.0.1:{free_port()}"
    models = [word for name in names for word in ("--model", _MODELS[name])]
    with own_server("--config", str(config), "--metrics", metrics, *models) as server:
        yield Place(server.address, metrics)


async def window(places: dict[str, Place], priorities: dict[str, str], seconds: float) -> dict[str, Any]:
    """So long with clients of the models in `priorities`; `places`: where each model is served."""
    clients: list[Any] = []
    for name, priority in priorities.items():
        for number in range(_CLIENTS):
            document = asked(name, priority, number)
            clients.append(load(places[name].address, {f"{name} {number}": document}))
    scrapers = {name: Scraper(places[name].metrics) for name in priorities}
    for client in clients:
        await client.__aenter__()
    try:
        await _warm(scrapers)
        began, before = time.monotonic(), {name: await scraper.scrape() for name, scraper in scrapers.items()}
        await asyncio.sleep(seconds)
        after = {name: await scraper.scrape() for name, scraper in scrapers.items()}
        lasted = time.monotonic() - began
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
    return figures({name: grown(before[name], after[name]) for name in priorities}, lasted)


async def _warm(scrapers: dict[str, Scraper]) -> None:
    """Until all models have long computed rows: their prompts are there."""
    start = {name: _rows(name, await scraper.scrape()) for name, scraper in scrapers.items()}
    while True:
        await asyncio.sleep(1.0)
        found = [_rows(name, await scraper.scrape()) - start[name] for name, scraper in scrapers.items()]
        if min(found) >= _WARM_ROWS:
            return


def _rows(name: str, book: Book) -> float:
    return total(book, "thresher_rows_computed_total", model=_MODELS[name])


def figures(books: dict[str, Book], seconds: float) -> dict[str, Any]:
    """What the models did in so many seconds, by what their servers' series have grown by."""
    found: dict[str, Any] = {}
    device = {name: total(book, "thresher_device_seconds_total", model=_MODELS[name]) for name, book in books.items()}
    steps = {name: total(book, "thresher_step_seconds_count", model=_MODELS[name]) for name, book in books.items()}
    for name, book in books.items():
        waited = total(book, "thresher_device_wait_seconds_total", model=_MODELS[name])
        found[name] = {
            "tokens_per_second": round(_rows(name, book) / seconds, 1),
            "step_ms": round(1000 * device[name] / max(1.0, steps[name]), 2),
            "device_share": round(device[name] / sum(device.values()), 4),
            "device_of_window": round(device[name] / seconds, 4),
            "waited_of_window": round(waited / seconds, 4),
        }
    between = (seconds - sum(device.values())) / max(1.0, sum(steps.values()))
    return {"seconds": round(seconds, 2), "models": found, "between_steps_ms": round(1000 * between, 3)}


def worth(together: dict[str, Any], alone: dict[str, dict[str, Any]]) -> float:
    """What the models get together, each over what it gets alone."""
    rates = {name: one["tokens_per_second"] for name, one in together["models"].items()}
    return round(sum(rate / alone[name]["models"][name]["tokens_per_second"] for name, rate in rates.items()), 3)


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """All arms."""
    arms: dict[str, Any] = {}
    plain, both = dict.fromkeys(_MODELS, "interactive"), list(_MODELS)

    def arm(name: str, places: dict[str, Place], priorities: dict[str, str]) -> dict[str, Any]:
        arms[name] = asyncio.run(window(places, priorities, seconds))
        print(name, arms[name], flush=True)
        return arms[name]

    with serving(folder, both, {}) as place:
        places = dict.fromkeys(both, place)
        alone = {name: arm(f"{name} alone", places, {name: "interactive"}) for name in both}
        arm("turns", places, plain)
        arm("turns, small in batch", places, {**plain, "small": "batch"})
    with serving(folder, both, {"big": _HEAVY}) as place:
        arm(f"turns, weights 1 and {_HEAVY}", dict.fromkeys(both, place), plain)
    with serving(folder, ["small"], {}) as small, serving(folder, ["big"], {}) as big:
        places = {"small": small, "big": big}
        single = {name: arm(f"{name} alone, a server of its own", places, {name: "interactive"}) for name in both}
        apart = arm("oversubscribed", places, plain)
    for name, found in arms.items():
        if name.startswith("turns"):
            found["worth"] = worth(found, alone)
    apart["worth"] = worth(apart, single)
    # Steps that overlap leave nothing between them.
    del apart["between_steps_ms"]
    return arms


def main(arguments: list[str]) -> int:
    """All arms, and the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling.two_models", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/two-models.json"))
    given = parser.parse_args(arguments)
    result: dict[str, Any] = {
        "experiment": "two models",
        "provenance": provenance(["python", "-m", "benchmarks.scheduling.two_models", *arguments]),
        "models": _MODELS,
        "weights": {"small": 1, "big": _HEAVY},
        "load_before": round(os.getloadavg()[0], 2),
        "turn_ms": round(asyncio.run(turns.measure(_TURNS)), 4),
    }
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        result["arms"] = measure(Path(folder), given.seconds)
    write(given.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
