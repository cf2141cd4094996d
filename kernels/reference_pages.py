"""What pages hold, in plain torch: keys and values in their own type, and those of narrow tokens in 8 bits.

Pools of keys and of values are [pages, kv_heads, page_size, d]. Of a narrow token the keys, and the values, of one head
are d integers from -127 to 127 times a scale: the largest magnitude among them / 127 (symmetric, a scale for each token
and head, as in vLLM's int8 caches). Its slot in the pool of keys, 2 d bytes or more, holds both side by side, keys
first, so that a step reads one piece of 2 d bytes for it instead of two; its slot in the pool of values holds nothing.
The scales have a pool of their own, [pages, kv_heads, 2, page_size] float32: those of the keys, then of the values.
"""

import torch
from torch import Tensor

from kernels.gpu.items import Run, Tiles


def gather(pages: Tensor, tiles: Tiles) -> Tensor:
    """The slots that `tiles` names, in order, of a pool [pages, kv_heads, page_size, d]: [tokens, kv_heads, d]."""
    parts = [pages[page, :, begin:end].transpose(0, 1) for page, begin, end in tiles.tolist()]
    return torch.cat(parts) if parts else pages.new_empty(0, pages.shape[1], pages.shape[3])


def narrowed(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers [..., d] as (integers [..., d] int8, scales [...] float32); each is off by half a scale at most."""
    numbers = numbers.double()
    largest = numbers.abs().amax(dim=-1)
    factor = 127 / largest.clamp(min=1e-30)
    return torch.floor(numbers * factor[..., None] + 0.5).to(torch.int8), (largest / 127).float()


def put_narrow(k_pages: Tensor, scales: Tensor, slots: Tensor, k: Tensor, v: Tensor) -> None:
    """Store tokens' keys and values, [tokens, kv_heads, d], in `slots` [tokens]."""
    page_size, d = k_pages.shape[2:]
    pages, offsets = slots // page_size, slots % page_size
    for number, part in enumerate((k, v)):
        codes, scale = narrowed(part)
        k_pages.view(torch.int8)[pages, :, offsets, number * d : (number + 1) * d] = codes
        scales[pages, :, number, offsets] = scale


def keys_and_values(k_pages: Tensor, v_pages: Tensor, scales: Tensor | None, run: Run) -> tuple[Tensor, Tensor]:
    """What a run's tiles hold: keys and values [tokens, kv_heads, d] float64, in the order of the tiles."""
    wide = run.tiles[: len(run.tiles) - run.narrow]
    k, v = gather(k_pages, wide).double(), gather(v_pages, wide).double()
    if not run.narrow:
        return k, v
    if scales is None:
        raise ValueError("a run has narrow tiles, and there are no scales")
    narrow, d = run.tiles[len(wide) :], k_pages.shape[3]
    codes = gather(k_pages.view(torch.int8), narrow).double()
    k_scale, v_scale = gather(scales.transpose(2, 3), narrow).double().split(1, dim=2)
    return torch.cat([k, codes[..., :d] * k_scale]), torch.cat([v, codes[..., d : 2 * d] * v_scale])
