"""Others' decode attention on our problems: what each needs beforehand, and the call that is timed.

A contestant takes a problem and the number of one of its pools, and gives a call that returns the output [rows, heads,
head_dim]. Prompts and own tokens must fill whole pages: most peers know no other sharing. What they read is laid out
anew for each, outside of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.problems import Problem
from kernels.reference_pages import gather

Call = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A peer: the package it needs ("" for torch alone), and what makes its calls."""

    name: str
    package: str
    prepare: Callable[[Problem, int], Call]

    @property
    def installed(self) -> bool:
        return not self.package or find_spec(self.package) is not None


def _dense(laid_out: Problem, pool: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keys and values of prompts [groups, kv_heads, P, d] and of own tokens [rows, kv_heads, S, d]."""
    pools = laid_out.pools[pool]
    prompts = [torch.stack([gather(pages, tiles).transpose(0, 1) for tiles in laid_out.prompts]) for pages in pools]
    tails = [torch.stack([gather(pages, tiles).transpose(0, 1) for tiles in laid_out.tails]) for pages in pools]
    k, v, own_k, own_v = (tensor.contiguous() for tensor in (*prompts, *tails))
    return k, v, own_k, own_v


def _sdpa_per_sample(laid_out: Problem, pool: int) -> Call:
    """torch's attention over each row's whole text, as it is without sharing."""
    k, v, own_k, own_v = _dense(laid_out, pool)
    each = laid_out.mix.k
    keys = torch.cat([k.repeat_interleave(each, dim=0), own_k], dim=2)
    values = torch.cat([v.repeat_interleave(each, dim=0), own_v], dim=2)
    q = laid_out.q[:, :, None]

    def call() -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, keys, values, enable_gqa=True)[:, :, 0]

    return call


def _sdpa_packed(laid_out: Problem, pool: int) -> Call:
    """The same, with the query heads of a key head as rows of one product, as which flash attention takes them."""
    k, v, own_k, own_v = _dense(laid_out, pool)
    each, shape = laid_out.mix.k, laid_out.shape
    keys = torch.cat([k.repeat_interleave(each, dim=0), own_k], dim=2)
    values = torch.cat([v.repeat_interleave(each, dim=0), own_v], dim=2)
    q = laid_out.q.view(-1, shape.kv_heads, shape.group, shape.head_dim)

    def call() -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, keys, values).view(laid_out.q.shape)

    return call


def _hydragen(laid_out: Problem, pool: int) -> Call:
    """Juravsky et al. 2024 in plain torch: attention of a solve's rows over its prompt, and of each row over its own
    tokens, put together by their log-sum-exps."""
    k, v, own_k, own_v = _dense(laid_out, pool)
    mix, shape = laid_out.mix, laid_out.shape
    rows, heads, d = laid_out.q.shape
    grouped = laid_out.q.view(mix.groups, mix.k, shape.kv_heads, shape.group, d)
    own_q = laid_out.q.view(rows, shape.kv_heads, shape.group, d)

    def call() -> Tensor:
        packed = grouped.transpose(1, 2).reshape(mix.groups, shape.kv_heads, mix.k * shape.group, d)
        shared, lse = _with_lse(packed, k, v)
        shared = shared.view(mix.groups, shape.kv_heads, mix.k, shape.group, d).transpose(1, 2).reshape(rows, heads, d)
        if not mix.own:
            return shared
        lse = lse.view(mix.groups, shape.kv_heads, mix.k, shape.group).transpose(1, 2).reshape(rows, heads, 1)
        own, own_lse = _with_lse(own_q, own_k, own_v)
        share = torch.sigmoid(lse - own_lse.reshape(rows, heads, 1))
        return torch.lerp(own.reshape(rows, heads, d).float(), shared.float(), share).to(shared.dtype)

    return call


def _with_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention [b, h, n, d] and its natural log-sum-exp [b, h, n], float32."""
    if q.device.type == "cuda":
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)
        return out, lse
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    return out, lse


@cache
def _compiled_flex() -> Any:
    from torch._dynamo import config
    from torch.nn.attention.flex_attention import flex_attention

    # Each mix is a shape of its own; beyond the limit torch would run it uncompiled without a word.
    config.recompile_limit = 100
    config.fail_on_recompile_limit_hit = True
    return torch.compile(flex_attention)


