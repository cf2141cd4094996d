"""What is generated for the attention kernels on a Hopper GPU. NOTES.md holds the table."""

import pytest
import torch

from kernels.gpu.attention import partials_constants
from kernels.gpu.items import AttentionShape
from kernels.gpu.prefill import prefill_constants, prefill_tiling
from kernels.gpu.tiling import Tiling, tiling
from tests.support.codegen import Build, generate

ARGUMENTS = {
    **dict.fromkeys(("q", "k_pages", "v_pages"), "*bf16"),
    **dict.fromkeys(("header", "items", "tiles"), "*i32"),
    **dict.fromkeys(("partials", "lses"), "*fp32"),
    "scale": "fp32",
}
PREFILL = {name: type_ for name, type_ in ARGUMENTS.items() if name not in ("partials", "lses")} | {"out": "*bf16"}
MERGED = {
    **dict.fromkeys(("partials", "lses"), "*fp32"),
    **dict.fromkeys(("starts", "places"), "*i32"),
    "out": "*bf16",
    "lse": "*fp32",
}


def build(shape: AttentionShape, tiles: Tiling) -> Build:
    scales = {"scales": "*fp32"} if shape.narrow else {}
    return Build(
        "kernels.gpu.attention:partials_kernel",
        ARGUMENTS | scales,
        {**partials_constants(shape, tiles)} | ({} if shape.narrow else {"scales": None}),
        warps=tiles.warps,
        registers=tiles.registers,
    )


def prefill_build(shape: AttentionShape) -> Build:
    tiles = prefill_tiling(shape)
    return Build(
        "kernels.gpu.prefill:prefill_kernel",
        PREFILL | ({"scales": "*fp32"} if shape.narrow else {}),
        {**prefill_constants(shape, tiles)} | ({} if shape.narrow else {"scales": None}),
        warps=tiles.warps,
        registers=tiles.registers,
    )


@pytest.mark.slow
@pytest.mark.parametrize("narrow", [False, True])
def test_partials_keep_to_registers_and_use_warp_group_products(narrow: bool) -> None:
    cases = [
        (
            shape := AttentionShape(heads, kv, head_dim, page_size, torch.bfloat16, narrow),
            tiling(shape, rows, strict=strict),
        )
        for heads, kv in ((28, 4), (16, 8))
        for head_dim in (64, 128)
        for page_size in (16, 64)
        for rows, strict in ((8, False), (256, False), (256, True))
    ]
    for (shape, tiles), code in zip(cases, generate([build(*case) for case in cases]), strict=True):
        case = f"{shape}, {tiles}: {code}"
        assert code.stack == 0, f"spills: {case}"
        assert "wgmma.mma_async" in code and not code.serialised, case
        # Narrow items have few query rows in any tiling.
        assert ("mma.sync" in code) == (tiles.own > 0 or shape.narrow), case
        assert "cp.async" in code, case
        assert code.programs_per_multiprocessor(tiles.warps) >= tiles.resident, case


@pytest.mark.slow
@pytest.mark.parametrize("narrow", [False, True])
def test_prefill_keeps_to_registers_and_uses_warp_group_products(narrow: bool) -> None:
    shapes = [
        AttentionShape(heads, kv, head_dim, page_size, torch.bfloat16, narrow)
        for heads, kv in ((28, 4), (16, 8))
        for head_dim in (64, 128)
        for page_size in (16, 64)
    ]
    for shape, code in zip(shapes, generate([prefill_build(shape) for shape in shapes]), strict=True):
        tiles = prefill_tiling(shape)
        case = f"{shape}, {tiles}: {code}"
        assert code.stack == 0, f"spills: {case}"
        assert "wgmma.mma_async" in code and not code.serialised and "mma.sync" not in code, case
        assert "cp.async" in code, case
        assert code.programs_per_multiprocessor(tiles.warps) >= tiles.resident, case


def test_merging_takes_few_registers() -> None:
    constants = {"KV_HEADS": 4, "GROUP": 7, "LSE": True}
    builds = [Build("kernels.gpu.attention:merge_kernel", MERGED, {**constants, "D": d}, warps=1) for d in (64, 128)]
    for code in generate(builds):
        assert code.stack == 0 and code.registers <= 96
