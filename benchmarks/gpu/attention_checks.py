"""Decode attention against float64 on the device: mixes, types, page sizes, poison, far pages, replays."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.errors import relative, require
from benchmarks.gpu.problems import DRY_MIX, HALF, SEVEN, TINY, Mix, Model, Problem, decode_attention, problem
from benchmarks.gpu.session import Session
from kernels.gpu.items import Run
from kernels.reference import decode_attention as reference
from kernels.reference_pages import keys_and_values

_MIXES = [
    Mix(1, 1, 300, 1),
    Mix(2, 8, 512, 0),
    Mix(3, 5, 129, 63),
    Mix(1, 64, 700, 40),
    Mix(1, 200, 90, 17),
    Mix(2, 12, 333, 30, 3, 70),
    Mix(1, 2, 5000, 300),
    Mix(2, 3, 0, 70),
]
_SMALL = [
    Model("g 8", 1, 8, 1, 64, 64, 64, 64),
    Model("g 6", 1, 12, 2, 128, 64, 64, 64),
    Model("g 1", 1, 4, 4, 64, 64, 64, 64),
]
_REPLAYS = 10_000


def run(session: Session) -> None:
    """Each mix for each shape; then what only needs one."""
    for model in [TINY] if session.dry else [SEVEN, HALF, *_SMALL]:
        for mix in [DRY_MIX] if session.dry else _MIXES:
            for page_size in [64] if session.dry else [16, 64]:
                for strict in (False, True):
                    for narrow in (False,) if strict else (False, True):
                        about: dict[str, Any] = {"model": model.name, **mix.about(), "page_size": page_size}
                        about |= {"strict": strict} | ({"suffix_bits": 8} if narrow else {})
                        session.case("attention", about, partial(_mix, session, model, mix, page_size, strict, narrow))
    session.case("attention", {"what": "the same in any step"}, partial(_any_step, session))
    if not session.dry:
        session.case("attention", {"what": "pages beyond 2**31"}, partial(_far, session))
        session.case("attention", {"what": f"{_REPLAYS:,} replays"}, partial(_replays, session))


def _poisoned(laid_out: Problem) -> None:
    """What no run names is NaN from here on."""
    k_pages, v_pages = laid_out.pools[0]
    owned, narrow = torch.zeros(2, k_pages.shape[0], k_pages.shape[2], dtype=torch.bool)
    for run in laid_out.runs:
        for place, (page, begin, end) in enumerate(run.tiles.tolist()):
            owned[page, begin:end] = True
            narrow[page, begin:end] = place >= len(run.tiles) - run.narrow
    owned, narrow = owned.to(k_pages.device), narrow.to(k_pages.device)
    k_pages.transpose(1, 2)[~owned] = torch.nan
    v_pages.transpose(1, 2)[~owned | narrow] = torch.nan
    scales = laid_out.scales[0]
    if scales is not None:
        scales.permute(0, 3, 1, 2)[~narrow] = torch.nan


def _plain(laid_out: Problem, rows: list[int]) -> Tensor:
    """The rows' attention as torch computes it in the type at hand, one head at a time."""
    outputs: list[Tensor] = []
    for row in rows:
        seen = [run for run in laid_out.runs if run.first <= row < run.first + run.rows]
        held = [keys_and_values(*laid_out.pools[0], laid_out.scales[0], run) for run in seen]
        k, v = (
            torch.cat(part).to(laid_out.q.dtype).transpose(0, 1).repeat_interleave(laid_out.shape.group, 0)
            for part in zip(*held, strict=True)
        )
        scores = (k @ laid_out.q[row][..., None])[..., 0] * laid_out.scale
        outputs.append((torch.softmax(scores, -1)[:, None] @ v)[:, 0])
    return torch.stack(outputs)


