"""Tests that a model writes, for a choice without the deciding tests: CodeT (Chen et al. 2022, arXiv 2207.10397).

The model is shown the stub, its body left out, and goes on after `assert`. Of each text the first few asserts are read
(`selection_tasks.generated`); what is no literal call of the function is left. The texts are kept in the ledger of the
run, from which `thresher bench selection --tests` reads them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from benchmarks.data import Record
from benchmarks.experiments.counting import require_complete
from benchmarks.experiments.experiment import Arm, Draw, Experiment, Outcomes, Plan, Task
from benchmarks.experiments.humaneval_tasks import STOP as _PROGRAMS_STOP
from benchmarks.experiments.outcome import PASSED, WRONG, Candidate, Outcome
from benchmarks.experiments.parts import figure, page, problem_table, set_words, source_words
from benchmarks.experiments.resampling import mean
from benchmarks.experiments.selection_tasks import GENERATED_TESTS, PER_BLOCK, generated
from benchmarks.experiments.sources import Source, SourceMaker
from benchmarks.report.page import Figure, Figures, Page, Text

TESTS = "tests"
"""The arm of the texts."""
STOP = (*_PROGRAMS_STOP, "\n```")
USUAL = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 300}
"""As CodeT draws them."""
PROMPT = "CodeT's: the stub without a body, its examples left in, then `assert`"
_COUNT = "tests"
_JUDGED = "a text passes where at least one test can be read of it"


def tasks(records: Sequence[Record], limits: Mapping[str, Any]) -> tuple[Task, ...]:
    """Each problem as a text to go on with. Its own tests are in no document: nothing here may know them."""
    return tuple(
        Task(record=record, document={"completion": prompt(record), "tests": ["pass"], "limits": dict(limits)})
        for record in records
    )


def prompt(record: Record) -> str:
    """CodeT's prompt of a problem, but that the docstring keeps its examples, and that no blank ends it.

    A blank is the beginning of a token for most models, which they would not draw after one.
    """
    return f"{record.stub.rstrip()}\n    pass\n\n# check the correctness of {record.entry_point}\nassert"


class Written:
    """Makes a generator's samples texts of tests: what a sandbox says of such a text means nothing."""

    def __init__(self, generator: SourceMaker) -> None:
        self._generator = generator

    def asked(self) -> dict[str, Any]:
        """See SourceMaker."""
        return {**self._generator.asked(), "judged": _JUDGED}

    def check(self, plan: Plan) -> None:
        """See SourceMaker."""
        self._generator.check(plan)

    def open(self, model: str = "") -> Source:
        """See SourceMaker."""
        return _Reading(self._generator.open(model))


class _Reading:
    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def at_once(self) -> int:
        return self._source.at_once

    def described(self) -> dict[str, Any]:
        return self._source.described()

    def check(self, arm: Arm) -> None:
        self._source.check(arm)

    async def outcome(self, task: Task, draw: Draw) -> Outcome:
        found = await self._source.outcome(task, draw)
        name = task.record.entry_point
        texts = [candidate.code for candidate in found.by_sample()]
        return replace(
            found,
            candidates=tuple(_read(candidate, name) for candidate in found.candidates),
            facts={**found.facts, _COUNT: len(generated(texts, name))},
        )

    async def __aenter__(self) -> Self:
        await self._source.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._source.__aexit__(*exception)


def _read(candidate: Candidate, entry_point: str) -> Candidate:
    readable = bool(generated([candidate.code], entry_point))
    message = "" if readable else f"no literal call of {entry_point} can be read of it"
    return replace(candidate, verdict=PASSED if readable else WRONG, tests=(), tests_total=0, message=message)


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """How many different tests there are of each problem, and of how many texts any can be read."""
    texts = outcomes[TESTS]
    require_complete(protocol, TESTS, texts)
    counts = [int(outcome.facts[_COUNT]) for outcome in texts]
    return {
        "problems": len(texts),
        "texts_per_problem": protocol["arms"][0]["samples"],
        "tests": sum(counts),
        "problems_without_tests": counts.count(0),
        "readable_texts": mean([outcome.passed / outcome.finished for outcome in texts]).plain(),
        "tests_of_each_problem": {outcome.id: count for outcome, count in zip(texts, counts, strict=True)},
    }


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)}"
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"]
    figures = (
        Figure(label="different tests a problem", value=f"{found['tests'] / found['problems']:.1f}"),
        figure("texts of which any can be read", found["readable_texts"]),
        Figure(label="problems without any", value=f"{found['problems_without_tests']} of {found['problems']}"),
    )
    words = (
        f"{found['texts_per_problem']} texts a problem; of each the first {PER_BLOCK} asserts are read, and each test "
        "counts once. In the table below a text passed where a test can be read of it; whether the test is right is "
        "not known here."
    )
    blocks = (Figures(figures=figures), Text(title="What is counted", paragraphs=(words,)))
    return page(result, lead, [*blocks, problem_table(result, [TESTS])])


EXPERIMENT = Experiment(name=GENERATED_TESTS, title="Tests that a model writes", scores=scores, page=report)
