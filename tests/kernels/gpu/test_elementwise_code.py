"""What becomes of the elementwise kernels on a Hopper GPU: nothing spilled, and many programs a multiprocessor."""

import pytest

from tests.support.codegen import Build, Code, generate

_PLACE = {
    "qkv": "*bf16", "bias": "*bf16", "q_norm": "*fp32", "k_norm": "*fp32", "positions": "*i32", "slots": "*i32",
    "cos": "*fp32", "sin": "*fp32", "k_pages": "*bf16", "v_pages": "*bf16", "q_out": "*bf16", "eps": "fp32",
    "stride": "i32",
}  # fmt: skip


def place(heads: int, kv_heads: int, d: int, page_size: int, bias: bool, norm: bool, *, narrow: bool = False) -> Build:
    constants = {
        "HEADS": heads, "KV_HEADS": kv_heads, "D": d, "PAGE_SIZE": page_size, "BIAS": bias, "NORM": norm,
        "NARROW": narrow, "BLOCK_HEADS": 8, "BLOCK_D": d,
    }  # fmt: skip
    types = _PLACE | ({"scales": "*fp32"} if narrow else {})
    return Build(
        "kernels.gpu.place:place_kernel",
        types,
        constants | ({} if narrow else {"scales": None}),
        aligned=("stride",),
    )


def add_norm(block: int, warps: int) -> Build:
    types = {"stream": "*fp32", "addend": "*bf16", "weight": "*fp32", "out": "*bf16", "width": "i32", "eps": "fp32"}
    kernel = "kernels.gpu.norm:add_norm_kernel"
    return Build(kernel, types, {"ADD": True, "BLOCK": block}, warps=warps, aligned=("width",))


BUILDS = {
    "place, Qwen2.5 0.5B": place(14, 2, 64, 64, True, False),
    "place, Qwen2.5 7B": place(28, 4, 128, 64, True, False),
    "place, Qwen3 8B": place(32, 8, 128, 16, False, True),
    "place, Qwen2.5 0.5B, narrow": place(14, 2, 64, 64, True, False, narrow=True),
    "place, Qwen2.5 7B, narrow": place(28, 4, 128, 64, True, False, narrow=True),
    "place, Qwen3 8B, narrow": place(32, 8, 128, 16, False, True, narrow=True),
    "add_norm, width 896": add_norm(1024, 4),
    "add_norm, width 3584": add_norm(4096, 16),
    "add_norm, width 8192": add_norm(8192, 16),
    "swiglu": Build(
        "kernels.gpu.swiglu:swiglu_kernel", {"gate_up": "*bf16", "out": "*bf16", "width": "i32"}, {"BLOCK": 1024},
        aligned=("width",),
    ),
    "copy_pages": Build(
        "kernels.gpu.pages:copy_pages_kernel",
        {"pools": "*bf16", "moves": "*i32", "pool_stride": "i64", "page_stride": "i32"},
        {"ELEMENTS": 4 * 64 * 128, "PAGE_SIZE": 64, "D": 128, "BLOCK": 2048},
        aligned=("pool_stride", "page_stride"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def codes() -> dict[str, Code]:
    return dict(zip(BUILDS, generate(list(BUILDS.values())), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_nothing_is_spilled_and_many_programs_fit(name: str, codes: dict[str, Code]) -> None:
    code, build = codes[name], BUILDS[name]
    assert code.stack == 0
    # Half of the threads that a multiprocessor can hold hide the latency of such short programs.
    assert code.programs_per_multiprocessor(build.warps) * build.warps >= 32, code
