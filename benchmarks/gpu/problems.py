"""What is measured: model shapes, mixes of solves, and their keys and values in pages with random content."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.session import Session
from kernels.gpu.attention import DecodeAttention
from kernels.gpu.items import AttentionShape, Capacity, Run, Tiles


@dataclass(frozen=True, slots=True)
class Model:
    """The shape of a decoder, as far as times depend on it."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    vocab: int

    @property
    def qkv(self) -> int:
        """Width of the QKV product."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def kv_bytes(self) -> int:
        """Bytes of a token's keys and values in one layer, in a type of two bytes."""
        return 4 * self.kv_heads * self.head_dim

    @property
    def narrow_kv_bytes(self) -> int:
        """The same of a token in 8 bits, with its scales."""
        return 2 * self.kv_heads * (self.head_dim + 4)

    @property
    def matmul_parameters(self) -> int:
        """Numbers in the matrices that every row is multiplied with, the LM head's among them."""
        layer = self.hidden * (self.qkv + self.heads * self.head_dim + 3 * self.intermediate)
        return self.layers * layer + self.hidden * self.vocab


SEVEN = Model("7b", 28, 28, 4, 128, 3584, 18944, 152_064)
HALF = Model("0.5b", 24, 14, 2, 64, 896, 4864, 151_936)
TINY = Model("tiny", 2, 2, 1, 64, 64, 96, 1500)


@dataclass(frozen=True, slots=True)
class Mix:
    """`groups` solves of `k` samples after a prompt of `prompt` tokens, each with `own` tokens of its own.

    forks: into how many branches each solve's samples have parted, `common` tokens ago; 1 and 0 for two levels.
    """

    groups: int
    k: int
    prompt: int
    own: int
    forks: int = 1
    common: int = 0

    @property
    def rows(self) -> int:
        return self.groups * self.k

    def about(self) -> dict[str, int]:
        """For a case's row."""
        two = {"G": self.groups, "k": self.k, "P": self.prompt, "S": self.own}
        return two | ({"forks": self.forks, "common": self.common} if self.forks > 1 else {})

    def moved(self, model: Model, *, narrow: bool = False) -> int:
        """Bytes of one layer: each key and value once, queries and outputs; `narrow`: drawn tokens in 8 bits."""
        drawn = self.groups * self.forks * self.common + self.rows * self.own
        each = model.narrow_kv_bytes if narrow else model.kv_bytes
        prompts = self.groups * self.prompt * model.kv_bytes
        return prompts + drawn * each + 4 * self.rows * model.heads * model.head_dim

    def moved_naively(self, model: Model) -> int:
        """Bytes of one layer if every row reads all that it sees."""
        seen = self.rows * (self.prompt + self.common + self.own)
        return seen * model.kv_bytes + 4 * self.rows * model.heads * model.head_dim

    def operations(self, model: Model) -> int:
        """Operations of one layer's attention."""
        return 4 * model.heads * model.head_dim * self.rows * (self.prompt + self.common + self.own)


GRID: dict[Model, list[Mix]] = {
    SEVEN: [
        Mix(1, 8, 512, 0), Mix(1, 16, 2048, 256), Mix(1, 64, 2048, 256), Mix(1, 256, 2048, 256),
        Mix(1, 256, 8192, 1024), Mix(4, 16, 2048, 256), Mix(4, 64, 2048, 256), Mix(8, 32, 1024, 256),
        Mix(16, 16, 1024, 256), Mix(16, 16, 8192, 256), Mix(32, 8, 2048, 256), Mix(4, 64, 8192, 1024),
    ],
    HALF: [
        Mix(1, 16, 2048, 256), Mix(1, 64, 2048, 256), Mix(1, 256, 2048, 256), Mix(4, 64, 2048, 256),
        Mix(16, 16, 8192, 256), Mix(4, 64, 8192, 1024),
    ],
}  # fmt: skip
"""Groups, samples, prompt and own tokens for which bounds were worked out before anything was measured."""

PROMPT_ALONE: dict[Model, list[Mix]] = {
    SEVEN: [Mix(1, 64, 8192, 0), Mix(1, 256, 2048, 0), Mix(1, 256, 8192, 0), Mix(4, 64, 8192, 0)],
    HALF: [Mix(1, 256, 8192, 0), Mix(4, 64, 8192, 0)],
}
"""Many samples of a prompt and nothing of their own: matrix products are the bound, as in no mix of the grid."""

THREE_LEVELS = [Mix(1, 64, 2048, 256, 8, 512), Mix(4, 64, 2048, 64, 8, 256)]

NARROW: list[tuple[Model, Mix]] = [
    (SEVEN, Mix(1, 64, 2048, 256)), (SEVEN, Mix(4, 64, 2048, 256)), (SEVEN, Mix(16, 16, 1024, 256)),
    (SEVEN, Mix(4, 64, 8192, 1024)), (HALF, Mix(4, 64, 2048, 256)), (HALF, Mix(4, 64, 8192, 1024)),
]  # fmt: skip
"""Those of the grid that are also timed with drawn tokens in 8 bits."""

