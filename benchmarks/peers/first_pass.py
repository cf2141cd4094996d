"""Until the first pass: our server, llama-server, vLLM and transformers on the same problems, with careful clients.

    python -m benchmarks.peers --setup                       # once: fetches and compiles the peers
    python -m benchmarks.peers.first_pass [--problems 60] [--out benchmarks/results/cpu/first-pass-race.json]
    python -m benchmarks.peers.pass_table                    # writes the table of docs/benchmarks.md

HumanEval's stubs as they are, at most 32 samples a problem, temperature 0.8, top-p 0.95, at most 256 tokens, no seed.
Peers stop at the strings of HumanEval's paper; the client draws a fixed number of samples at once, begins another as
one ends, has each judged at once in our sandbox (a server of its own), equal texts once, and aborts all that is open at
the first pass. Ours is one call of Solve with the defaults. How many samples at once, and which arithmetic, is best for
a peer is tried first, on the problems that follow the race's. One problem after the other ("alone": what a user waits
for), and several at a time ("together": solved problems a second). Entries take turns, a few problems each; whoever has
no turn is stopped. A killed run goes on where it was; turns that are done stay, and those problems count that all
entries have been through.
"""

import argparse
import asyncio
import fcntl
import json
import signal
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from thresher.client import AsyncClient

from benchmarks.peers.contestants import MOST_AT_ONCE, Ours, peers_of
from benchmarks.peers.lane import LaneFailed
from benchmarks.peers.lanes import OURS, TEMPERATURE, TOP_P
from benchmarks.peers.pass_record import MODES, Entry, Mode, against, best, by_problem, summaries, turns, whole
from benchmarks.peers.passing import NEW_TOKENS, SAMPLES, STOPS, Contestant, Judge, Problem
from benchmarks.peers.setup import LLAMA, PEERS, Home, SetupFailed, default_folder
from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load
from engine.models.catalogue import fetch
from engine.text.model_text import read_model_text

_WARM_PROBLEM = 157
_SEGMENT = 10
_SLICE_SECONDS = 420.0
_TRIALS: dict[Mode, tuple[tuple[int, ...], int]] = {"alone": ((2, 8, 32), 4), "together": ((4, 8), 8)}
"""For tuning: widths and problems, which are those that follow the race's."""
_AS_ASKED = (32, 20)
"""The setting that time to first pass is traditionally told for: all samples at once, the first 20 problems."""


class Slices:
    """Nobody else measures during a turn: a file is locked as flock(1) would, for some minutes, then others get it."""

    def __init__(self, held: ExitStack, lock: Path | None) -> None:
        self._file = None if lock is None else held.enter_context(lock.open("w"))
        self._began: float | None = None

    @contextmanager
    def turn(self) -> Generator[None]:
        """Locked; the lock is given back after the turn in which the slice ends."""
        if self._file is None:
            yield
            return
        if self._began is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._began = time.monotonic()
        yield
        if time.monotonic() - self._began > _SLICE_SECONDS:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._began = None
            time.sleep(1)  # who waits has to wake up, and would come too late for a lock that is taken again at once


class Stand:
    """All contestants; they start with their first turn and then wait, stopped."""

    def __init__(self, held: ExitStack, together: int, slices: Slices) -> None:
        self.slices = slices
        self._held = held
        self._together = together
        self._running: set[int] = set()
        self.contestants: dict[tuple[str, Mode], Contestant] = {}

    def add(self, contestant: Contestant, *modes: Mode) -> None:
        """A contestant for turns of these modes."""
        self.contestants.update({(contestant.name, mode): contestant for mode in modes})
        self._held.callback(contestant.stop)

    async def turn(self, entry: Entry, problems: list[Problem], warm: Problem) -> dict[str, Any]:
        """Each problem once; the clock starts after the warm problem. Raises LaneFailed."""
        contestant = self.contestants[entry.name, entry.mode]
        if id(contestant) not in self._running:
            contestant.start()
            self._running.add(id(contestant))
        contestant.resume()
        await contestant.solve(warm, min(entry.width, SAMPLES))
        waiting, lines = list(reversed(problems)), list[dict[str, Any]]()

        async def work() -> None:
            while waiting:
                problem = waiting.pop()
                found = await contestant.solve(problem, entry.width)
                line = {"solved": found.solved, "seconds": round(found.seconds, 3), "finished": found.finished}
                lines.append({"problem": problem.name, **line})

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(self._together if entry.mode == "together" else 1)))
        wall = time.perf_counter() - began
        contestant.pause()
        return {"title": entry.title, "mode": entry.mode, "wall_s": round(wall, 3), "lines": lines}


