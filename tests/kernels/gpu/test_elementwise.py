"""What happens to rows between matrix products, against float64; nothing else is touched."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.models import decoder
from kernels import reference_elementwise as reference
from kernels.gpu.items import Run
from kernels.gpu.norm import add_norm
from kernels.gpu.pages import copy_pages
from kernels.gpu.place import place
from kernels.gpu.swiglu import swiglu
from kernels.reference_pages import keys_and_values

NAN = float("nan")
DTYPES = st.sampled_from([torch.float16, torch.float32])


def close(found: Tensor, expected: Tensor) -> None:
    """Equal up to one rounding to the type found, and what float32 loses on the way; float64 rows expected."""
    rounding = 0.501 * torch.finfo(found.dtype).eps * expected.abs()
    before = 16 * torch.finfo(torch.float32).eps * (expected.abs() + 0.1 * expected.abs().amax(dim=-1, keepdim=True))
    allowed = rounding + before + 1e-6
    assert ((found.double() - expected).abs() <= allowed).all()


def tables(context: int, d: int, device: str) -> tuple[Tensor, Tensor]:
    angles = torch.rand(context, d // 2, device=device) * 6.3
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 4),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 7),
    d=st.sampled_from([2, 6, 64, 80, 128]),
    page_size=st.sampled_from([4, 16, 64]),
    bias=st.booleans(),
    norm=st.booleans(),
    narrow=st.booleans(),
    dtype=DTYPES,
    seed=st.integers(0, 1000),
)
def test_place(
    rows: int, kv_heads: int, group: int, d: int, page_size: int, bias: bool, norm: bool, narrow: bool,
    dtype: torch.dtype, seed: int, device: str,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    width = (group + 2) * kv_heads * d
    # A view of a wider buffer is a product's output beside another's.
    qkv = torch.randn(rows, width + 8 * narrow, device=device).to(dtype)[:, :width]
    biases = torch.randn(width, device=device).to(dtype) if bias else None
    norms = [torch.rand(d, device=device) + 0.5 if norm else None for _ in range(2)]
    positions = torch.randint(0, 50, (rows,), device=device)
    slots = torch.randperm(5 * page_size, device=device)[:rows]
    slots[torch.rand(rows, device=device) < 0.2] = -1
    cos, sin = tables(50, d, device)
    pools = [torch.full((5, kv_heads, page_size, d), NAN, dtype=dtype, device=device) for _ in range(2)]
    q = torch.full((rows, group * kv_heads, d), NAN, dtype=dtype, device=device)
    eps = 1e-3
    expected = reference.place(qkv, biases, *norms, positions, slots, cos, sin, *pools, q.shape[1], eps)
    place(qkv, biases, *norms, positions, slots, cos, sin, *pools, q, eps)
    close(q, expected[0])
    for pool, wanted in zip(pools, expected[1:], strict=True):
        assert torch.equal(pool.isnan(), wanted.isnan()), "a slot that is nobody's was written, or one of a row was not"
        written = ~wanted.isnan().any(dim=-1)
        close(pool[written], wanted[written])


@settings(max_examples=25)
@given(
    rows=st.integers(1, 5),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 7),
    d=st.sampled_from([64, 128]),
    page_size=st.sampled_from([16, 64]),
    norm=st.booleans(),
    dtype=DTYPES,
    seed=st.integers(0, 1000),
)
def test_place_in_8_bits(
    rows: int, kv_heads: int, group: int, d: int, page_size: int, norm: bool, dtype: torch.dtype, seed: int, device: str
) -> None:
    """Wide and narrow rows and padding of one launch; a number is off by half a scale, and by float32's rounding."""
    torch.manual_seed(seed)
    qkv = torch.randn(rows, (group + 2) * kv_heads * d, device=device).to(dtype)
    qkv[0] = 0  # a scale of 0, unless rows are normed
    norms = [torch.rand(d, device=device) + 0.5 if norm else None for _ in range(2)]
    positions = torch.randint(0, 50, (rows,), device=device)
    own = torch.randperm(5 * page_size, device=device)[:rows]
    kind = torch.randint(0, 3, (rows,), device=device)  # wide, narrow, padding
    slots = torch.stack([own, -2 - own, torch.full_like(own, -1)])[kind, torch.arange(rows, device=device)]
    cos, sin = tables(50, d, device)
    k_pages, v_pages = (torch.full((5, kv_heads, page_size, d), NAN, dtype=dtype, device=device) for _ in range(2))
    scales = torch.full((5, kv_heads, 2, page_size), NAN, device=device)
    q = torch.full((rows, group * kv_heads, d), NAN, dtype=dtype, device=device)
    pools = [pool.clone() for pool in (k_pages, v_pages)]
    kept = torch.where(kind == 2, -1, own)
    expected_q, *expected = reference.place(qkv, None, *norms, positions, kept, cos, sin, *pools, q.shape[1], 1e-3)
    place(qkv, None, *norms, positions, slots, cos, sin, k_pages, v_pages, q, 1e-3, scales)
    close(q, expected_q)
    pages, offsets = own // page_size, own % page_size
    untouched = torch.ones(5, page_size, dtype=torch.bool, device=device)
    for row in range(rows):
        page, offset = int(pages[row]), int(offsets[row])
        untouched[page, offset] = kind[row] == 2
        wanted = [pool[page, :, offset] for pool in expected]
        if kind[row] == 0:
            close(k_pages[page, :, offset], wanted[0])
            close(v_pages[page, :, offset], wanted[1])
        if kind[row] == 1:
            tile = np.array([[page, offset, offset + 1]], np.int32)
            found = keys_and_values(k_pages, v_pages, scales, Run(0, 1, tile, 1))
            assert v_pages[page, :, offset].isnan().all()
            for part, exact, scale in zip(found, wanted, scales[page, :, :, offset].unbind(1), strict=True):
                largest = exact.abs().amax(dim=-1)
                assert ((scale.double() - largest / 127).abs() <= largest * 1e-6).all()
                assert ((part[0] - exact).abs() <= largest[:, None] * (0.5 / 127 + 1e-5)).all()
    for pool in (k_pages, v_pages, scales.transpose(2, 3)):
        assert pool.transpose(1, 2)[untouched].isnan().all(), "a slot that is nobody's was written"


