"""One model through all lanes, in turns: each lane once a round, the others stopped meanwhile.

Everybody gets the same token ids and draws k samples of exactly as many new tokens, with nothing of the prompt cached.
Before the clock counts, each lane draws a little at the same k.
"""

import statistics
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.peers.lane import Drawn, Lane, LaneFailed, Work

_WARM_TOKENS = 4
_GREEDY_TOKENS = 32


class Race:
    """The lanes of one model; the first is ours. What fails is left out from then on, with its reason in `failed`."""

    def __init__(self, lanes: Sequence[Lane], say: Callable[[str], None]) -> None:
        self._running = list(lanes)
        self._ours = lanes[0]
        self._say = say
        self.failed: dict[str, str] = {}
        self._entries: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Start every lane, one after another, and stop it until its turn comes."""
        for lane in list(self._running):
            with self._turn(lane, started=False):
                seconds = lane.start()
                self._entries[lane.name] = {"peer": lane.peer, "sampler": lane.sampler, "start_s": round(seconds, 2)}
                self._say(f"{lane.name}: ready after {seconds:.1f} s")

    def compare(self, prompt: list[int]) -> None:
        """How many greedy tokens each lane has in common with ours before the first that differs."""
        ours: list[int] | None = None
        for lane in list(self._running):
            with self._turn(lane):
                tokens = lane.greedy(prompt, _GREEDY_TOKENS)
                ours = tokens if lane is self._ours else ours
                if tokens is not None and ours is not None:
                    self._entries[lane.name]["greedy_as_ours"] = f"{agreement(ours, tokens)} of {_GREEDY_TOKENS}"

    def run(self, prompt: list[int], k: int, new_tokens: int, rounds: int) -> None:
        """Warm up, then draw in turns."""
        for lane in list(self._running):
            with self._turn(lane):
                lane.draw(Work(prompt=prompt, k=k, new_tokens=min(_WARM_TOKENS, new_tokens), room=new_tokens))
        drawn: dict[str, list[Drawn]] = {lane.name: [] for lane in self._running}
        for number in range(rounds):
            order = list(self._running)
            for lane in order if number % 2 == 0 else reversed(order):
                with self._turn(lane):
                    found = lane.draw(Work(prompt=prompt, k=k, new_tokens=new_tokens))
                    drawn[lane.name].append(found)
                    rate = found.tokens / found.seconds
                    self._say(f"k = {k}, round {number + 1} of {rounds}: {lane.name}: {rate:.1f} tokens/s")
        for lane in self._running:
            self._entries[lane.name].setdefault("k", {})[str(k)] = figures(drawn[lane.name])

    def stop(self) -> None:
        """End all lanes."""
        for lane in self._running:
            lane.stop()

    def result(self) -> dict[str, Any]:
        """All figures, and ours over each peer's."""
        lanes = {lane.name: self._entries[lane.name] | {"settings": lane.settings} for lane in self._running}
        return {"lanes": lanes, "ratios": ratios(lanes, self._ours.name), "failed": self.failed}

    @contextmanager
    def _turn(self, lane: Lane, *, started: bool = True) -> Generator[None]:
        try:
            if started:
                lane.resume()
            yield
            lane.pause()
        except LaneFailed as error:
            self._say(f"{lane.name}: {error}")
            if lane is self._ours:
                raise
            self.failed[lane.name] = str(error)
            self._running.remove(lane)
            lane.stop()


def agreement(one: list[int], other: list[int]) -> int:
    """The length of the common beginning."""
    same = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        same += 1
    return same


def figures(drawn: list[Drawn]) -> dict[str, Any]:
    """The medians of the rounds. Memory is the most of all rounds; the rate after the prompt is left out where the
    engine does not say it."""
    rates = [found.tokens / found.seconds for found in drawn]
    entry: dict[str, Any] = {
        "tokens_per_second": round(statistics.median(rates), 1),
        "each_round": [round(rate, 1) for rate in rates],
        "first_sample_s": round(statistics.median(found.seconds for found in drawn), 3),
        "tokens": drawn[0].tokens,
        "resident_mib": max(found.resident_mib for found in drawn),
    }
    decoding = [found.decode_rate for found in drawn if found.decode_rate is not None]
    if decoding:
        entry["decode_tokens_per_second"] = round(statistics.median(decoding), 1)
    return entry


def ratios(lanes: dict[str, dict[str, Any]], ours: str) -> dict[str, dict[str, dict[str, float]]]:
    """By k and peer's lane: ours over theirs, of the whole and, where both have it, of decoding alone."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for k, mine in lanes[ours].get("k", {}).items():
        found[k] = {}
        for name, lane in lanes.items():
            theirs = lane["k"][k]
            if lane["peer"] == lanes[ours]["peer"]:
                continue
            both = [key for key in ("tokens_per_second", "decode_tokens_per_second") if key in mine and key in theirs]
            found[k][name] = {key: round(mine[key] / theirs[key], 2) for key in both}
    return found
