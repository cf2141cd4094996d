"""Shapes in which the attention kernels work."""

from dataclasses import dataclass

from kernels.gpu.items import AttentionShape


@dataclass(frozen=True, slots=True)
class Tiling:
    """Shapes of the partials kernel: blocks of `block` query rows, or of `own` for runs that have no more; 0: none so.

    keys: of one step of a program; stages, own_stages: Triton's `num_stages` of the two loops; registers: the most of a
    thread; resident: programs on one multiprocessor.
    """

    block: int
    own: int
    keys: int
    warps: int
    stages: int
    own_stages: int
    registers: int | None
    resident: int


_FEWEST = 16
"""Rows that tensor cores take at least."""
_MANY_QUERIES = 512


def tiling(shape: AttentionShape, rows: int, *, strict: bool = False) -> Tiling:
    """The shapes for steps of up to `rows` rows; strict: the same for all, so that a row's bits never depend on them.

    Blocks of 128 query rows ask half as much of the second-level cache for a product as blocks of 64, which suit few
    rows better: two programs on a multiprocessor then hide each other's waiting. What was compiled is in NOTES.md.
    """
    own = 0 if strict else _FEWEST
    if rows * shape.group >= _MANY_QUERIES and not strict:
        return Tiling(128, own, 64, warps=8, stages=3, own_stages=4, registers=None, resident=1)
    stages = 3 if shape.head_dim == 64 else 2  # as many buffers as leave room for two programs
    return Tiling(64, own, 64, warps=4, stages=stages, own_stages=4, registers=None, resident=2)
