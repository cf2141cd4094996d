"""Bytes that decode attention moves, by the device's own counters, where Nsight Compute is installed (`ncu`).

A child process runs attention of one layer once for each mix, and ncu counts for each launch what comes from memory and
what passes the second-level cache, which it empties before. What the second launch reads has just been written by the
first in a real step, and would be found in that cache: its bytes stand apart. `python -m benchmarks.gpu.dram` is that
child.
"""

import csv
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.errors import require
from benchmarks.gpu.problems import GRID, PROMPT_ALONE, SEVEN, THREE_LEVELS, Mix, Model, decode_attention, problem
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings

_ROOT = Path(__file__).resolve().parents[2]
_KERNELS = ("partials_kernel", "merge_kernel")
_READ, _WRITTEN, _CACHE = "dram__bytes_read.sum", "dram__bytes_write.sum", "lts__t_bytes.sum"
_MOST_SECONDS = 150.0


def watched() -> list[tuple[Model, Mix]]:
    """All mixes that are timed with pages of 64."""
    mixes = [(model, mix) for grid in (GRID, PROMPT_ALONE) for model, each in grid.items() for mix in each]
    return [*mixes, *((SEVEN, mix) for mix in THREE_LEVELS)]


def run(session: Session, found: Ceilings) -> None:
    """One row for each mix, or one that says why there is none."""
    del found
    tool = shutil.which("ncu")
    if session.dry or tool is None:
        why = "a dry run has no counters" if session.dry else "ncu is not installed"
        session.case("dram", {"what": "bytes by ncu"}, lambda: {"left_out": why})
        return
    rows: list[dict[str, Any]] = []
    session.case("dram", {"what": "bytes by ncu"}, partial(_count, session, tool, rows))
    for (model, mix), row in zip(watched(), rows, strict=False):
        session.case("dram", {"model": model.name, **mix.about()}, partial(_held, row, model, mix))


def _count(session: Session, tool: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    command = [
        tool, "--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none", "--metrics",
        ",".join((_READ, _WRITTEN, _CACHE)), "--kernel-name", f"regex:{'|'.join(_KERNELS)}", sys.executable, "-m",
        "benchmarks.gpu.dram",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=max(1.0, min(session.left, _MOST_SECONDS)),
    )
    require(done.returncode == 0, f"ncu ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    rows += parsed(done.stdout)
    require(len(rows) == len(watched()), f"ncu told of {len(rows)} of {len(watched())} mixes: {done.stdout[-500:]}")
    return {"mixes": len(rows)}


def parsed(text: str) -> list[dict[str, Any]]:
    """What ncu printed (--csv, --page raw, units of bytes), launch by launch: megabytes of each pair of launches.

    Raises:
        ValueError: launches that are not in pairs.
    """
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    # Below the names stand their units, in a row without a number.
    launches = [row for row in csv.DictReader(lines[start:]) if row["ID"]]
    found: list[dict[str, Any]] = []
    for first, second in zip(launches[::2], launches[1::2], strict=True):
        names = first["Kernel Name"], second["Kernel Name"]
        if names != _KERNELS:
            raise ValueError(f"ncu told of the launches {names}: {_KERNELS} wanted")
        found.append(
            {
                "read_megabytes": _megabytes(first[_READ]),
                "written_megabytes": _megabytes(first[_WRITTEN]),
                "cache_megabytes": _megabytes(first[_CACHE]),
                "merge_read_megabytes": _megabytes(second[_READ]),
            }
        )
    return found


def _megabytes(number: str) -> float:
    return round(float(number.replace(",", "")) / 1e6, 3)


def _held(row: dict[str, Any], model: Model, mix: Mix) -> dict[str, Any]:
    """The bytes beside those of each key and value once, and of all that every row sees."""
    once, naively = mix.moved(model) / 1e6, mix.moved_naively(model) / 1e6
    times = row["read_megabytes"] / once
    return {
        **row,
        "megabytes": round(once, 2),
        "naive_megabytes": round(naively, 1),
        "read_times_once": round(times, 3),
    }


def main() -> None:
    """Each mix once, on the first GPU."""
    session = Session("gpu-dram", Path(), False, "")
    for model, mix in watched():
        laid_out = problem(session, model, mix, 1)
        out = torch.empty_like(laid_out.q)
        decode_attention(session, laid_out).run(laid_out.q, *laid_out.pools[0], out, laid_out.scale)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
