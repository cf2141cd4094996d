"""Paged attention of one step on a CPU: many solves, each with a prompt that its rows share.

Rows of one solve see the prompt's keys in one product (Juravsky et al., "Hydragen", 2024); the tokens after the prompt
are gathered row by row into one padded batch; the two parts are put together by their log-sum-exp in float32.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.core.types import Chunk, Step
from engine.runner.layout_cpu import firsts

_LEAST_SHARED_ROWS = 3
"""Below this many rows a solve's prompt is gathered for each of them: one product more costs more than the copies."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # the only CPU attention that returns its lse


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows [first, last) share the keys at `prefix` ([P] int32 slots)."""

    first: int
    last: int
    prefix: Tensor


@dataclass(frozen=True, slots=True)
class _Run:
    """Tokens [first, last) of the step are one chunk; `path` ([L] int32) are the slots of all it sees, itself
    included."""

    first: int
    last: int
    path: Tensor
    mask: Tensor | None  # [n, L] bool; None: the chunk is the whole path


class StepAttention:
    """The layout of one step: made once, used by every layer.

    Rows come first, those that share a prompt side by side; then the chunks of more than one token. `tokens` and
    `positions` ([T] int64) follow that order; `first` is the number of each chunk's first token in it.
    """

    def __init__(self, step: Step, dtype: torch.dtype) -> None:
        rows = [index for index, chunk in enumerate(step.chunks) if len(chunk.tokens) == 1]
        runs = [index for index, chunk in enumerate(step.chunks) if len(chunk.tokens) > 1]
        rows.sort(key=lambda index: id(step.chunks[index].prefix))
        order = [*rows, *runs]
        chunks = [step.chunks[index] for index in order]
        lengths = np.array([len(chunk.tokens) for chunk in chunks])
        ends = np.cumsum(lengths)
        self.tokens = torch.tensor([token for chunk in chunks for token in chunk.tokens])
        self.positions = torch.from_numpy(np.concatenate([c.start + np.arange(len(c.tokens)) for c in chunks]))
        self.first = firsts(order, ends - lengths)
        self._writes = torch.from_numpy(np.concatenate([c.suffix[-len(c.tokens) :] for c in chunks]).astype(np.int64))
        self._rows = len(rows)
        self._groups, paths = _group(chunks[: len(rows)])
        self._suffix, self._bias = _pad(paths, dtype)
        self._runs = [
            _run(chunk, int(end) - len(chunk.tokens), int(end))
            for chunk, end in zip(chunks[len(rows) :], ends[len(rows) :], strict=True)
        ]

    def attend(self, pool: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write k and v into the pool's layer and attend.

        pool: [slots, 2, kv_heads, d]; q: [T, heads, d]; k, v: [T, kv_heads, d]. Returns [T, heads * d].
        """
        pool.index_copy_(0, self._writes, torch.stack((k, v), dim=1))
        output = torch.empty_like(q, memory_format=torch.contiguous_format)
        if self._rows:
            self._attend_rows(pool, q[: self._rows], output[: self._rows])
        for run in self._runs:
            seen = pool.index_select(0, run.path)
            output[run.first : run.last] = F.scaled_dot_product_attention(
                q[run.first : run.last].transpose(0, 1)[None],
                seen[:, 0].transpose(0, 1)[None],
                seen[:, 1].transpose(0, 1)[None],
                attn_mask=run.mask,
                is_causal=run.mask is None,
                enable_gqa=True,
            )[0].transpose(0, 1)
        return output.flatten(1)

    def _attend_rows(self, pool: Tensor, q: Tensor, output: Tensor) -> None:
        rows, heads, dim = q.shape
        kv_heads = pool.shape[2]
        folded = q.unflatten(1, (kv_heads, heads // kv_heads))  # [rows, kv_heads, g, d]
        own = pool.index_select(0, self._suffix.view(-1)).view(rows, -1, 2, kv_heads, dim)
        bias = self._bias.expand(rows, 1, heads // kv_heads, own.shape[1])
        result, lse = _flash(folded, own[:, :, 0].transpose(1, 2), own[:, :, 1].transpose(1, 2), attn_mask=bias)
        target = output.unflatten(1, (kv_heads, heads // kv_heads))
        target.copy_(result)
        for group in self._groups:
            shared = pool.index_select(0, group.prefix)
            members = folded[group.first : group.last].transpose(0, 1).flatten(1, 2)[None]
            prompt, prompt_lse = _flash(members, shared[:, 0].transpose(0, 1)[None], shared[:, 1].transpose(0, 1)[None])
            count = group.last - group.first
            prompt = prompt[0].unflatten(1, (count, -1)).transpose(0, 1)  # [rows, kv_heads, g, d]
            prompt_lse = prompt_lse[0].unflatten(1, (count, -1)).transpose(0, 1)
            own_lse = lse[group.first : group.last]
            weight = torch.sigmoid(own_lse.float() - prompt_lse.float())[..., None]
            mine = result[group.first : group.last].float()
            target[group.first : group.last] = torch.lerp(prompt.float(), mine, weight).to(output.dtype)


def _group(rows: list[Chunk]) -> tuple[list[_Group], list[np.ndarray]]:
    """Groups of rows with one prompt, and for each row the slots that it sees by itself."""
    groups: list[_Group] = []
    paths: list[np.ndarray] = []
    first = 0
    while first < len(rows):
        prefix = rows[first].prefix
        last = first
        while last < len(rows) and rows[last].prefix is prefix:
            last += 1
        members = rows[first:last]
        if len(prefix) and len(members) >= _LEAST_SHARED_ROWS:
            groups.append(_Group(first, last, torch.from_numpy(prefix)))
            paths += [row.suffix for row in members]
        else:
            paths += [np.concatenate([row.prefix, row.suffix]) for row in members]
        first = last
    return groups, paths


def _pad(paths: list[np.ndarray], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Slots as one matrix [rows, longest] int32, and the bias [rows, 1, 1, longest] that hides the filling."""
    lengths = np.array([len(path) for path in paths], np.int32)
    longest = int(lengths.max(initial=0))
    inside = np.arange(longest, dtype=np.int32) < lengths[:, None]
    slots = np.zeros((len(paths), longest), np.int32)
    if paths:
        slots[inside] = np.concatenate(paths)
    # Slot 0 fills the gaps; what lies there is finite, and the bias takes its weight away.
    bias = torch.zeros(inside.shape, dtype=dtype).masked_fill_(torch.from_numpy(~inside), -torch.inf)
    return torch.from_numpy(slots), bias[:, None, None, :]


def _run(chunk: Chunk, first: int, last: int) -> _Run:
    path = torch.from_numpy(np.concatenate([chunk.prefix, chunk.suffix]))
    if chunk.start == 0:
        return _Run(first, last, path, None)
    count = last - first
    mask = torch.ones(count, len(path), dtype=torch.bool).tril(diagonal=len(path) - count)
    return _Run(first, last, path, mask)
