"""Inline completion: the text that fills the hole at the cursor, where the function's tests pass with it.

The file is a prompt to fill in the middle, and the tests that decide are the function's own. What fails is not shown.
"""

from dataclasses import dataclass

from thresher.lsp.connection import Connection
from thresher.lsp.documents import Document
from thresher.lsp.found import Found
from thresher.lsp.functions import Function, Source
from thresher.lsp.problem import Task
from thresher.lsp.solving import Settings, spec_of
from thresher.v1 import verdict_pb2

_SAMPLES = 4
_SECONDS = 15.0
"""A completion that comes later than this is of no use."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a function: the program's text before and after it."""

    task: Task
    prefix: str
    suffix: str


def readable(source: Source, line: int) -> Source:
    """The file with its line `line` (counted from 0) written, where the cursor's line is empty or half a statement, as
    one that does nothing: so that the function around it can be found."""
    lines = list(source.lines)
    text = lines[line]
    lines[line] = f"{text[: len(text) - len(text.lstrip())]}pass"
    changed = Source("\n".join(lines))
    if changed.tree is not None and (source.tree is None or not text.strip()):
        return changed
    return source


def hole_at(document: Document, source: Source, function: Function, found: Found, line: int, column: int) -> Hole:
    """The hole at a line (from 0) and column (in characters) inside `function`, which was found in `source`: what
    `readable` made of the document's."""
    assert source.tree is not None, "a function was found in it"
    task = Task.of(source, source.tree, function, found.tests)
    before, after = source.around(function)
    lines = document.source.lines
    own = document.source.between(function.first, line) + lines[line][:column]
    rest = f"{lines[line][column:]}\n{document.source.between(line + 2, function.last)}"
    above, below = task.excerpt.sides()
    return Hole(task, f"{above}{before}{own}", f"{rest}{after}{below}")


async def fill(connection: Connection, settings: Settings, at: Hole) -> str | None:
    """The text for the hole; None where none passes, or the model cannot fill in. Raises ThresherError."""
    served = await connection.served(settings.model, None)
    if not served.infill:
        return None
    problem = at.task.infill_between(at.prefix, at.suffix)
    spec = spec_of(problem, settings.model, min(settings.k, _SAMPLES), min(settings.seconds, _SECONDS))
    async with connection.client().solve(spec) as stream:
        async for event in stream:
            judged = event.candidate_judged.candidate
            if judged.report.verdict == verdict_pb2.VERDICT_PASSED:
                text = judged.code[len(at.prefix) : len(judged.code) - len(at.suffix)]
                return text if text.strip() else None
    return None
