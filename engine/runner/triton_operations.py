"""A GPU step's operations by the kernels of kernels.gpu, over tables that grow when a step does not fit."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kernels.gpu.attention import DecodeAttention
from kernels.gpu.batch import Batch
from kernels.gpu.items import AttentionShape, Capacity, Items, Run
from kernels.gpu.norm import add_norm
from kernels.gpu.place import place
from kernels.gpu.prefill import prefill_tiling
from kernels.gpu.prefill_choice import Prefill, choose_prefill
from kernels.gpu.swiglu import swiglu
from kernels.gpu.tiling import Tiling, tiling

MakePrefill = Callable[[AttentionShape, Capacity, torch.device], Prefill]

_PREFILL = Capacity(rows=8192, items=4096, tiles=16384, slots=0)

_ROWS_MORE = 64


class TritonOperations:
    """One device; see engine.runner.operations.Operations."""

    def __init__(
        self,
        shape: AttentionShape,
        device: torch.device,
        make_prefill: MakePrefill = choose_prefill,
        batch: Batch | None = None,
    ) -> None:
        """`make_prefill`: chooses the attention of prefill, by measuring if nothing else is given. `batch`: what copies
        the tables of decode rows to the device."""
        self._batch = batch
        self._shape = shape
        self._device = device
        # Few rows are computed in other blocks than many.
        self._tables: dict[Tiling, DecodeAttention] = {}
        self._decode: DecodeAttention | None = None
        self._make_prefill = make_prefill
        self._prefill_room = _PREFILL
        self._prefill = make_prefill(shape, _PREFILL, device)

    def load(self, decode: Sequence[Run], rows: int, prefill: Sequence[Run], tokens: int) -> bool:
        """See Operations."""
        if prefill:
            self._load_prefill(prefill, tokens)
        if not rows:
            return False
        kind = tiling(self._shape, rows)
        table = self._tables.get(kind) or DecodeAttention(self._shape, _capacity(rows), self._device, batch=self._batch)
        items = table.plan(decode, rows)
        wanted = _room_for(items, rows, table.capacity)
        if wanted != table.capacity:
            table = DecodeAttention(self._shape, wanted, self._device, batch=self._batch)
            items = table.plan(decode, rows)
        grows = kind in self._tables and self._tables[kind] is not table
        self._decode = self._tables[kind] = table
        table.load(items)
        return grows

    def _load_prefill(self, runs: Sequence[Run], tokens: int) -> None:
        items = tokens * self._shape.group // prefill_tiling(self._shape).block + len(runs)
        counts = {"rows": tokens, "items": items, "tiles": sum(len(run.tiles) for run in runs)}
        room = self._prefill_room
        if more := {name: 2 * count for name, count in counts.items() if count > getattr(room, name)}:
            self._prefill_room = replace(room, **more)
            self._prefill = self._make_prefill(self._shape, self._prefill_room, self._device)
        self._prefill.load(runs, tokens)

    def attend(
        self, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, rows: int, scales: Tensor | None = None
    ) -> None:
        """See Operations."""
        scale = self._shape.head_dim**-0.5
        if rows and self._decode is not None:
            self._decode.run(q[:rows], k_pages, v_pages, out[:rows], scale, scales=scales)
        if rows < len(q):
            self._prefill.run(q[rows:], k_pages, v_pages, out[rows:], scale, scales)

    place = staticmethod(place)
    add_norm = staticmethod(add_norm)
    swiglu = staticmethod(swiglu)


def _capacity(rows: int) -> Capacity:
    """Room for rows of some thousand tokens each, in few runs."""
    return Capacity(rows=rows, items=max(1024, 16 * rows), tiles=max(4096, 64 * rows), slots=max(1024, 16 * rows))


def _room_for(items: Items, rows: int, capacity: Capacity) -> Capacity:
    """A capacity for these items: the one there is, or one with more of what is too little."""
    counts = {"items": len(items.items), "tiles": len(items.tiles), "slots": len(items.places)}
    more = {name: 2 * count for name, count in counts.items() if count > getattr(capacity, name)}
    if rows > capacity.rows:
        more["rows"] = -(-rows // _ROWS_MORE) * _ROWS_MORE
    return replace(capacity, **more)
