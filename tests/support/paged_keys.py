"""Keys and values in pages for tests of attention: what nobody owns is not a number."""

import numpy as np
import torch

from kernels.gpu.items import AttentionShape, Run, Tiles
from kernels.reference_pages import keys_and_values, put_narrow


class PagedKeys:
    """Pools of `pages` pages whose slots are NaN until a segment takes them; pages are handed out in random order."""

    def __init__(self, shape: AttentionShape, pages: int, device: str, seed: int = 0) -> None:
        self.shape = shape
        self._generator = torch.Generator().manual_seed(seed)
        size = (pages, shape.kv_heads, shape.page_size, shape.head_dim)
        self.k = torch.full(size, torch.nan, dtype=shape.dtype, device=device)
        self.v = torch.full(size, torch.nan, dtype=shape.dtype, device=device)
        scales = torch.full((*size[:2], 2, shape.page_size), torch.nan, device=device)
        self.scales = scales if shape.narrow else None
        self._free = torch.randperm(pages, generator=self._generator).tolist()

    def normal(self, *size: int) -> torch.Tensor:
        """Random numbers of the shape's type."""
        values = torch.randn(*size, generator=self._generator)
        return values.to(self.k.device, self.shape.dtype)

    def segment(self, start: int, length: int, *, narrow: bool = False, page: int | None = None) -> Tiles:
        """Tiles of new tokens at the positions start..start + length - 1, on pages of their own but for the first one
        if `page` is given; `narrow`: in 8 bits."""
        tiles: list[tuple[int, int, int]] = []
        at, size = start, self.shape.page_size
        while at < start + length:
            begin = at % size
            end = min(size, begin + start + length - at)
            page = self._free.pop() if page is None or at > start else page
            self._fill(page, begin, end, narrow)
            tiles.append((page, begin, end))
            at += end - begin
        return np.array(tiles, np.int32).reshape(-1, 3)

    def _fill(self, page: int, begin: int, end: int, narrow: bool) -> None:
        size = (self.shape.kv_heads, end - begin, self.shape.head_dim)
        if narrow:
            assert self.scales is not None
            slots = torch.arange(begin, end, device=self.k.device) + page * self.shape.page_size
            k, v = (self.normal(*size).transpose(0, 1) for _ in range(2))
            put_narrow(self.k, self.scales, slots, k, v)
            return
        for pool in (self.k, self.v):
            pool[page, :, begin:end] = self.normal(*size)

    def of(self, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values that a run's tiles stand for, [tokens, kv_heads, d] in the shape's type."""
        k, v = keys_and_values(self.k, self.v, self.scales, run)
        return k.to(self.shape.dtype), v.to(self.shape.dtype)
