"""What becomes of the sampling kernels on a Hopper GPU."""

import pytest

from tests.support.codegen import Build, Code, generate

_IN = {"logits": "*bf16", "asks": "*i32", "parameters": "*fp64", "masks": "*i32", "n_asks": "*i32"}
_SIZES = {"stride": "i32", "words": "i32", "vocab": "i32"}
_TILES = {"peaks": "*fp32", "peak_ids": "*i32"}
_MASSES = {"masses": "*i64", "plain_masses": "*i64"}
_DRAW = {
    **_IN, "keys": "*i64", "numbers": "*fp64", **_TILES, **_MASSES, "tiles": "*i32", "starts": "*i64",
    "values": "*fp32", "ids": "*i32", "lows": "*i64", "heads": "*i32", "out_ids": "*i32", "out_low": "*fp64",
    "out_high": "*fp64", "out_logprobs": "*fp32", **_SIZES, "drawn_at": "i32",
}  # fmt: skip
_LIMITS = {"NEAR": 8192, "FOUND": 4096, "LISTED": 64}


def peaks(logits: str) -> Build:
    types = {**_IN, **_TILES, **_SIZES, "logits": logits}
    del types["parameters"]
    return Build(
        "kernels.gpu.masses:peaks_kernel",
        types,
        {"GROUP": 2, "TILE": 1024, "TILES": 256},
        8,
        aligned=("stride", "vocab"),
    )


def masses(logits: str) -> Build:
    types = {**_IN, "peaks": "*fp32", **_MASSES, **_SIZES, "logits": logits}
    return Build(
        "kernels.gpu.masses:masses_kernel",
        types,
        {"GROUP": 2, "TILE": 1024, "TILES": 256},
        8,
        aligned=("stride", "vocab"),
    )


def draw(logits: str, keyed: bool) -> Build:
    constants = {"KEYED": keyed, "TILE": 1024, "TILES": 256, **_LIMITS}
    types = {**_DRAW, "logits": logits}
    return Build("kernels.gpu.draw:draw_kernel", types, constants, aligned=("stride", "vocab", "drawn_at"))


BUILDS = {
    "peaks, bf16": peaks("*bf16"),
    "peaks, f32": peaks("*fp32"),
    "masses, bf16": masses("*bf16"),
    "masses, f32": masses("*fp32"),
    "draw, bf16": draw("*bf16", False),
    "draw, keyed": draw("*bf16", True),
    "draw, f32": draw("*fp32", False),
}


@pytest.fixture(scope="module")
def codes() -> dict[str, Code]:
    return dict(zip(BUILDS, generate(list(BUILDS.values())), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_nothing_is_spilled_and_programs_overlap(name: str, codes: dict[str, Code]) -> None:
    code, build = codes[name], BUILDS[name]
    assert code.stack == 0
    # A drawing program waits for one thing after another: three share a multiprocessor.
    assert code.programs_per_multiprocessor(build.warps) >= (3 if name.startswith("draw") else 6), code