def problems_of(folder: Path, model: Path, first: int, count: int) -> list[Problem]:
    """HumanEval's problems as the model is asked them."""
    tokenizer = read_model_text(model).tokenizer
    found: list[Problem] = []
    for document in load(folder, first, count):
        text = document["completion"]["text"]
        tokens = [*tokenizer.start_ids, *tokenizer.encode(text, special=False)]
        found.append(Problem(document["problem_id"], document, text, tokens, tuple(sorted(tokenizer.eos_ids))))
    return found


def entries_of(result: dict[str, Any], peers: dict[str, list[str]], problems: int) -> list[Entry]:
    """Ours, each peer at its best setting of each mode, and llama-server with all samples at once."""
    entries = [Entry(OURS, 0, mode, problems) for mode in MODES]
    for peer, names in peers.items():
        for mode in MODES:
            trial = best(result["trials"], names, mode)
            if trial is not None:
                entries.append(Entry(trial["name"], trial["width"], mode, problems))
                width, count = _AS_ASKED
                if peer == LLAMA and mode == "alone" and trial["width"] != width:
                    trials = [trial for trial in result["trials"] if trial["width"] == width]
                    widest = best(trials, names, mode) or trial
                    entries.append(Entry(widest["name"], width, mode, min(count, problems)))
    return list(dict.fromkeys(entries))


async def tune(stand: Stand, result: dict[str, Any], given: argparse.Namespace, model: Path, folder: Path) -> None:
    """Each peer in each arithmetic, at each width."""
    (warm,) = problems_of(folder, model, _WARM_PROBLEM, 1)
    done = {(trial["name"], trial["mode"], trial["width"]) for trial in result["trials"]}
    for name, mode in stand.contestants:
        widths, count = _TRIALS[mode]
        asked = problems_of(folder, model, given.problems, count)
        for width in widths:
            if name == OURS or name in result["failed"] or (name, mode, width) in done:
                continue
            if mode == "together" and width * given.together > MOST_AT_ONCE:
                continue
            entry = Entry(name, width, mode, count)
            if (turn := await _turn(stand, entry, asked, warm, result, given)) is not None:
                solved = sum(line["solved"] for line in turn["lines"])
                trial = {"name": name, "mode": mode, "width": width, "problems": count, "first": given.problems}
                result["trials"].append({**trial, "solved": solved, "wall_s": turn["wall_s"]})
                write(given.out, result)


async def race(stand: Stand, result: dict[str, Any], given: argparse.Namespace, model: Path, folder: Path) -> None:
    """The turns that are still to be taken."""
    (warm,) = problems_of(folder, model, _WARM_PROBLEM, 1)
    asked = problems_of(folder, model, 0, given.problems)
    entries = entries_of(result, result["contestants"], given.problems)
    entries = [entry for entry in entries if (entry.name, entry.mode) in stand.contestants]
    for entry, numbers in turns(entries, _SEGMENT, result["turns"]):
        if entry.name in result["failed"]:
            continue
        part = [asked[number] for number in numbers]
        if (turn := await _turn(stand, entry, part, warm, result, given)) is not None:
            commit = provenance([])["commit"][:10]
            result["turns"].append({"first": numbers.start, "commit": commit, **turn})
            running = [entry for entry in entries if entry.name not in result["failed"]]
            if counted := whole(running, _SEGMENT, result["turns"]):
                result["summary"] = summaries(counted)
                result["against"] = against(counted, OURS)
                result["first_pass_seconds"] = by_problem(counted)
            settings = stand.contestants[entry.name, entry.mode].settings
            result.setdefault("settings", {})[entry.name] = settings
            write(given.out, result)


