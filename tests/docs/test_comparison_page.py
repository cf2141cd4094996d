"""docs/comparison.md and the figures in docs/faq.md are those of the committed results."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "cpu"
LOADS = ("batch load", "the same load without priorities", "no load")


def words(name: str) -> str:
    """A page with its line ends as blanks."""
    return " ".join((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").split())


def result(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def whole(number: float) -> int:
    """Rounded, a half up: 82.5 is 83."""
    return int(number + 0.5)


def test_the_tables_are_up_to_date() -> None:
    command = [sys.executable, "scripts/comparison_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_the_text_says_of_tokens_and_starts_is_so() -> None:
    page = words("comparison")
    model = result("peers")["models"]["qwen2.5-coder-0.5b-instruct"]
    lanes = model["lanes"]
    ours, theirs = (
        lanes[name]["k"]["1"]["decode_tokens_per_second"] for name in ("thresher", "llama-batched-bench Q4_0")
    )
    assert f"decodes {theirs / ours:.1f} times our tokens" in page
    starts = lanes["thresher"]["start_s"], lanes["llama-server Q4_0"]["start_s"]
    assert f"Start-up: {starts[0]:.0f} s with compiled kernels" in page
    assert f"llama-server: {starts[1]:.0f} s." in page
    hot, cold = (100 * result("tree-rows")["temperatures"][of]["share_saved"] for of in ("1.0", "0.2"))
    assert f"({hot:.0f} % of rows saved at T = 1.0, {cold:.0f} % at T = 0.2)" in page


def test_the_bars_of_the_race_are_as_the_text_says() -> None:
    against = [one for one in result("first-pass-race")["against"] if "times_solved_per_second" in one]
    alone, together = (
        min(one["times_solved_per_second"] for one in against if one["mode"] == mode) for mode in ("alone", "together")
    )
    page = words("comparison")
    assert f"One after the other it is {alone:.1f} times, several at a time {together:.1f}: met." in page
    assert min(alone, together) >= 3


def test_what_the_answers_say_is_so() -> None:
    page = words("faq")
    steady = result("steady")
    drawing, judging = (steady[f"vanished_while_{what}_ms"] for what in ("drawing", "judging"))
    assert f"its rows were gone after {whole(min(drawing))} to {whole(max(drawing))} ms" in page
    assert f"their jails were gone after {whole(min(judging))} to {whole(max(judging))} ms" in page
    shares = result("shares")["results"]["8 samples"]
    level, greedy = shares["eight modest"]["p50"], shares["seven modest, one greedy"]["p50"]
    assert f"the median of the other seven went from {level:.1f} to {greedy:.1f} s" in page
    loads = result("priorities")["results"]
    batch, without, idle = (loads[name]["first_pass"]["p99"] for name in LOADS)
    said = f"first pass was {batch:.1f} s; without priorities {without:.1f} s, without load {idle:.1f} s"
    assert said in page
    assert said in words("editors")
