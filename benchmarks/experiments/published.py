"""Figures that others have published, to stand beside ours, each with why it may not be the same thing."""

from collections.abc import Iterable, Mapping
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


_CODEX = "Chen et al. 2021 (arXiv 2107.03374), completion, best temperature for each k"
_QWEN = "Hui et al. 2024 (arXiv 2409.12186, table 16), EvalPlus's chat prompt, greedy"
_MBPP_QWEN = f"{_QWEN}; EvalPlus's MBPP, which is not the 500-problem test split"

HUMANEVAL = (
    Published(who="Qwen2.5-Coder-0.5B-Instruct", measure="greedy pass@1", value=61.6, how=_QWEN),
    Published(who="Qwen2.5-Coder-1.5B-Instruct", measure="greedy pass@1", value=70.7, how=_QWEN),
    Published(who="SmolLM2-1.7B-Instruct", measure="greedy pass@1", value=28.1, how="the publisher's model card"),
    Published(who="Codex 300M", measure="pass@1", value=13.17, how=_CODEX),
    Published(who="Codex 300M", measure="pass@10", value=20.37, how=_CODEX),
    Published(who="Codex 12B", measure="pass@1", value=28.81, how=_CODEX),
    Published(who="Codex 12B", measure="pass@10", value=46.81, how=_CODEX),
    Published(who="Codex 12B", measure="pass@100", value=72.31, how=_CODEX),
    Published(who="GPT-Neo 125M", measure="pass@1", value=0.75, how=_CODEX),
    Published(who="GPT-Neo 125M", measure="pass@10", value=1.88, how=_CODEX),
    Published(who="GPT-Neo 2.7B", measure="pass@1", value=6.41, how=_CODEX),
    Published(who="GPT-Neo 2.7B", measure="pass@10", value=11.27, how=_CODEX),
)

MBPP = (
    Published(who="Qwen2.5-Coder-0.5B-Instruct", measure="greedy pass@1", value=52.4, how=_MBPP_QWEN),
    Published(who="Qwen2.5-Coder-1.5B-Instruct", measure="greedy pass@1", value=69.2, how=_MBPP_QWEN),
    Published(
        who="137B of the MBPP paper",
        measure="solved by any of 80",
        value=59.6,
        how="Austin, Odena et al. 2021 (arXiv 2108.07732), few-shot, 500 problems, best prompt",
    ),
    Published(
        who="unnamed, a replication of 2025",
        measure="pass@1 without a test in the prompt",
        value=26.1,
        how="BunsenFeng/model_collaboration#82",
    ),
    Published(
        who="unnamed, a replication of 2025",
        measure="with one",
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
        rows=tuple(rows(figures)),
    )


def rows(figures: Iterable[Published]) -> list[tuple[str, str, str, str]]:
    """Who, the measures, their values and how; a row for all figures of one model by one protocol."""
    found: dict[tuple[str, str], list[Published]] = {}
    for one in figures:
        found.setdefault((one.who, one.how), []).append(one)
    return [
        (who, ", ".join(one.measure for one in same), ", ".join(f"{one.value:g}" for one in same), how)
        for (who, how), same in found.items()
    ]
