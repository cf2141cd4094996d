"""Fenced code blocks of Markdown, whole or still being written."""

import re
import textwrap
from dataclasses import dataclass

from engine.text.python_lines import string_is_open

_FENCE = re.compile(r"([ \t]*(?:(?:[-*]|\d+\.)[ \t]+)?)(`{3,}|~{3,})[ \t]*(.*?)[ \t\r]*")
_PYTHON = frozenset({"", "python", "python3", "py", "py3", "ipython", "pycon"})


@dataclass(frozen=True, slots=True)
class Block:
    """A code block; `code` has line ends after all its lines. `start` and `end` are positions of the whole block in the
    text, fences included."""

    language: str
    code: str
    start: int
    end: int
    closed: bool

    @property
    def may_be_python(self) -> bool:
        """Whether the block is marked as Python, or not marked."""
        return self.language in _PYTHON


@dataclass(slots=True)
class _Open:
    mark: str
    indent: str
    language: str
    start: int
    body: int

    def close(self, text: str, code_end: int, end: int, *, closed: bool) -> Block:
        code = text[self.body : code_end]
        if self.indent:
            code = textwrap.dedent(code)
        return Block(self.language, code, self.start, end, closed)


def blocks(text: str) -> list[Block]:
    """All fenced blocks in order. The last one may be unclosed: the text ends within it, or a new one begins.

    A fence inside a triple-quoted string of a Python block belongs to the string (docstrings show examples this way).
    """
    found: list[Block] = []
    current: _Open | None = None
    position = 0
    for line in text.split("\n"):
        start, position = position, position + len(line) + 1
        fence = _FENCE.fullmatch(line) if "```" in line or "~~~" in line else None
        if fence is None:
            continue
        indent, mark, info = fence.groups()
        if current is None:
            current = _opened(mark, indent, info, start, position)
            continue
        if mark[0] != current.mark[0] or string_is_open(text[current.body : start]):
            continue
        if not info and len(mark) >= len(current.mark):
            found.append(current.close(text, start, start + len(line), closed=True))
            current = None
        elif info and (following := _opened(mark, indent, info, start, position)) is not None:
            # Nobody writes a language beside a closing fence: the block before it was never closed.
            found.append(current.close(text, start, start, closed=False))
            current = following
    if current is not None:
        found.append(current.close(text, len(text), len(text), closed=False))
    return found


def _opened(mark: str, indent: str, info: str, start: int, body: int) -> _Open | None:
    if "`" in info:
        return None  # code within a line
    language = info.split()[0].strip("{}.").lower() if info else ""
    return _Open(mark, indent, language, start, body)
