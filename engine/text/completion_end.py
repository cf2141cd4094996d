"""Finds the end of a program that a model continues from a prompt, line by line and without looking back.

The usual way, stop strings like "\\ndef" and "\\nif", cuts off helper functions that a program defines below their use.
Here a statement at the left margin ends the program unless the program needs it: unless it binds a name that was used
above and is still unbound. Nothing ends a program before it has begun, or before its entry point is there; a model that
leaves the prompt's function without a body starts anew, and the entry point is then still to come.
"""

import keyword
import re
from typing import Literal

from engine.text.python_lines import LineState, definition
from engine.text.python_source import globals_of, is_program

# Clause -> what it may follow at the left margin.
_CLAUSES = {
    "elif": ("if", "elif"),
    "else": ("if", "elif", "for", "while", "except"),
    "except": ("try", "except"),
    "finally": ("try", "except", "else"),
}
_WORD = re.compile(r"\w*")
_ASSIGNED = re.compile(r"(\w+)\s*(?::|=(?!=))")


class CompletionEnd:
    """Reads a completion piece by piece. `prompt` is the text before it, `entry_point` a name that it must define."""

    __slots__ = (
        "_clause",
        "_complete",
        "_entry_point",
        "_held",
        "_line",
        "_name",
        "_prompt",
        "_settled",
        "_state",
        "end",
    )

    def __init__(self, prompt: str, entry_point: str | None) -> None:
        self._prompt = prompt
        self._entry_point = None if entry_point is None else entry_point.partition(".")[0]
        self._state = LineState()
        self._clause = ""  # first word of the statement at the left margin that is being written
        self._held = False  # a decorator waits for what it decorates
        self._name: str | None = None  # what was defined when the program became complete
        self._complete = False  # the entry point is there: from now on a statement must be needed
        self._settled = False  # the current line belongs to the program
        self.end = 0
        """Length of the completion up to the last line that belongs to the program; 0 before the first."""
        *lines, self._line = prompt.split("\n")
        for line in lines:
            self._finish(line)
        if entry_point is None:
            # Names tell nothing: the program is under way only if the prompt breaks off inside a block.
            last = next((line for line in reversed(lines) if line.strip()), "")
            self._complete = not self._state.fresh or last[:1].isspace() or last.rstrip().endswith(":")
        self._settled = bool(self._line) or not self._state.fresh

    @property
    def under_way(self) -> bool:
        """Whether the program is there and has lines of the completion: a statement it does not need would end it."""
        return self._complete and self.end > 0

    def fork(self) -> "CompletionEnd":
        """An independent copy."""
        copy = CompletionEnd.__new__(CompletionEnd)
        for name in CompletionEnd.__slots__:
            setattr(copy, name, getattr(self, name))
        copy._state = LineState(self._state.depth, self._state.quote, self._state.joined)
        return copy

    def push(self, piece: str, text: str) -> bool:
        """Take the next piece of `text`, which ends with it. True if the program has ended; `end` says where."""
        if "\n" not in piece:
            self._line += piece
            return not self._settled and self._starts_foreign(text, whole=False)
        first, *lines = piece.split("\n")
        position = len(text) - len(piece)
        self._line += first
        for following in lines:
            position += len(first) + 1
            if not self._settled and self._starts_foreign(text[:position], whole=True):
                return True
            line = self._line
            self._finish(line)
            if line.strip() and not self._held and not (line[0] == "#" and self._state.fresh):
                self.end = position
            self._line = first = following
            self._settled = not self._state.fresh
        return not self._settled and self._starts_foreign(text, whole=False)

    def _finish(self, line: str) -> None:
        if self._state.fresh and line and not line[0].isspace() and line[0] != "#":
            self._clause = _first_word(line)
            if not self._complete and (name := definition(line)) is not None:
                self._complete, self._name = self._entry_point in (None, name), name
            self._held = line[0] == "@"
        self._state.feed(line)

    def _starts_foreign(self, text: str, *, whole: bool) -> bool:
        """Whether the current line, which begins a statement, does not belong to the program."""
        line = self._line
        if not line:
            return False
        if line[0].isspace():
            if line.strip():
                self._settled = True
            return False
        if line[0] == "#":
            return False
        if not self.end:
            self._complete = self._complete and is_program(self._prompt, self._name)
        if not self._complete or not self.end:
            self._settled = True
            return False
        verdict = "belongs" if line[0] == "@" else self._judge(line, text, whole)
        self._settled = verdict == "belongs"
        return verdict == "foreign"

    def _judge(self, line: str, text: str, whole: bool) -> Literal["belongs", "foreign", "unclear"]:
        word = _first_word(line)
        rest = line[len(word) :]
        if not rest and not whole:
            return "unclear"
        if word in ("def", "class", "async"):
            name = definition(line)
            if not whole and (name is None or line.endswith(name)):
                return "unclear"
            return self._needed([] if name is None else [name], text)
        if word in _CLAUSES:
            return "belongs" if self._clause in _CLAUSES[word] else "foreign"
        if word in ("import", "from"):
            return self._needed(_imported(line), text) if whole else "unclear"
        if keyword.iskeyword(word):
            return "foreign"
        if not whole and not rest.strip(" ="):
            return "unclear"
        assigned = _ASSIGNED.match(line)
        return self._needed([] if assigned is None else [assigned.group(1)], text)

    def _needed(self, names: list[str], text: str) -> Literal["belongs", "foreign"]:
        if not names:
            return "foreign"
        found = globals_of(self._prompt + text[: self.end])
        return "belongs" if found is not None and not found[1].isdisjoint(names) else "foreign"


def _first_word(line: str) -> str:
    found = _WORD.match(line)
    return "" if found is None else found.group()


def _imported(line: str) -> list[str]:
    """Names that an import statement binds."""
    words = line.partition("#")[0].replace("(", " ").replace(")", " ")
    from_module = words.startswith("from")
    names: list[str] = []
    for item in words.partition("import")[2].split(","):
        name, _, alias = item.partition(" as ")
        names.append(alias.strip() or (name if from_module else name.partition(".")[0]).strip())
    return names
