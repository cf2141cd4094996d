"""The figures of `make gpu-check`, `gpu-bench` and `gpu-peers` as a page's tables, losses like the rest.

    python -m benchmarks.gpu.table [--results FOLDER] [--page FILE.md]

Reads gpu-check.json, gpu-bench.json and gpu-peers.json of the folder; what stands between the two marks is replaced.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.executing.table import put

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results" / "gpu"
PAGE = _ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"

Row = dict[str, Any]

_MEMORY, _MATRIX, _LARGE = 0.8, 0.55, 100.0
"""Bars of attention: share of the floor where memory bounds it, from so many megabytes on, and where products do."""
_STEP, _ROWS_COST, _HOST = 0.7, 1.6, 0.1


def tables(check: Row, bench: Row, peers: Row) -> str:
    """Markdown of the files' contents."""
    parts = [
        _table(
            "attention of a layer | bytes | us | floor | reached | TFLOP/s | read from memory, by ncu",
            (_attention(row, _counted(bench, row)) for row in _of(bench, "attention")),
        ),
        _race(_of(peers, "race")),
        _table("prefill of a layer | us | floor | reached | against SDPA", map(_prefill, _of(bench, "prefill"))),
        _table("decode step | us | floor | reached | tokens/s | times one row", map(_step, _of(bench, "step"))),
        _table(
            "decode step | ours, us | transformers, us | without a mask, us | times faster than the faster",
            map(_step_raced, _of(peers, "step race")),
        ),
        _table(
            "engine, whole loop | tokens/s | step, ms | device, ms | host's share", map(_engine, _of(bench, "engine"))
        ),
        _table("draws | rows | numbers | us | floor", map(_sampling, _of(bench, "sampling"))),
        _table("rows between products | model | rows | us | floor", map(_rows, _of(bench, "rows"))),
    ]
    missing = [*peers.get("not_installed", []), *peers.get("failed_peers", {})]
    told = [f"{name} ({_where(result)})" for name, result in (("bench", bench), ("peers", peers), ("check", check))]
    checked = f"{len(check['cases'])} checks, {check['failed']} failed."
    absent = f" Not in the race, because not installed or failed: {', '.join(missing)}." if missing else ""
    return "\n".join(part for part in parts if part) + f"\n{checked}{absent}\n\nMeasured: {'; '.join(told)}."


def _of(result: Row, section: str) -> list[Row]:
    return [row for row in result["cases"] if row["section"] == section]


def _where(result: Row) -> str:
    ceilings = result.get("ceilings")
    rates = (
        f", copy {ceilings['copy_bytes_per_second'] / 1e12:.2f} TB/s, "
        f"bf16 product {ceilings['bf16_matmul_operations_per_second'] / 1e12:.0f} TFLOP/s"
        if ceilings
        else ""
    )
    stopped = "" if result.get("ended", True) else ", **it did not come to its end**"
    return f"{result['date'][:10]}, {result['gpu']['name']}, commit {result['commit'][:10]}{rates}{stopped}"