DRY_MIX = Mix(2, 2, 70, 5)


def grid(session: Session) -> list[tuple[Model, Mix]]:
    """The cases of the grid; in a dry run one tiny one."""
    if session.dry:
        return [(TINY, DRY_MIX)]
    return [(model, mix) for model, mixes in GRID.items() for mix in mixes]


class Paths:
    """Pages handed out in random order."""

    def __init__(self, pages: int, page_size: int) -> None:
        self._free = np.random.default_rng(0).permutation(pages).tolist()
        self._size = page_size

    def segment(self, start: int, length: int) -> Tiles:
        """Tiles of tokens at the positions start..start + length - 1, on pages of their own."""
        first, last = start // self._size, -(-(start + length) // self._size)
        edges = np.arange(first, last) * self._size
        tiles = np.empty((last - first if length else 0, 3), np.int32)
        tiles[:, 0] = [self._free.pop() for _ in tiles]
        tiles[:, 1] = np.maximum(start - edges[: len(tiles)], 0)
        tiles[:, 2] = np.minimum(start + length - edges[: len(tiles)], self._size)
        return tiles


@dataclass(frozen=True, slots=True)
class Problem:
    """A mix laid out in pools; several pools alike, with other numbers in each.

    scales: of each pool, [pages, kv_heads, 2, page_size] float32, or None where nothing is narrow.
    """

    shape: AttentionShape
    mix: Mix
    runs: list[Run]
    pools: list[tuple[Tensor, Tensor]]
    q: Tensor
    prompts: list[Tiles]
    tails: list[Tiles]
    scales: list[Tensor | None]

    @property
    def scale(self) -> float:
        return self.shape.head_dim**-0.5


def problem(
    session: Session, model: Model, mix: Mix, copies: int, page_size: int = 64, *, narrow: bool = False
) -> Problem:
    """Random keys, values and queries for one layer of `model`; `copies` pools. `narrow`: drawn tokens in 8 bits."""
    shape = AttentionShape(model.heads, model.kv_heads, model.head_dim, page_size, session.dtype, narrow)

    def most(length: int) -> int:
        return -(-length // page_size) + 1 if length else 0

    pages = mix.groups * (most(mix.prompt) + mix.forks * most(mix.common)) + mix.rows * most(mix.own)
    paths = Paths(pages, page_size)
    runs: list[Run] = []
    prompts: list[Tiles] = []
    tails: list[Tiles] = []
    each = mix.k // mix.forks
    for group in range(mix.groups):
        first = group * mix.k
        prompts.append(paths.segment(0, mix.prompt))
        runs.append(Run(first, mix.k, prompts[-1]))
        if mix.forks > 1:
            for fork in range(mix.forks):
                common = paths.segment(mix.prompt, mix.common)
                runs.append(Run(first + fork * each, each, common, len(common) * narrow))
        for row in range(first, first + mix.k):
            tails.append(paths.segment(mix.prompt + mix.common, mix.own))
            if mix.own:
                runs.append(Run(row, 1, tails[-1], len(tails[-1]) * narrow))
    size = (pages, model.kv_heads, page_size, model.head_dim)
    pools = [(_random(session, size), _random(session, size)) for _ in range(copies)]
    q = _random(session, (mix.rows, model.heads, model.head_dim))
    laid_out = Problem(shape, mix, runs, pools, q, prompts, tails, [None] * copies)
    if narrow:
        laid_out.scales[:] = [_scales(session, (pages, model.kv_heads, 2, page_size)) for _ in pools]
        for k_pages, _ in pools:
            _fill_narrow(k_pages, runs)
    return laid_out


def decode_attention(session: Session, laid_out: Problem, *, strict: bool = False) -> DecodeAttention:
    """Attention with the problem's items loaded, and no more room than they need."""
    rows = laid_out.mix.rows
    planner = DecodeAttention(laid_out.shape, Capacity(rows, 1, 1, 1), session.device, strict=strict)
    items = planner.plan(laid_out.runs, rows)
    capacity = Capacity(rows, len(items.items), len(items.tiles), len(items.places))
    attention = DecodeAttention(laid_out.shape, capacity, session.device, strict=strict)
    attention.load(items)
    return attention


def _scales(session: Session, size: tuple[int, ...]) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device=session.device).uniform_(0.01, 0.02)


def _fill_narrow(k_pages: Tensor, runs: list[Run]) -> None:
    """Random integers from -127 to 127 for all narrow slots."""
    codes = k_pages.view(torch.int8)
    narrow = torch.zeros(k_pages.shape[0], k_pages.shape[2], dtype=torch.bool)
    for run in runs:
        for page, begin, end in run.tiles[len(run.tiles) - run.narrow :].tolist():
            narrow[page, begin:end] = True
    where = narrow.to(k_pages.device)[:, None, :, None]
    codes.copy_(torch.where(where, torch.randint_like(codes, -127, 128), codes))


def _random(session: Session, size: tuple[int, ...]) -> Tensor:
    return torch.empty(size, dtype=session.dtype, device=session.device).normal_()
