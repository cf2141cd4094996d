"""The page's tables of decoding: a bar that is missed is shown as missed."""

from typing import Any

from benchmarks.decode_table import tables

PROVENANCE = {"machine": {"cores": 2, "cpu": "a processor", "kernel": "6"}, "date": "2026-01-02T03", "commit": "c" * 40}


def run(k: int, share: float, prefill: float) -> dict[str, Any]:
    return {
        "k": k,
        "tokens_per_second": 90.4,
        "decode_tokens_per_second": 99.6,
        "share_of_ceiling": share,
        "prefill_share_of_ceiling": prefill,
        "prompt_tokens": 201,
        "prefill_ms": 200.0,
    }


def test_bars_are_met_or_missed() -> None:
    times = {"p50": 1.0, "p99": 2.0}
    phases = {"both": {"front_ms": times, "verdict_ms": {}, "rows_per_second": 3.0}}
    sharing = {"phases": phases, "programs_per_second": 10.0, "rows_kept": 0.8, "verdict_p50_ratio": 2.5}
    runs = [run(1, 0.2, 0.7), run(16, 0.65, 0.69), run(64, 0.649, 0.9)]
    decode = {"model": "m", "arithmetic": "int8", "runs": runs, "provenance": PROVENANCE | {"commit": "d" * 40}}
    page = tables([decode], sharing | {"provenance": PROVENANCE})
    one, sixteen, most = (line for line in page.splitlines() if line.startswith("| m |"))
    assert "| 20% |" in one and "70%, bar 70%: met" in one, "one sample has no bar"
    assert "65%, bar 65%: met" in sixteen and "69%, bar 70%: **missed**" in sixteen
    assert "65%, bar 65%: **missed**" in most
    assert "| both | 1.0 / 2.0 ms |  | 3 |" in page
    assert "keeps 80% of its rows" in page and "2.5 times" in page
    assert "2026-01-02; the first table at commit dddddddddd, the second at cccccccccc." in page