def _table(head: str, rows: Iterable[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    if not lines:
        return ""
    return f"| {head} |\n|{' --- |' * (head.count('|') + 1)}\n{''.join(lines)}"


def _mix(row: Row) -> str:
    mix = ", ".join(f"{key} {row[key]}" for key in ("G", "k", "P", "S", "forks", "common") if key in row)
    page = f", pages of {row['page_size']}" if row.get("page_size", 64) != 64 else ""
    bits = f", drawn tokens in {row['suffix_bits']} bits" if "suffix_bits" in row else ""
    return f"{row['model']}: {mix}{page}{bits}{', strict' if row.get('strict') else ''}"


def _told(row: Row, cells: list[str]) -> list[str]:
    """The cells, or what went wrong."""
    return [cells[0], f"**failed**: {row['failed'][:100]}", *[""] * (len(cells) - 2)] if "failed" in row else cells


def _bar(value: float, bar: float, *, most: bool = False) -> str:
    met = value <= bar if most else value >= bar
    return f", bar {bar:g}: {'met' if met else '**missed**'}"


def _number(row: Row, key: str, form: str = "g") -> str:
    return format(row[key], form) if key in row else ""


def _counted(bench: Row, row: Row) -> Row:
    """What ncu counted of the same mix."""
    keys = ("model", "G", "k", "P", "S", "forks", "common")
    if row.get("page_size", 64) != 64 or row.get("strict") or "suffix_bits" in row:
        return {}
    same = [one for one in _of(bench, "dram") if all(one.get(key) == row.get(key) for key in keys)]
    return same[0] if same else {}


def _attention(row: Row, counted: Row) -> list[str]:
    reached = row.get("reached", 0.0)
    bar = _MATRIX if row.get("bound") == "matrix" else _MEMORY if row.get("megabytes", 0) >= _LARGE else None
    share = f"{reached:.0%} of {row.get('bound', '')}" + ("" if bar is None else _bar(reached, bar))
    cells = [_number(row, "megabytes") + " MB", _number(row, "us"), _number(row, "floor_us"), share]
    read = f"{counted['read_megabytes']:g} MB" if "read_megabytes" in counted else ""
    return _told(row, [_mix(row), *cells, _number(row, "teraflops"), read])


def _race(rows: list[Row]) -> str:
    """One column for each peer that ran anywhere; what made one fail or be left out stands in its cell."""
    names = list(dict.fromkeys(name for row in rows for name in row.get("peers", {})))
    head = ["microseconds", "ours", *names, "times faster than the best", "ahead of us"]
    return _table(" | ".join(head), (_raced(row, names) for row in rows))


def _raced(row: Row, names: list[str]) -> list[str]:
    peers = row.get("peers", {})
    times = [_number(peer, "us") if isinstance(peer := peers.get(name, ""), dict) else peer[:60] for name in names]
    behind = ", ".join(row.get("behind", [])) or "nobody"
    cells = [_number(row, "ours_us"), *times, _number(row, "times_faster_than_best"), behind]
    return _told(row, [_mix(row), *cells])


def _prefill(row: Row) -> list[str]:
    name = f"{row['model']}: {row['chunks']} x {row['tokens']} after {row['before']}"
    cells = [_number(row, "us"), _number(row, "floor_us"), _number(row, "reached", ".0%")]
    return _told(row, [name, *cells, _number(row, "times_faster_than_sdpa") + "x"])


def _step(row: Row) -> list[str]:
    reached = _number(row, "reached", ".0%")
    if "reached" in row and row["model"] == "7b":
        reached += _bar(row["reached"], _STEP)
    times = _number(row, "times_one_row")
    if times and row["k"] == 64 and row["P"] == 2048:
        times += _bar(row["times_one_row"], _ROWS_COST, most=True)
    cells = [_number(row, "us"), _number(row, "floor_us"), reached, _number(row, "tokens_per_second")]
    return _told(row, [_mix(row), *cells, times])


def _step_raced(row: Row) -> list[str]:
    theirs = [
        row.get(f"transformers_{name}", _number(row, f"transformers_{name}_us")) or row.get("transformers", "")
        for name in ("masked", "unmasked")
    ]
    return _told(row, [_mix(row), _number(row, "ours_us"), *theirs, _number(row, "times_faster")])


def _engine(row: Row) -> list[str]:
    host = _number(row, "host_share", ".1%")
    if host and row["model"] == "7b":
        host += _bar(row["host_share"], _HOST, most=True)
    name = f"{row['model']}: k {row['k']}, prompt {row['P']}, {row['new_tokens']} tokens each"
    cells = [_number(row, "tokens_per_second"), _number(row, "step_ms"), _number(row, "device_ms")]
    return _told(row, [name, *cells, host])


def _sampling(row: Row) -> list[str]:
    return _told(
        row, [row["filters"], str(row["rows"]), str(row["numbers"]), _number(row, "us"), _number(row, "floor_us")]
    )


def _rows(row: Row) -> list[str]:
    count = str(row.get("rows", f"{row.get('moves')} pages"))
    return _told(row, [row["kernel"], row["model"], count, _number(row, "us"), _number(row, "floor_us")])


def main() -> None:
    """Write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    check, bench, peers = (
        json.loads((options.results / f"gpu-{name}.json").read_text()) for name in ("check", "bench", "peers")
    )
    options.page.write_text(put(options.page.read_text(), tables(check, bench, peers), BEGIN, END))


if __name__ == "__main__":
    main()
