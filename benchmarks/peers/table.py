"""The figures of a race as a page's tables, ours over each peer's, and our bars, met or missed.

    python -m benchmarks.peers.table [--results FILE.json] [--page FILE.md]

What stands between the two marks of the page is replaced.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.executing.table import put
from benchmarks.peers.setup import LLAMA, VLLM

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results" / "cpu" / "peers.json"
PAGE = _ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


@dataclass(frozen=True, slots=True)
class Bar:
    """At `k`, ours over the best of the lanes that `of` chooses (name, peer) is to be at least `least`."""

    what: str
    k: str
    least: float
    of: Callable[[str, str], bool]


BARS = (
    Bar("vLLM in bf16 with the same sampler", "64", 3.0, lambda name, _: name == "vllm bf16"),
    Bar("the best of vLLM, whatever it leaves out", "64", 1.0, lambda _, peer: peer == VLLM),
    Bar("the best of llama.cpp, whatever it leaves out", "64", 2.0, lambda _, peer: peer == LLAMA),
    Bar("the best of llama.cpp, whatever it leaves out", "16", 1.5, lambda _, peer: peer == LLAMA),
    Bar("the best of llama.cpp, whatever it leaves out", "1", 0.8, lambda _, peer: peer == LLAMA),
)


def tables(result: dict[str, Any]) -> str:
    """Markdown of a result file's content."""
    parts = [part for name, model in result["models"].items() for part in (f"### {name}", *_model(model, result))]
    if result["missing"]:
        parts.append("\n".join(f"- {peer} is missing: {why}" for peer, why in result["missing"].items()))
    if result["skipped"]:
        parts.append(f"Left out of this run: {', '.join(result['skipped'])}.")
    versions = ", ".join(made["package"] for made in result["peers"].values())
    runs = "; ".join(f"{name} {_run(model['provenance'])}" for name, model in result["models"].items())
    parts.append(f"Measured: {runs}. Peers: {versions}.")
    return "\n\n".join(parts)


def _run(provenance: dict[str, Any]) -> str:
    machine = provenance["machine"]
    where = f"on {machine['cores']} cores of {machine['cpu']}, kernel {machine['kernel']}"
    return f"{where}, {provenance['date'][:10]}, at commit {provenance['commit'][:10]}"


def _model(model: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    counts = list(next(iter(model["lanes"].values()))["k"])
    yield (
        f"A prompt of {model['prompt_tokens']} tokens, {result['new_tokens']} new ones for each sample, medians of "
        f"{result['rounds']} rounds."
    )
    heads = ["", "sampler", *(f"k = {k}" for k in counts), f"MiB at k = {counts[-1]}", "start, s", "greedy as ours"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, lane in model["lanes"].items():
        cells = [name, lane["sampler"], *(_rate(name, lane["k"][k], model["ratios"][k]) for k in counts)]
        cells += [f"{lane['k'][counts[-1]]['resident_mib']:.0f}", f"{lane['start_s']:.1f}"]
        lines.append(f"| {' | '.join([*cells, lane.get('greedy_as_ours', '')])} |")
    yield "\n".join(lines)
    bars = [line for bar in BARS if bar.k in counts for line in _bar(bar, model)]
    if bars:
        yield "\n".join(["| thresher over | at | measured | bar |", "| --- | --- | --- | --- |", *bars])
    for name, lane in model["lanes"].items():
        if tried := lane.get("settings", {}).get("best by k"):
            words = (f"at k = {k} {one['cache']} cache, {one['at_once']} at once" for k, one in tried.items())
            yield f"Found to be fastest for {name}: {'; '.join(words)}."
    if model["failed"]:
        yield "\n".join(f"- {name} failed: {why}" for name, why in model["failed"].items())


def _rate(name: str, figures: dict[str, Any], ratios: dict[str, dict[str, float]]) -> str:
    """Tokens a second, in brackets after the prompt; ours over theirs."""
    text = f"{figures['tokens_per_second']:g}"
    if "decode_tokens_per_second" in figures:
        text += f" ({figures['decode_tokens_per_second']:g})"
    return f"{text}, {_fair(ratios[name]):.2f}x" if name in ratios else text


def _bar(bar: Bar, model: dict[str, Any]) -> Iterator[str]:
    found = {
        name: _fair(ratio)
        for name, ratio in model["ratios"][bar.k].items()
        if bar.of(name, model["lanes"][name]["peer"])
    }
    if found:
        best = min(found, key=lambda name: found[name])
        verdict = "met" if found[best] >= bar.least else "**missed**"
        measured = f"{found[best]:.2f}x ({best})"
        yield f"| {bar.what} | k = {bar.k} | {measured} | >= {bar.least:g}x: {verdict} |"


def _fair(ratio: dict[str, float]) -> float:
    """Of decoding alone where both sides say it: the prompt of a batched bench is not sampled from either."""
    return ratio.get("decode_tokens_per_second", ratio["tokens_per_second"])


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    text = tables(json.loads(options.results.read_text()))
    options.page.write_text(put(options.page.read_text(), text, BEGIN, END))


if __name__ == "__main__":
    main()
