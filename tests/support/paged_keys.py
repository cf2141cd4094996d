"""Keys and values in pages for tests of attention: what nobody owns is not a number."""

import numpy as np
import torch

from kernels.gpu.items import AttentionShape, Tiles


class PagedKeys:
    """Pools of `pages` pages whose slots are NaN until a segment takes them; pages are handed out in random order."""

    def __init__(self, shape: AttentionShape, pages: int, device: str, seed: int = 0) -> None:
        self.shape = shape
        self._generator = torch.Generator().manual_seed(seed)
        size = (pages, shape.kv_heads, shape.page_size, shape.head_dim)
        self.k = torch.full(size, torch.nan, dtype=shape.dtype, device=device)
        self.v = torch.full(size, torch.nan, dtype=shape.dtype, device=device)
        self._free = torch.randperm(pages, generator=self._generator).tolist()

    def normal(self, *size: int) -> torch.Tensor:
        """Random numbers of the shape's type."""
        values = torch.randn(*size, generator=self._generator)
        return values.to(self.k.device, self.shape.dtype)

    def segment(self, start: int, length: int) -> Tiles:
        """Tiles of new tokens at the positions start..start + length - 1, on pages of their own."""
        tiles: list[tuple[int, int, int]] = []
        at, size = start, self.shape.page_size
        while at < start + length:
            begin = at % size
            end = min(size, begin + start + length - at)
            page = self._free.pop()
            for pool in (self.k, self.v):
                pool[page, :, begin:end] = self.normal(self.shape.kv_heads, end - begin, self.shape.head_dim)
            tiles.append((page, begin, end))
            at += end - begin
        return np.array(tiles, np.int32).reshape(-1, 3)
