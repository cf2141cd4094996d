"""The figures of `thresher bench decode` and of `benchmarks.sharing` as a page's tables.

    python -m benchmarks.decode_table [--results FOLDER] [--page FILE.md]

Reads decode-*.json and sharing.json of the folder; what stands between the two marks of the page is replaced.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.executing.table import put

_ROOT = Path(__file__).resolve().parents[1]
RESULTS = _ROOT / "benchmarks" / "results" / "cpu"
PAGE = _ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- decode: begin -->", "<!-- decode: end -->"
_SHARE = 0.65
_PREFILL_SHARE = 0.7


def tables(decodes: list[dict[str, Any]], sharing: dict[str, Any]) -> str:
    """Markdown of the files' contents."""
    head = (
        "| model | arithmetic | k | tokens/s, all | while decoding | of the ceiling | prompt | of the ceiling |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = "".join(row for decode in decodes for row in _rows(decode))
    phases = "".join(_phase(name, phase) for name, phase in sharing["phases"].items())
    shared = "| phase | front answers, p50 / p99 | verdicts, p50 / p99 | rows/s |\n| --- | --- | --- | --- |\n" + phases
    rate, ratio = sharing["programs_per_second"], sharing["verdict_p50_ratio"]
    kept = (
        f"Beside {rate:g} programs a second the sampler keeps {sharing['rows_kept']:.0%} of its rows; "
        f"a verdict takes {ratio:g} times as long as without the sampler."
    )
    commits = sorted({decode["provenance"]["commit"][:10] for decode in decodes})
    first, second = ", ".join(commits), sharing["provenance"]["commit"][:10]
    told = f"Measured on {_machine(sharing['provenance'])}; the first table at commit {first}, the second at {second}."
    return f"{head}{rows}\n{shared}\n{kept}\n\n{told}"


def _rows(decode: dict[str, Any]) -> Iterator[str]:
    for run in decode["runs"]:
        share, prefill = run["share_of_ceiling"], run["prefill_share_of_ceiling"]
        wanted = f"{share:.0%}" + (_met(share, _SHARE) if run["k"] in (16, 64) else "")
        yield (
            f"| {decode['model']} | {decode['arithmetic']} | {run['k']} | {run['tokens_per_second']:.0f} | "
            f"{run['decode_tokens_per_second']:.0f} | {wanted} | {run['prompt_tokens']} tokens in "
            f"{run['prefill_ms']:.0f} ms | {prefill:.0%}{_met(prefill, _PREFILL_SHARE)} |\n"
        )


def _met(share: float, bar: float) -> str:
    return f", bar {bar:.0%}: {'met' if share >= bar else '**missed**'}"


def _phase(name: str, phase: dict[str, Any]) -> str:
    def times(part: dict[str, float]) -> str:
        return f"{part['p50']:.1f} / {part['p99']:.1f} ms" if part else ""

    return f"| {name} | {times(phase['front_ms'])} | {times(phase['verdict_ms'])} | {phase['rows_per_second']:.0f} |\n"


def _machine(provenance: dict[str, Any]) -> str:
    machine = provenance["machine"]
    return f"{machine['cores']} cores of {machine['cpu']}, kernel {machine['kernel']}, {provenance['date'][:10]}"


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    decodes = [json.loads(path.read_text()) for path in sorted(options.results.glob("decode-*.json"))]
    sharing = json.loads((options.results / "sharing.json").read_text())
    options.page.write_text(put(options.page.read_text(), tables(decodes, sharing), BEGIN, END))


if __name__ == "__main__":
    main()
