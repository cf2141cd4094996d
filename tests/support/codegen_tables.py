"""The tables of generated code in kernels/NOTES.md and kernels/NOTES-rows.md, made anew with the installed Triton:

    python -m tests.support.codegen_tables

What is generated is what the tests in tests/kernels/gpu/*_code.py assert, which also hold the pages to these tables.
"""

from pathlib import Path

import torch
import triton

from benchmarks.executing.table import put
from kernels.gpu.items import AttentionShape
from kernels.gpu.prefill import prefill_tiling
from kernels.gpu.tiling import tiling
from tests.kernels.gpu import test_attention_code, test_elementwise_code, test_sampling_code
from tests.support.codegen import Build, Code, generate

KERNELS = Path(__file__).parents[2] / "kernels"
BEGIN, END = "<!-- code: begin -->", "<!-- code: end -->"


def table(head: str, rows: list[list[str]]) -> str:
    """Markdown, and below it what made it."""
    lines = [head, "|".join(["", *["--"] * (head.count("|") - 1), ""]), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + f"\n\nTriton {triton.__version__}, sm_90.\n"


def products(code: Code) -> str:
    """The instructions of matrix products."""
    names = {"wgmma.mma_async": "WGMMA", "mma.sync": "mma.sync"}
    return ", ".join(told for name, told in names.items() if name in code)


def attention_table() -> str:
    """Decode and prefill attention of 28 query heads over 4 key heads."""
    cases: list[tuple[list[str], Build, int]] = []
    for d in (64, 128):
        for page in (16, 64):
            shape = AttentionShape(28, 4, d, page, torch.bfloat16)
            for steps, rows, strict in (("few rows", 8, False), ("many rows", 256, False), ("strict", 256, True)):
                tiles = tiling(shape, rows, strict=strict)
                own = f" + {tiles.own}" if tiles.own else ""
                stages = f"{tiles.stages} / {tiles.own_stages}" if tiles.own else str(tiles.stages)
                about = [str(d), str(page), steps, f"{tiles.block}{own} x {tiles.keys}", str(tiles.warps), stages]
                cases.append((about, test_attention_code.build(shape, tiles), tiles.warps))
            tiles = prefill_tiling(shape)
            about = [str(d), str(page), "prefill", f"{tiles.block} x {tiles.keys}", str(tiles.warps), str(tiles.stages)]
            cases.append((about, test_attention_code.prefill_build(shape), tiles.warps))
    rows = [
        [
            *about, str(code.registers), str(code.stack), str(code.shared // 1024),
            str(code.programs_per_multiprocessor(warps)), products(code),
        ]
        for (about, _, warps), code in zip(cases, generate([build for _, build, _ in cases]), strict=True)
    ]  # fmt: skip
    head = (
        "| d | page | steps of | rows x keys | warps | stages | registers | stack | shared KiB | resident | products |"
    )
    return table(head, rows)


def rows_table() -> str:
    """What happens between products, and draws."""
    builds = {**test_elementwise_code.BUILDS, **test_sampling_code.BUILDS}
    rows: list[list[str]] = []
    for (name, build), code in zip(builds.items(), generate(list(builds.values())), strict=True):
        resident = code.programs_per_multiprocessor(build.warps)
        rows.append([name, *map(str, (build.warps, code.registers, code.stack, resident))])
    return table("| kernel | warps | registers | stack | programs a multiprocessor |", rows)


PAGES = {"NOTES.md": attention_table, "NOTES-rows.md": rows_table}


def main() -> None:
    """Write the tables into the pages."""
    for name, make in PAGES.items():
        page = KERNELS / name
        page.write_text(put(page.read_text(), make(), BEGIN, END))


if __name__ == "__main__":
    main()