@pytest.mark.parametrize("qk_norm", [False, True])
def test_place_is_the_decoders_arithmetic(qk_norm: bool, device: str) -> None:
    torch.manual_seed(1)
    heads, kv_heads, d, eps, rows = 4, 2, 16, 1e-5, 3
    config = decoder.DecoderConfig(
        architecture="qwen3", layers=1, heads=heads, kv_heads=kv_heads, head_dim=d, hidden=8, intermediate=8, vocab=10,
        rope_theta=1e4, norm_eps=eps, context_length=40, qkv_bias=True, qk_norm=qk_norm, tied_embeddings=True,
    )  # fmt: skip
    product = torch.randn(rows, (heads + 2 * kv_heads) * d)
    bias = torch.randn(product.shape[1])
    norms = [torch.rand(d) + 0.5 if qk_norm else None for _ in range(2)]
    layer = decoder.Layer(
        attention_norm=torch.ones(8), qkv=lambda _: product + bias, q_norm=norms[0], k_norm=norms[1],
        attention_out=lambda x: torch.zeros(rows, 8), mlp_norm=torch.ones(8), gate_up=lambda x: torch.zeros(rows, 16),
        down=lambda x: torch.zeros(rows, 8),
    )  # fmt: skip
    weights = decoder.Weights(torch.randn(10, 8), (layer,), torch.ones(8), lambda x: x)
    model = decoder.Decoder(config, weights, torch.float32)
    positions = torch.tensor([0, 7, 39])
    seen: list[Tensor] = []

    def attend(index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.extend((q.clone(), k.clone(), v.clone()))
        return torch.zeros(rows, heads * d)

    model.hidden(torch.tensor([1, 2, 3]), positions, attend)
    pools = [torch.full((2, kv_heads, 16, d), NAN, device=device) for _ in range(2)]
    q = torch.empty(rows, heads, d, device=device)
    slots = torch.tensor([31, 0, 17], device=device)
    on = [None if tensor is None else tensor.to(device) for tensor in (product, bias, *norms)]
    assert on[0] is not None
    place(on[0], *on[1:], positions.to(device), slots, model.cos.to(device), model.sin.to(device), *pools, q, eps)
    keys, values = (pool[slots // 16, :, slots % 16].cpu() for pool in pools)
    for found, wanted in zip((q.cpu(), keys, values), seen, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_place_reaches_slots_beyond_two_to_the_31(device: str) -> None:
    # Memory that nobody touches costs nothing: of the pools, two slots are written.
    pools = [torch.empty(300_000, 2, 64, 64, dtype=torch.float16, device=device) for _ in range(2)]
    assert pools[0].numel() > 2**31
    slots = torch.tensor([299_999 * 64 + 63, 270_000 * 64], dtype=torch.int32, device=device)
    positions = torch.tensor([1, 3], dtype=torch.int32, device=device)
    qkv = torch.randn(2, 6 * 64, device=device).half()
    cos, sin = tables(4, 64, device)
    q = torch.empty(2, 2, 64, device=device, dtype=torch.float16)
    place(qkv, None, None, None, positions, slots, cos, sin, *pools, q)
    few = torch.zeros(1, 2, 2, 64, device=device)
    _, *expected = reference.place(
        qkv, None, None, None, positions, torch.tensor([0, 1]), cos, sin, few, few.clone(), 2
    )
    for pool, wanted in zip(pools, expected, strict=True):
        close(pool[slots.long() // 64, :, slots.long() % 64], wanted[0].transpose(0, 1))


def test_place_refuses_what_does_not_fit(device: str) -> None:
    pool, q = torch.zeros(1, 1, 16, 4, device=device), torch.zeros(2, 1, 4, device=device)
    table, rows = torch.zeros(8, 4, device=device), torch.zeros(2, dtype=torch.int64, device=device)
    good = torch.zeros(2, 12, device=device)
    with pytest.raises(ValueError, match="qkv is"):
        place(good[:, :11], None, None, None, rows, rows, table, table, pool, pool, q)
    with pytest.raises(ValueError, match="both or neither"):
        place(good, None, table[0], None, rows, rows, table, table, pool, pool, q)
    with pytest.raises(ValueError, match="heads of 4"):
        place(good, None, None, None, rows, rows, table, table, pool, pool[..., :2], q)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 4), width=st.integers(1, 3000), add=st.booleans(), dtype=DTYPES,
    scale=st.sampled_from([1e-3, 1, 1e3]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_add_norm(rows: int, width: int, add: bool, dtype: torch.dtype, scale: float, seed: int, device: str) -> None:
    torch.manual_seed(seed)
    # The row after the last is somebody else's.
    stream = torch.randn(rows + 1, width, device=device) * scale
    addend = torch.randn(rows, width, device=device).to(dtype) if add else None
    weight = torch.randn(width, device=device)
    out = torch.full((rows + 1, width), NAN, dtype=dtype, device=device)
    last = stream[rows].clone()
    total, normed = reference.add_norm(stream[:rows], addend, weight, 1e-5)
    add_norm(stream[:rows], addend, weight, 1e-5, out[:rows])
    close(stream[:rows], total)
    close(out[:rows], normed)
    assert torch.equal(stream[rows], last) and out[rows].isnan().all()


@settings(max_examples=25)
@given(rows=st.integers(1, 4), width=st.integers(1, 2500), dtype=DTYPES, seed=st.integers(0, 1000))
def test_swiglu(rows: int, width: int, dtype: torch.dtype, seed: int, device: str) -> None:
    torch.manual_seed(seed)
    gate_up = (torch.randn(rows, 2 * width, device=device) * 20).to(dtype)
    out = torch.full((rows + 1, width), NAN, dtype=dtype, device=device)
    swiglu(gate_up, out[:rows])
    expected = reference.swiglu(gate_up)
    assert ((out[:rows].double() - expected).abs() <= 2e-3 * expected.abs() + 1e-6).all()
    close(out[:rows], expected)
    assert out[rows].isnan().all()


def test_swiglu_of_large_gates(device: str) -> None:
    gates = torch.tensor([[-1e4, -100.0, 0.0, 100.0, 1e4, 1, 1, 1, 1, 1]], device=device)
    out = torch.full((1, 5), NAN, device=device)
    swiglu(gates, out)
    assert out.tolist() == [[0.0, 0.0, 0.0, 100.0, 1e4]]


@settings(max_examples=25)
@given(
    n=st.integers(1, 3), kv_heads=st.integers(1, 3), page_size=st.sampled_from([4, 16, 64]), d=st.sampled_from([8, 64]),
    dtype=DTYPES, apart=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_copy_pages(
    n: int, kv_heads: int, page_size: int, d: int, dtype: torch.dtype, apart: bool, seed: int, device: str
) -> None:
    torch.manual_seed(seed)
    pools = torch.randn(n, 12, kv_heads, page_size, d, device=device).to(dtype)
    if apart:
        pools = torch.cat([pools, pools], dim=1)[:, :12]
    count = int(torch.randint(1, 4, ()))
    pages = torch.randperm(12)
    bounds = torch.randint(0, page_size + 1, (count, 2)).sort(dim=1).values
    sources = pages[6 : 6 + count] if seed % 2 else pages[6].expand(count)
    moves = torch.cat([sources[:, None], pages[:count, None], bounds], dim=1).int().to(device)
    expected = reference.copy_pages(pools, moves)
    copy_pages(pools, moves)
    assert torch.equal(pools, expected)


def test_copy_pages_reaches_elements_beyond_two_to_the_31(device: str) -> None:
    pools = torch.empty(2, 150_000, 2, 64, 64, dtype=torch.float16, device=device)
    assert pools[0].numel() < 2**31 < pools.numel()
    far = torch.empty(1, 300_000, 2, 64, 64, dtype=torch.float16, device=device)
    for several, source, target in ((pools, 149_999, 149_990), (far, 299_999, 3), (far, 3, 299_990)):
        several[:, source] = torch.randn(several.shape[0], 2, 64, 64, device=device)
        several[:, target] = 0.0
        copy_pages(several, torch.tensor([[source, target, 5, 60]], dtype=torch.int32, device=device))
        assert torch.equal(several[:, target, :, 5:60], several[:, source, :, 5:60])
        assert not several[:, target, :, :5].any() and not several[:, target, :, 60:].any()


def test_copy_pages_refuses_what_does_not_fit(device: str) -> None:
    pools = torch.zeros(1, 2, 1, 4, 8, device=device)
    with pytest.raises(ValueError, match="contiguous"):
        copy_pages(pools.transpose(3, 4), torch.zeros(1, 4, dtype=torch.int32, device=device))
    with pytest.raises(ValueError, match=r"\[m, 4\]"):
        copy_pages(pools, torch.zeros(4, dtype=torch.int32, device=device))