def _flex(laid_out: Problem, pool: int) -> Call:
    """flex_attention over all keys side by side, blocks of which are left out where no row sees them."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    k, v, own_k, own_v = _dense(laid_out, pool)
    mix, shape, device = laid_out.mix, laid_out.shape, laid_out.q.device

    def flat(shared: Tensor, own: Tensor) -> Tensor:
        parts = [part.transpose(0, 1).reshape(1, shape.kv_heads, -1, shape.head_dim) for part in (shared, own)]
        return torch.cat(parts, dim=2).contiguous()

    keys, values = flat(k, own_k), flat(v, own_v)
    group_of = torch.arange(mix.groups, device=device).repeat_interleave(mix.prompt)
    row_of = torch.arange(mix.rows, device=device).repeat_interleave(mix.own)
    solve = torch.cat([group_of, torch.full_like(row_of, -1)])
    owner = torch.cat([torch.full_like(group_of, -1), row_of])

    def sees(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        del batch, head
        return (solve[key] == row // mix.k) | (owner[key] == row)

    mask = create_block_mask(sees, None, None, mix.rows, keys.shape[2], device=device.type)
    q = laid_out.q.transpose(0, 1)[None].contiguous()
    # Compiling is a matter of the device; uncompiled it is the same attention.
    attend = _compiled_flex() if device.type == "cuda" else flex_attention

    def call() -> Tensor:
        return attend(q, keys, values, block_mask=mask, enable_gqa=True)[0].transpose(0, 1)

    return call


def _tables(laid_out: Problem) -> tuple[Tensor, Tensor]:
    """Each row's pages [rows, pages] int32 and length [rows] int32."""
    mix = laid_out.mix
    device = laid_out.q.device
    prompts = torch.tensor([tiles[:, 0].tolist() for tiles in laid_out.prompts], dtype=torch.int32, device=device)
    tails = torch.tensor([tiles[:, 0].tolist() for tiles in laid_out.tails], dtype=torch.int32, device=device)
    table = torch.cat([prompts.repeat_interleave(mix.k, dim=0), tails], dim=1).contiguous()
    return table, torch.full((mix.rows,), mix.prompt + mix.own, dtype=torch.int32, device=device)


def _conch_paged(laid_out: Problem, pool: int) -> Call:
    from conch.ops.attention.paged_attention import paged_attention  # pyright: ignore[reportMissingImports]

    table, lengths = _tables(laid_out)
    k_pages, v_pages = (pages.transpose(1, 2).contiguous() for pages in laid_out.pools[pool])
    out = torch.empty_like(laid_out.q)

    def call() -> Tensor:
        paged_attention(laid_out.q, k_pages, v_pages, table, lengths, output=out, scale=laid_out.scale)
        return out

    return call


def _conch_unified(laid_out: Problem, pool: int) -> Call:
    """vLLM's unified attention, as conch carries it."""
    from conch.third_party.vllm.unified_attention import (  # pyright: ignore[reportMissingImports]
        unified_attention,
    )

    table, lengths = _tables(laid_out)
    mix = laid_out.mix
    k_pages, v_pages = (pages.transpose(1, 2).contiguous() for pages in laid_out.pools[pool])
    out = torch.empty_like(laid_out.q)
    starts = torch.arange(mix.rows + 1, dtype=torch.int32, device=laid_out.q.device)

    def call() -> Tensor:
        unified_attention(
            laid_out.q, k_pages, v_pages, out, starts, 1, lengths, mix.prompt + mix.own, laid_out.scale, True, (-1, -1),
            table, 0.0, None, None, None,
        )  # fmt: skip
        return out

    return call


def _flashinfer_cascade(laid_out: Problem, pool: int) -> Call:
    """Two levels; what it plans on the host for each step is left out of its time."""
    import flashinfer  # pyright: ignore[reportMissingImports]

    mix, shape, device = laid_out.mix, laid_out.shape, laid_out.q.device
    workspace = torch.empty(256 << 20, dtype=torch.uint8, device=device)
    wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(2 if mix.own else 1, workspace, "HND")

    def ints(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    pages = mix.prompt // shape.page_size, mix.own // shape.page_size
    levels = [
        (
            ints([group * mix.k for group in range(mix.groups + 1)]),
            ints([group * pages[0] for group in range(mix.groups + 1)]),
            ints([page for tiles in laid_out.prompts for page in tiles[:, 0].tolist()]),
            ints([shape.page_size] * mix.groups),
        ),
        (
            ints(list(range(mix.rows + 1))),
            ints([row * pages[1] for row in range(mix.rows + 1)]),
            ints([page for tiles in laid_out.tails for page in tiles[:, 0].tolist()]),
            ints([shape.page_size] * mix.rows),
        ),
    ][: 2 if mix.own else 1]
    arrays: list[Any] = [list(column) for column in zip(*levels, strict=True)]
    wrapper.plan(
        *arrays, shape.heads, shape.kv_heads, shape.head_dim, shape.page_size, causal=False, sm_scale=laid_out.scale,
        q_data_type=shape.dtype, kv_data_type=shape.dtype,
    )  # fmt: skip

    def call() -> Tensor:
        return wrapper.run(laid_out.q, laid_out.pools[pool])

    return call


CONTESTANTS = [
    Contestant("SDPA per sample", "", _sdpa_per_sample),
    Contestant("SDPA per sample, heads packed", "", _sdpa_packed),
    Contestant("Hydragen in torch", "", _hydragen),
    Contestant("flex_attention", "", _flex),
    Contestant("conch paged attention", "conch", _conch_paged),
    Contestant("conch unified attention (vLLM)", "conch", _conch_unified),
    Contestant("FlashInfer cascade", "flashinfer", _flashinfer_cascade),
]