def _mix(session: Session, model: Model, mix: Mix, page_size: int, strict: bool, narrow: bool) -> dict[str, Any]:
    laid_out = problem(session, model, mix, 1, page_size, narrow=narrow)
    _poisoned(laid_out)
    (k_pages, v_pages), scales = laid_out.pools[0], laid_out.scales[0]
    out = torch.full_like(laid_out.q, torch.nan)
    lse = torch.full(laid_out.q.shape[:2], torch.nan, device=session.device)
    attention = decode_attention(session, laid_out, strict=strict)
    attention.run(laid_out.q, k_pages, v_pages, out, laid_out.scale, lse, scales)
    # A few rows of each solve: the reference takes them one at a time.
    rows = sorted({group * mix.k + row for group in range(mix.groups) for row in (0, mix.k // 2, mix.k - 1)})
    moved = [
        Run(at, 1, run.tiles, run.narrow)
        for at, row in enumerate(rows)
        for run in laid_out.runs
        if run.first <= row < run.first + run.rows
    ]
    expected, expected_lse = reference(laid_out.q[rows], k_pages, v_pages, moved, laid_out.scale, scales)
    found = out[rows]
    theirs = float((_plain(laid_out, rows).double() - expected).abs().max())
    ours = float((found.double() - expected).abs().max())
    rounding = torch.finfo(found.dtype).eps * float(expected.abs().max())
    off = float((lse[rows].double() - expected_lse).abs().max())
    far = relative(found, expected)
    require(bool(torch.isfinite(out).all()), "an output is no number")
    require(ours <= 2 * theirs + rounding, f"off by {ours:.3g} where torch is off by {theirs:.3g}")
    require(far <= 5e-3, f"relative error {far:.3g}")
    require(off <= 1e-3, f"the log-sum-exp is off by {off:.3g}")
    return {"error": ours, "torch_error": theirs, "relative_error": far, "lse_error": off}


def _any_step(session: Session) -> dict[str, Any]:
    """In strict mode a row's bits depend on no other row, on no place among them, and not on who launches."""
    model, mix = (TINY, Mix(2, 3, 70, 5)) if session.dry else (SEVEN, Mix(3, 80, 700, 100))
    laid_out = problem(session, model, mix, 1)
    solves = [list(range(group * mix.k, (group + 1) * mix.k)) for group in range(mix.groups)]
    mine = solves[1]
    whole = _strictly(session, laid_out, mine, graph=False)
    wrong: list[str] = []

    def compare(rows: list[int], what: str) -> None:
        for graph in [False] if session.dry else [False, True]:
            found = _strictly(session, laid_out, rows, graph=graph)
            differing = [
                row for at, row in enumerate(rows) if row in mine and not torch.equal(found[at], whole[mine.index(row)])
            ]
            if differing:
                wrong.append(f"{len(differing)} rows {what}{' in a graph' if graph else ''}")

    for row in mine[:: max(1, mix.k // 8)]:
        compare([row], f"alone (row {row})")
    compare(mine, "again")
    compare(mine[::-1], "in the other order")
    compare(mine[: mix.k // 2], "without half of their solve")
    compare([row for solve in solves for row in solve], "among all solves")
    compare([*solves[-1], *mine] if mix.groups > 2 else [*solves[0], *mine], "after another solve")
    require(not wrong, f"other bits than in a step of their solve alone: {'; '.join(wrong)}")
    return {"rows": mix.k}


def _strictly(session: Session, laid_out: Problem, rows: list[int], *, graph: bool) -> Tensor:
    """Attention, in strict mode, of a step of these rows; those of a solve stand side by side."""
    each = laid_out.mix.k
    solves = [row // each for row in rows]
    runs = [Run(solves.index(solve), solves.count(solve), laid_out.prompts[solve]) for solve in dict.fromkeys(solves)]
    runs += [Run(at, 1, laid_out.tails[row]) for at, row in enumerate(rows)]
    mix = Mix(1, len(rows), laid_out.mix.prompt, laid_out.mix.own)
    q = laid_out.q[rows].contiguous()
    step = Problem(laid_out.shape, mix, runs, laid_out.pools, q, [], [], laid_out.scales)
    out = torch.full_like(q, torch.nan)
    call = partial(decode_attention(session, step, strict=True).run, q, *laid_out.pools[0], out, laid_out.scale)
    call()
    if graph:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            call()
        out.fill_(torch.nan)
        captured.replay()
    return out


def _far(session: Session) -> dict[str, Any]:
    """Pages whose elements lie beyond 2**31 hold what near ones hold."""
    near = problem(session, HALF, Mix(1, 3, 100, 20), 1)
    out, far_out = torch.empty_like(near.q), torch.empty_like(near.q)
    decode_attention(session, near).run(near.q, *near.pools[0], out, near.scale)
    pages, *page = near.pools[0][0].shape
    beyond = 2**31 // int(np.prod(page)) + 1
    pools = [torch.empty(beyond + pages, *page, dtype=session.dtype, device=session.device) for _ in range(2)]
    for pool, source in zip(pools, near.pools[0], strict=True):
        pool[beyond:] = source
    shift = np.array([beyond, 0, 0], np.int32)
    runs = [Run(run.first, run.rows, run.tiles + shift) for run in near.runs]
    far = Problem(near.shape, near.mix, runs, [(pools[0], pools[1])], near.q, [], [], near.scales)
    decode_attention(session, far).run(far.q, *far.pools[0], far_out, far.scale)
    require(torch.equal(out, far_out), "far pages give other results")
    return {"first_page": beyond}


def _replays(session: Session) -> dict[str, Any]:
    """A graph gives the same bits each time."""
    laid_out = problem(session, SEVEN, Mix(4, 16, 1024, 100), 1)
    attention = decode_attention(session, laid_out)
    out = torch.empty_like(laid_out.q)
    call = partial(attention.run, laid_out.q, *laid_out.pools[0], out, laid_out.scale)
    call()
    first = out.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    differing = torch.zeros((), dtype=torch.int64, device=session.device)
    for _ in range(_REPLAYS):
        out.fill_(torch.nan)
        graph.replay()
        differing += ~(out == first).all()
    count = int(differing)
    require(count == 0, f"{count} of {_REPLAYS:,} replays gave other bits")
    return {"replays": _REPLAYS}
