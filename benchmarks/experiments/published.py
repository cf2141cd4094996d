"""Figures that others have published, to stand beside ours, each with why it may not be the same thing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report.page import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A score in per cent. measure: as its authors call it. how: what else differs from our protocol."""

    who: str
    measure: str
    value: float
    how: str


_CODEX = "Chen et al. 2021, completion, best temperature for each k"
_QWEN = "the publisher's, EvalPlus's chat prompt, greedy"
_MBPP_QWEN = f"{_QWEN}; EvalPlus's MBPP, which is not the 500-problem test split"

HUMANEVAL = (
    Published(who="GPT-Neo 125M", measure="pass@1", value=0.75, how=_CODEX),
    Published(who="GPT-Neo 125M", measure="pass@10", value=1.88, how=_CODEX),
    Published(who="GPT-Neo 2.7B", measure="pass@1", value=6.41, how=_CODEX),
    Published(who="GPT-Neo 2.7B", measure="pass@10", value=11.27, how=_CODEX),
    Published(who="Codex 300M", measure="pass@1", value=13.17, how=_CODEX),
    Published(who="Codex 300M", measure="pass@10", value=20.37, how=_CODEX),
    Published(who="Codex 12B", measure="pass@1", value=28.81, how=_CODEX),
    Published(who="Codex 12B", measure="pass@10", value=46.81, how=_CODEX),
    Published(who="Codex 12B", measure="pass@100", value=72.31, how=_CODEX),
    Published(who="Qwen2.5-Coder-0.5B-Instruct", measure="greedy pass@1", value=61.6, how=_QWEN),
    Published(who="Qwen2.5-Coder-1.5B-Instruct", measure="greedy pass@1", value=70.7, how=_QWEN),
    Published(who="SmolLM2-1.7B-Instruct", measure="greedy pass@1", value=28.1, how="the publisher's"),
)

MBPP = (
    Published(
        who="137B of the MBPP paper",
        measure="solved by any of 80",
        value=59.6,
        how="Austin, Odena et al. 2021, few-shot, 500 problems, best prompt",
    ),
    Published(who="Qwen2.5-Coder-0.5B-Instruct", measure="greedy pass@1", value=52.4, how=_MBPP_QWEN),
    Published(who="Qwen2.5-Coder-1.5B-Instruct", measure="greedy pass@1", value=69.2, how=_MBPP_QWEN),
    Published(
        who="unnamed, a replication of 2025",
        measure="pass@1, no test in the prompt",
        value=26.1,
        how="BunsenFeng/model_collaboration#82",
    ),
    Published(
        who="the same, with one test in the prompt",
        measure="pass@1",
        value=51.5,
        how="BunsenFeng/model_collaboration#82",
    ),
)


def tables(figures: tuple[Published, ...], result: Mapping[str, Any]) -> list[Table]:
    """A table of them, where a model made the samples: beside anything else they would mean nothing."""
    if not figures or result["protocol"]["generator"]["kind"] not in ("server", "replay"):
        return []
    return [table(figures)]


def table(figures: tuple[Published, ...]) -> Table:
    """A table of them; nothing in it was measured here."""
    return Table(
        title="Published figures",
        note="Not measured here, and not by this protocol: to be read as neighbours, not as rivals.",
        head=("model", "measure", "%", "how"),
        align="llrl",
        rows=tuple((one.who, one.measure, f"{one.value:.2f}".rstrip("0").rstrip("."), one.how) for one in figures),
    )