async def _turn(
    stand: Stand,
    entry: Entry,
    problems: list[Problem],
    warm: Problem,
    result: dict[str, Any],
    given: argparse.Namespace,
) -> dict[str, Any] | None:
    """One turn; None if the contestant fails, which is written down and leaves it out from then on."""
    with stand.slices.turn():
        try:
            turn = await stand.turn(entry, problems, warm)
        except LaneFailed as error:
            say(f"{entry.title}: {error}")
            result["failed"][entry.name] = str(error)
            return None
    solved = sum(line["solved"] for line in turn["lines"])
    say(f"{entry.title}, {entry.mode}: {solved} of {len(problems)} solved in {turn['wall_s']:.1f} s")
    return turn


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def run(given: argparse.Namespace, result: dict[str, Any]) -> None:
    """Tune what is not tuned yet, then race."""
    folder, home, model = data_folder(given.data), Home(given.folder.resolve()), fetch(given.model)
    with ExitStack() as held:
        executor = held.enter_context(own_server("--executor-only"))
        async with AsyncClient(executor.address) as client:
            stand = Stand(held, given.together, Slices(held, given.lock))
            for mode in MODES:  # a server for each, which is asked for each problem once only
                stand.add(Ours(OURS, given.model), mode)
            for peer in given.peers:
                try:
                    if (why := home.why_missing(peer)) is not None:
                        raise SetupFailed(why)
                    found = [one for one in peers_of(home, peer, model, Judge(client)) if one.name not in given.skip]
                except SetupFailed as error:
                    say(f"{peer} is missing: {error}")
                    result["missing"][peer] = str(error)
                    continue
                result["missing"].pop(peer, None)
                result["peers"][peer] = home.made(peer)
                result["contestants"][peer] = [one.name for one in found]
                for contestant in found:
                    stand.add(contestant, *MODES)
            await tune(stand, result, given, model, folder)
            await race(stand, result, given, model, folder)


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.first_pass",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder of the problem sets (THRESHER_DATA)")
    parser.add_argument("--problems", type=int, default=60, help="HumanEval's first (%(default)s)")
    parser.add_argument("--together", type=int, default=4, help="problems at a time (%(default)s)")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--skip", nargs="+", default=[], help="contestants to leave out, such as 'vllm bf16'")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where the peers live (%(default)s)")
    parser.add_argument("--lock", type=Path, help="lock this file during each turn: others who do so measure between")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/first-pass-race.json"))
    given = parser.parse_args()
    # Processes that are stopped would outlive this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    protocol = {
        "problems": given.problems,
        "samples": SAMPLES,
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
        "new_tokens": NEW_TOKENS,
        "stops of the peers": STOPS,
        "problems together": given.together,
        "model": given.model,
    }
    result: dict[str, Any] = {
        "experiment": "first-pass-race",
        "protocol": json.loads(json.dumps(protocol)),
        "peers": {},
        "missing": {},
        "contestants": {},
        "trials": [],
        "turns": [],
    }
    if given.out.exists():
        before = json.loads(given.out.read_text())
        if before["protocol"] != result["protocol"]:
            raise SystemExit(f"{given.out} holds another race: name another file")
        result = before
    result |= {"failed": {}, "skipped": given.skip}
    result["provenance"] = provenance(["python", "-m", "benchmarks.peers.first_pass", *sys.argv[1:]])
    asyncio.run(run(given, result))
    write(given.out, result)
    print(json.dumps({"summary": result.get("summary"), "against": result.get("against")}, indent=2))


if __name__ == "__main__":
    main()
