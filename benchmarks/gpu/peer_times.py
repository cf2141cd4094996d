"""The race on the grid: every contestant's time beside ours, and who is ahead."""

import time
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.contestants import CONTESTANTS, Contestant
from benchmarks.gpu.errors import relative, require
from benchmarks.gpu.problems import TINY, Mix, Model, Problem, decode_attention, grid, problem
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings, measure, sets

_FAR = 2e-2
"""Relative error at which another's result is not the same attention; bfloat16 outputs are 3e-3 apart."""

_MOST_BYTES = 40e9
"""Keys and values that a peer's own layout may take."""

_MOST_SECONDS = 110.0
"""A peer's share of the command's time, its compiling for each mix included; after it the peer is left out."""


def run(session: Session, found: Ceilings) -> None:
    """One row for each mix; who is slower than whom is told by `ahead` and `behind`."""
    absent = [one.name for one in CONTESTANTS if not one.installed]
    session.extra["not_installed"] = absent
    cases = [(TINY, Mix(2, 2, 64, 64))] if session.dry else grid(session)
    # Failures of others are told in their row; with a compiler that fails it is the same each time.
    broken: dict[str, str] = {}
    spent: dict[str, float] = {}
    for model, mix in cases:
        race = partial(_race, session, found, model, mix, broken, spent)
        session.case("race", {"model": model.name, **mix.about()}, race)
    session.extra["failed_peers"] = broken
    session.extra["peers_seconds"] = {name: round(seconds, 1) for name, seconds in spent.items()}


def _race(
    session: Session,
    found: Ceilings,
    model: Model,
    mix: Mix,
    broken: dict[str, str],
    spent: dict[str, float],
) -> dict[str, Any]:
    moved = mix.moved(model)
    laid_out = problem(session, model, mix, min(8, sets(session, moved)))
    attention = decode_attention(session, laid_out)
    out = torch.empty_like(laid_out.q)
    calls = [partial(attention.run, laid_out.q, k, v, out, laid_out.scale) for k, v in laid_out.pools]
    calls[0]()
    expected = out.clone()
    ours = measure(session, calls)
    floor = found.floor(moved, mix.operations(model))
    row: dict[str, Any] = {**ours.row("ours_us"), "floor_us": round(1e6 * floor, 2)}
    peers: dict[str, Any] = {}
    for peer in CONTESTANTS:
        if not peer.installed:
            continue
        copies = len(laid_out.pools)
        naive = "SDPA" in peer.name
        if naive:
            # Its own copies of each row's whole text are larger than any cache.
            copies = 1 if mix.moved_naively(model) > 3 * moved else copies
        if naive and mix.moved_naively(model) > _MOST_BYTES:
            peers[peer.name] = "left out: its copies do not fit"
            continue
        if spent.get(peer.name, 0.0) > _MOST_SECONDS and not session.dry:
            peers[peer.name] = f"left out: it has had its {_MOST_SECONDS:g} s of this command"
            continue
        began = time.monotonic()
        try:
            peers[peer.name] = _time(session, peer, laid_out, copies, expected)
        except Exception as error:  # a peer that does not run here is a result
            peers[peer.name] = f"failed: {type(error).__name__}: {error}"[:300]
            broken[peer.name] = peers[peer.name]
        spent[peer.name] = spent.get(peer.name, 0.0) + time.monotonic() - began
    times = {name: value["us"] for name, value in peers.items() if isinstance(value, dict)}
    require(bool(times), "no peer ran")
    row["best_peer"] = min(times, key=lambda name: times[name])
    row["times_faster_than_best"] = round(times[row["best_peer"]] / (1e6 * ours.median), 3)
    row["behind"] = sorted(name for name, us in times.items() if us < 1e6 * ours.median)
    return row | {"peers": peers}


def _time(session: Session, peer: Contestant, laid_out: Problem, copies: int, expected: torch.Tensor) -> dict[str, Any]:
    calls = [peer.prepare(laid_out, pool) for pool in range(copies)]
    far = relative(calls[0](), expected.double())
    require(far < _FAR, f"relative difference {far:.3g}: not the same attention")
    return {**measure(session, calls, peer=True).row(), "relative_difference": far}
