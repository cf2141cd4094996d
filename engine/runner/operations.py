"""What a GPU step is made of beside its matrix products: in Triton, and in plain torch for a machine without a GPU."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from kernels import reference, reference_elementwise, reference_pages
from kernels.gpu.items import Run


class Operations(Protocol):
    """One device's operations. Tensors are as the functions of the same names in kernels.gpu want them; `scales` are
    there if runs may have narrow tiles."""

    def load(self, decode: Sequence[Run], rows: int, prefill: Sequence[Run], tokens: int) -> bool:
        """What `attend` sees from now on: the runs of `rows` decode rows, and those of `tokens` further tokens.

        Whether a captured graph of `attend` has become worthless.
        """
        ...

    def attend(
        self, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, rows: int, scales: Tensor | None = None
    ) -> None:
        """Attention of a step's tokens, `rows` of them decode rows; q and out are [tokens, heads, head_dim]."""
        ...

    def place(
        self,
        qkv: Tensor,
        bias: Tensor | None,
        q_norm: Tensor | None,
        k_norm: Tensor | None,
        positions: Tensor,
        slots: Tensor,
        cos: Tensor,
        sin: Tensor,
        k_pages: Tensor,
        v_pages: Tensor,
        q_out: Tensor,
        eps: float,
        scales: Tensor | None = None,
    ) -> None:
        """Bias, norms of heads, rotation; queries to `q_out`, keys and values to the pages."""
        ...

    def add_norm(self, stream: Tensor, addend: Tensor | None, weight: Tensor, eps: float, out: Tensor) -> None:
        """stream += addend; out = its RMSNorm."""
        ...

    def swiglu(self, gate_up: Tensor, out: Tensor) -> None:
        """out = silu(gate) * up."""
        ...


class PlainOperations:
    """The references of the kernels, on any device, for shapes of any size: slow, and right by their shortness."""

    def __init__(self) -> None:
        self._decode: Sequence[Run] = ()
        self._prefill: Sequence[Run] = ()

    def load(self, decode: Sequence[Run], rows: int, prefill: Sequence[Run], tokens: int) -> bool:
        """See Operations."""
        self._decode, self._prefill = decode, prefill
        return False

    def attend(
        self, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, rows: int, scales: Tensor | None = None
    ) -> None:
        """See Operations."""
        scale = q.shape[2] ** -0.5
        pools = k_pages, v_pages
        out[:rows] = reference.decode_attention(q[:rows], *pools, self._decode, scale, scales)[0].to(out.dtype)
        out[rows:] = reference.prefill_attention(q[rows:], *pools, self._prefill, scale, scales).to(out.dtype)

    def place(
        self,
        qkv: Tensor,
        bias: Tensor | None,
        q_norm: Tensor | None,
        k_norm: Tensor | None,
        positions: Tensor,
        slots: Tensor,
        cos: Tensor,
        sin: Tensor,
        k_pages: Tensor,
        v_pages: Tensor,
        q_out: Tensor,
        eps: float,
        scales: Tensor | None = None,
    ) -> None:
        """See Operations."""
        rows, (heads, dim), page_size = len(qkv), q_out.shape[1:], k_pages.shape[2]
        # The reference copies its pools: it gets one page of a slot for each row.
        pool = torch.zeros(rows, k_pages.shape[1], 1, dim, dtype=torch.float64, device=qkv.device)
        own = torch.arange(rows, device=qkv.device)
        q, k, v = reference_elementwise.place(
            qkv, bias, q_norm, k_norm, positions, own, cos, sin, pool, pool, heads, eps
        )
        q_out.copy_(q)
        kept = slots >= 0
        pages, offsets = slots[kept] // page_size, slots[kept] % page_size
        k_pages[pages, :, offsets] = k[kept, :, 0].to(k_pages.dtype)
        v_pages[pages, :, offsets] = v[kept, :, 0].to(v_pages.dtype)
        if scales is not None:
            narrow = slots < -1
            reference_pages.put_narrow(k_pages, scales, -2 - slots[narrow], k[narrow, :, 0], v[narrow, :, 0])

    def add_norm(self, stream: Tensor, addend: Tensor | None, weight: Tensor, eps: float, out: Tensor) -> None:
        """See Operations."""
        total, normed = reference_elementwise.add_norm(stream, addend, weight, eps)
        stream.copy_(total)
        out.copy_(normed)

    def swiglu(self, gate_up: Tensor, out: Tensor) -> None:
        """See Operations."""
        out.copy_(reference_elementwise.swiglu(gate_up))
