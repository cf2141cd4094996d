"""Just enough of Python's grammar to read a program line by line while it is being written."""

import re
from dataclasses import dataclass

_POINT = re.compile(r"#|'''|\"\"\"|['\"()\[\]{}]|\\$")
_STRING_ENDS = {quote: re.compile(r"\\.|" + quote) for quote in ("'''", '"""', "'", '"')}
_DEFINITION = re.compile(r"(?:async\s+def|def|class)\s+(\w+)")


@dataclass(slots=True)
class LineState:
    """What is open at the start of a line: brackets, a string, or a backslash before the line end."""

    depth: int = 0
    quote: str = ""
    joined: bool = False

    @property
    def fresh(self) -> bool:
        """Whether the next line begins a statement."""
        return not (self.depth or self.quote or self.joined)

    def feed(self, line: str) -> None:
        """Take a whole line, without its line end."""
        position = 0
        self.joined = False
        while True:
            if self.quote:
                position = self._end_of_string(line, position)
                if position < 0:
                    return
            point = _POINT.search(line, position)
            if point is None:
                return
            match mark := point.group():
                case "#":
                    return
                case "\\":
                    self.joined = True
                    return
                case "(" | "[" | "{":
                    self.depth += 1
                case ")" | "]" | "}":
                    self.depth = max(0, self.depth - 1)
                case _:
                    self.quote = mark
            position = point.end()

    def _end_of_string(self, line: str, position: int) -> int:
        """Position after the open string's end; -1 if it does not end in this line."""
        pattern = _STRING_ENDS[self.quote]
        while (found := pattern.search(line, position)) is not None:
            position = found.end()
            if found.group() == self.quote:
                self.quote = ""
                return position
        # Only three quotes, or a backslash at the very end, carry a string over the line.
        if len(self.quote) == 1 and not _ends_in_backslash(line):
            self.quote = ""
        return -1


def _ends_in_backslash(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def string_is_open(code: str) -> bool:
    """Whether a string of three quotes is open after these lines."""
    state = LineState()
    for line in code.split("\n"):
        state.feed(line)
    return len(state.quote) == 3


def definition(line: str) -> str | None:
    """Name of the function or class that the line begins to define."""
    found = _DEFINITION.match(line)
    return None if found is None else found.group(1)
