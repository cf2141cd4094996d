"""Which tokens of a step see which slots, as flat arrays for compiled code: made once, used by every layer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.core.types import Chunk, Slots, Step

GROUP = 64
"""Keys that attention takes at a time; see kernels.cpu.attention."""


@dataclass(frozen=True, slots=True)
class StepLayout:
    """The tokens of a step in their order, rows that share a prompt side by side, then runs of more than one token.

    first: the number of each chunk's first token in that order. tokens, positions, writes (slots): [T] int64. slots:
    int32, parts of which `blocks` ([blocks, 5] int64: first token, tokens, offset and number of the slots that its
    tokens share, how many more each further token sees) and `own` ([T, 2] int64: offset and number of a token's own
    slots) name. Own slots begin at a position that is a multiple of 64, so the last of a prompt are own.
    """

    first: list[int]
    tokens: Tensor
    positions: Tensor
    writes: Tensor
    slots: Tensor
    blocks: Tensor
    own: Tensor


def lay_out(step: Step, block: int) -> StepLayout:
    """The layout of a step, in blocks of at most `block` tokens."""
    indices = range(len(step.chunks))
    rows = [index for index in indices if len(step.chunks[index].tokens) == 1]
    rows.sort(key=lambda index: id(step.chunks[index].prefix))
    order = [*rows, *(index for index in indices if len(step.chunks[index].tokens) > 1)]
    chunks = [step.chunks[index] for index in order]
    lengths = np.array([len(chunk.tokens) for chunk in chunks])
    ends = np.cumsum(lengths)
    parts: list[Slots] = []
    blocks: list[np.ndarray] = []
    own: list[np.ndarray] = []
    offset = _row_blocks(chunks[: len(rows)], block, parts, blocks, own)
    for chunk, end in zip(chunks[len(rows) :], ends[len(rows) :].tolist(), strict=True):
        offset = _run_blocks(chunk, end - len(chunk.tokens), block, offset, parts, blocks, own)
    return StepLayout(
        firsts(order, ends - lengths),
        torch.tensor([token for chunk in chunks for token in chunk.tokens]),
        torch.from_numpy(np.repeat([c.start for c in chunks] - (ends - lengths), lengths) + np.arange(ends[-1])),
        torch.from_numpy(np.concatenate([c.suffix[-len(c.tokens) :] for c in chunks]).astype(np.int64)),
        torch.from_numpy(np.concatenate(parts)),
        torch.from_numpy(np.concatenate(blocks)),
        torch.from_numpy(np.concatenate(own)),
    )


def firsts(order: list[int], starts: np.ndarray) -> list[int]:
    """Where each chunk of a step starts, of the places [chunks] where those of `order` start."""
    found = np.empty(len(order), np.int64)
    found[order] = starts
    return found.tolist()


def _row_blocks(
    rows: list[Chunk], block: int, parts: list[Slots], blocks: list[np.ndarray], own: list[np.ndarray]
) -> int:
    """Add the rows; returns the slots so far."""
    offset = 0
    first = 0
    while first < len(rows):
        prefix = rows[first].prefix
        last = first
        while last < len(rows) and rows[last].prefix is prefix:
            last += 1
        shared = len(prefix) // GROUP * GROUP
        parts.append(prefix[:shared])
        starts = np.arange(first, last, block)
        counts = np.minimum(block, last - starts)
        none = np.zeros_like(starts)
        blocks.append(np.stack([starts, counts, none + offset, none + shared, none], 1))
        offset += shared
        rest = prefix[shared:]
        suffixes = [row.suffix for row in rows[first:last]]
        lengths = np.array([len(rest) + len(suffix) for suffix in suffixes])
        own.append(np.stack([offset + np.cumsum(lengths) - lengths, lengths], 1))
        for suffix in suffixes:
            parts += (rest, suffix)
        offset += int(lengths.sum())
        first = last
    return offset


def _run_blocks(
    chunk: Chunk,
    first: int,
    block: int,
    offset: int,
    parts: list[Slots],
    blocks: list[np.ndarray],
    own: list[np.ndarray],
) -> int:
    """Add a run of tokens: they share all they see. Returns the slots so far."""
    count = len(chunk.tokens)
    parts += [chunk.prefix, chunk.suffix]
    starts = np.arange(0, count, block)
    one = np.ones_like(starts)
    blocks.append(
        np.stack([first + starts, np.minimum(block, count - starts), one * offset, chunk.start + starts + 1, one], 1)
    )
    own.append(np.zeros((count, 2), np.int64))
    return offset + chunk.start + count
