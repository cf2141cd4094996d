"""A load test from its server to its files; a knee search goes on where it was stopped."""

import asyncio
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from thresher.client import ThresherError

from benchmarks.experiments.errors import CannotRun, RunFailed
from benchmarks.load.calls import Answer
from benchmarks.load.figures import Window, figures, in_time
from benchmarks.load.generator import Target
from benchmarks.load.knee import Wish, find
from benchmarks.load.knee_results import knee_page, knee_result
from benchmarks.load.loads import Load, Rate
from benchmarks.load.mix import Mix
from benchmarks.load.results import load_result, page_of
from benchmarks.load.run import Served, run, server_words
from benchmarks.load.trials import Trials
from benchmarks.record import provenance
from benchmarks.report.files import write_all
from benchmarks.server import free_port, own_server
from engine.cli._connection import read_token

_PATIENCE = 60.0
_KEPT = ("calls", "ends", "refusals", "offered_per_second", "solved_per_second", "goodput_per_second", "in_time")
"""What a run of a knee search keeps of its figures, with the percentiles."""


@contextmanager
def served(
    address: str | None,
    *,
    metrics: str | None,
    log: Path | None,
    token_file: Path | None,
    model: str,
    arithmetic: str,
) -> Generator[Served]:
    """The server to be asked: the one at `address`, or one that is started here and stopped afterwards.

    Raises CannotRun for options that do not go together and a server that does not start, ProblemError for a token that
    cannot be read, RunFailed if the server that was started here fails meanwhile.
    """
    if address is not None:
        if model or arithmetic != "auto":
            raise CannotRun(
                "--model and --arithmetic are of a server that is started here; leave out --server, or both"
            )
        yield Served(target=Target(address=address, token=read_token(token_file)), metrics=metrics, log=log)
        return
    if metrics or log or token_file:
        raise CannotRun("--metrics, --server-log and --token-file go with --server; a server of our own has them all")
    endpoint = f"127.0.0.1:{free_port()}"
    flags = ["--metrics", endpoint, "--arithmetic", arithmetic, *(["--model", model] if model else [])]
    held = ExitStack()
    try:
        own = held.enter_context(own_server(*flags))
    except RuntimeError as error:  # it tells what the server said
        raise CannotRun(str(error)) from error
    try:
        yield Served(target=Target(address=own.address), metrics=endpoint, log=own.log)
    except (RunFailed, ThresherError) as error:
        raise RunFailed(f"{error}\nthe server's log ends with:\n{own.log.read_text()[-4000:]}") from error
    finally:
        # Not with the exception: own_server would put the server's log below what is no fault of the server.
        try:
            held.close()
        except RuntimeError as error:
            raise RunFailed(str(error)) from error


def one_run(
    asked: Served, mix: Mix, load: Load, *, protocol: Mapping[str, Any], out: Path, command: Sequence[str]
) -> dict[str, Any]:
    """Put a load on and write OUT.json, .md and .html, and each call to OUT.calls.jsonl as it ends."""
    slo, warm_up = float(protocol["slo_seconds"]), float(protocol["warm_up_seconds"])
    whole = {"load": load.protocol, **protocol, "server": asyncio.run(server_words(asked))}
    calls = out.with_suffix(".calls.jsonl")
    calls.parent.mkdir(parents=True, exist_ok=True)
    with calls.open("w", encoding="utf-8") as file:

        def keep(answer: Answer) -> None:
            file.write(json.dumps(answer.plain()) + "\n")
            file.flush()

        ran = asyncio.run(
            run(
                asked,
                mix,
                load,
                seed=int(protocol["seed"]),
                patience=float(protocol["patience_seconds"]),
                title="load",
                slo=slo,
                on_answer=keep,
            )
        )
    window = Window(first=warm_up, last=load.seconds)
    result = load_result(whole, ran, window, slo, provenance(list(command)))
    write_all(out, result, page_of)
    return result


def find_knee(
    asked: Served,
    mix: Mix,
    wish: Wish,
    *,
    protocol: Mapping[str, Any],
    seconds: float,
    out: Path,
    command: Sequence[str],
) -> dict[str, Any]:
    """Search for the knee and write OUT.json, .md and .html; its runs are in OUT.runs.jsonl, from which it goes on."""
    slo, warm_up, seed = float(protocol["slo_seconds"]), float(protocol["warm_up_seconds"]), int(protocol["seed"])
    wished = {"share": wish.share, "low": wish.low, "high": wish.high, "precision": wish.precision, "runs": wish.runs}
    whole = {"wish": wished, "seconds_of_a_run": seconds, **protocol, "server": asyncio.run(server_words(asked))}
    trials = Trials(out.with_suffix(".runs.jsonl"), whole)

    async def trial(rate: float, number: int) -> Sequence[bool]:
        if (before := trials.get(rate, number)) is not None:
            return [hit == "1" for hit in before["hits"]]
        load = Rate(rate=rate, seconds=warm_up + seconds)
        title = f"{rate:g} calls/s, run {number + 1}"
        ran = await run(asked, mix, load, seed=seed + 1000 * number, patience=_PATIENCE, title=title, slo=slo)
        window = Window(first=warm_up, last=warm_up + seconds)
        found = figures(ran.answers, window, slo)
        hits = in_time(window.of(ran.answers), slo)
        latencies = {name: value for name, value in found["time_to_first_pass"].items() if name != "hdr"}
        books = {"agree": None} if ran.books is None else ran.books.plain()
        books.pop("clients_and_server", None)
        kept = {name: found[name] for name in _KEPT}
        text = "".join("1" if hit else "0" for hit in hits)
        trials.add(rate, number, {**kept, "time_to_first_pass": latencies, "books": books, "hits": text})
        return hits

    knee = asyncio.run(find(wish, trial))
    result = knee_result(whole, knee, trials.all, provenance(list(command)))
    write_all(out, result, knee_page)
    return result
