"""From a filled middle to the whole program, and where a middle ends that its model does not end.

Models that were tuned for chats often write the middle and then go on: with the suffix once more, with the rest of the
function in other words, with tests. What belongs between prefix and suffix is found by the suffix's own lines, by the
left margin and by the parser.
"""

import ast
from collections.abc import Iterator
from itertools import pairwise

from engine.text.completion_end import CompletionEnd
from engine.text.extract import Extracted, Found
from engine.text.fences import blocks
from engine.text.python_lines import LineState
from engine.text.python_source import MAX_SOURCE, parse

_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def fill(prefix: str, text: str, suffix: str, *, ended: bool) -> Extracted:
    """The program `prefix`, middle, `suffix`, the middle being a beginning of `text` that makes the whole parse and
    leaves the suffix within reach.

    `ended`: the model itself ended the text, which is then taken whole if it fits; otherwise it is cut where it comes
    to a line that the suffix begins with, or as late as it can be. A text that nothing helps comes back whole between
    prefix and suffix, marked NOTHING. Prefix and suffix are kept as they are, to the byte.
    """
    parsed: str | None = None
    for middle in _middles(prefix, text, suffix, ended):
        whole = prefix + middle + suffix
        tree = parse(whole)
        if tree is None:
            continue
        if not _out_of_reach(tree, whole, suffix):
            return Extracted(whole, Found.FILLED, True)
        parsed = parsed or whole
    if parsed is not None:
        return Extracted(parsed, Found.FILLED, True)
    return Extracted(prefix + text + suffix, Found.NOTHING, True)


def _middles(prefix: str, text: str, suffix: str, ended: bool) -> Iterator[str]:
    """Candidates for the middle, the likeliest first."""
    if (start := repeated_from(text, suffix)) is not None:
        yield text[:start]
    whole_lines = prefix[-1:] in ("", "\n") and suffix[:1] not in ("", "\n", "\r")
    if ended:
        yield text
        yield text.rstrip() + "\n" if whole_lines else text.rstrip()
        # A chat model may put the middle into a code block.
        yield from (block.code for block in blocks(text) if block.may_be_python)
    first = _first_line(suffix)
    lines = text.splitlines(keepends=True)
    ends = [0]
    for line in lines:
        ends.append(ends[-1] + len(line))
    if first and not ended:
        yield from (text[:end] for line, end in zip(lines, ends, strict=False) if line.rstrip() == first and end)
    if len(text) > MAX_SOURCE:
        return
    for end in reversed(ends[1:]):
        line_end = "\n" if text[:end].endswith("\n") else ""
        if not line_end and not ended and whole_lines:
            continue  # the text was cut off within this line
        yield text[:end] if whole_lines else text[:end].removesuffix(line_end)


def _first_line(suffix: str) -> str:
    return suffix.lstrip("\r\n").partition("\n")[0].rstrip()


def repeated_from(text: str, suffix: str) -> int | None:
    """Where the text begins to repeat the suffix, at the start of a line. None if it does not.

    From there on the text must be a beginning of the suffix, or hold two lines of it at least and go on as it likes: a
    single line may be the same by chance. White space at the ends does not count.
    """
    wanted, first = suffix.lstrip("\r\n").rstrip(), _first_line(suffix)
    several = "\n" in wanted
    position = 0
    for line in text.splitlines(keepends=True) if wanted else ():
        if line.rstrip() == first:
            rest = text[position:].rstrip()
            if wanted.startswith(rest) or (several and rest.startswith(wanted)):
                blank = suffix[: len(suffix) - len(suffix.lstrip("\r\n"))]
                return len(text[:position].removesuffix(blank))
        position += len(line)
    return None


def _out_of_reach(tree: ast.Module, whole: str, suffix: str) -> bool:
    """Whether the first statement of the suffix stands right below one that always leaves its block."""
    start = len(whole) - len(suffix.lstrip())
    if whole[:start].rpartition("\n")[2].strip():
        return False  # the suffix continues a line
    number = whole.count("\n", 0, start) + 1
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block: object = getattr(node, name, None)
            if not isinstance(block, list):
                continue
            for above, below in pairwise(block):
                if isinstance(above, _LEAVES) and below.lineno == number:
                    return True
    return False


class MiddleEnd:
    """Reads a middle piece by piece. It ends where two lines of the suffix begin, or, for a hole inside a block, at a
    statement at the left margin that nothing needs."""

    __slots__ = ("_block", "_suffix", "end")

    def __init__(self, prefix: str, suffix: str) -> None:
        self._suffix = suffix
        self._block = CompletionEnd(prefix, None) if _inside_block(prefix) else None
        self.end = 0
        """Length of the middle, once it has ended."""

    def fork(self) -> "MiddleEnd":
        """An independent copy."""
        copy = MiddleEnd.__new__(MiddleEnd)
        copy._suffix = self._suffix
        copy._block = None if self._block is None else self._block.fork()
        copy.end = self.end
        return copy

    def push(self, piece: str, text: str) -> bool:
        """Take the next piece of `text`, which ends with it. True if the middle has ended; `end` says where."""
        if self._block is not None and self._block.push(piece, text):
            self.end = self._block.end
            return True
        if "\n" not in piece:
            return False
        lines = text[: text.rfind("\n") + 1]
        start = repeated_from(lines, self._suffix)
        if start is None or len([line for line in lines[start:].splitlines() if line.strip()]) < 2:
            return False
        self.end = start
        return True


def _inside_block(prefix: str) -> bool:
    state = LineState()
    lines = prefix.split("\n")
    for line in lines[:-1]:
        state.feed(line)
    last = next((line for line in reversed(lines) if line.strip()), "")
    return state.fresh and (last[:1].isspace() or last.rstrip().endswith(":"))
