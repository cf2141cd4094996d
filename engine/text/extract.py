"""From what a model wrote to the program in it."""

import re
import textwrap
from dataclasses import dataclass
from enum import StrEnum

from engine.text.completion_end import CompletionEnd
from engine.text.demonstrations import without_demonstrations
from engine.text.fences import Block, blocks
from engine.text.python_source import defines, error_line, globals_of, is_program, parse

_BEGINNING = re.compile(
    r"(?:from\s+[.\w]+\s+import\s|import\s+\w|(?:async\s+)?def\s+\w+\s*[(\[]|class\s+\w+\s*[(:\[]|@\w|\w+\s*(?::[^=]*)?=[^=])"
)
_PROMPT = re.compile(r"^[ \t]*(?:>>>|\.\.\.)(?: |$)", re.MULTILINE)


class Found(StrEnum):
    """Where the program was."""

    FENCED = "fenced"
    """In one closed code block."""
    JOINED = "joined"
    """In a code block that needs others, which stand before it now."""
    UNCLOSED = "unclosed"
    """In a code block without an end; an unfinished last statement is left out."""
    WHOLE = "whole"
    """The text is the program."""
    AMONG_PROSE = "among_prose"
    """Between lines that are no Python, without a fence."""
    COMPLETION = "completion"
    """The prompt and the text that continues it."""
    FILLED = "filled"
    """Between the prefix and the suffix of the prompt."""
    NOTHING = "nothing"
    """Nowhere: the code is the text as it is, and will not run."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """A program, and where it was. `code` ends with a line end."""

    code: str
    reason: Found
    defines_entry_point: bool
    """True as well if no entry point is known."""


def extract_program(text: str, *, prompt: str | None = None, entry_point: str | None = None) -> Extracted:
    """The program in a model's answer. Never fails: what cannot be made out comes back as it is, marked NOTHING.

    `prompt` is a completion prompt that is itself the beginning of the program. `entry_point` is the function or class
    that the tests call; a block that defines it goes before any other, and what only shows it at work is left out.
    """
    code, reason = _completed(prompt, text, entry_point) if prompt is not None else _answered(text, entry_point)
    if entry_point is not None:
        code = without_demonstrations(code, entry_point)
    found = entry_point is None or defines(code, entry_point)
    return Extracted(code.rstrip() + "\n", reason, found)


def _completed(prompt: str, text: str, entry_point: str | None) -> tuple[str, Found]:
    # A chat model asked to continue may write the whole function anew, in a block.
    fenced = _from_blocks(text, entry_point) if entry_point is not None else None
    if fenced is not None and parse(prompt + text) is None:
        return fenced
    end = CompletionEnd(prompt, entry_point)
    code = prompt + (text[: end.end] if end.push(text, text) else text)
    return _without_loose_end(code, entry_point) or code, Found.COMPLETION


def _answered(text: str, entry_point: str | None) -> tuple[str, Found]:
    return _from_blocks(text, entry_point) or _unfenced(text, entry_point) or (text, Found.NOTHING)


def _from_blocks(text: str, entry_point: str | None) -> tuple[str, Found] | None:
    found = [(block, _as_source(block)) for block in blocks(text) if block.may_be_python]
    programs = [(block, code) for block, code in found if is_program(code, entry_point)]
    if not programs:
        return None
    # The first that parses; StopRules ends a text at the first block that looks right.
    block, code = next((item for item in programs if parse(item[1]) is not None), programs[0])
    others = [other for place, other in found if place is not block]
    joined = _with_what_it_needs(code, others)
    if joined != code:
        return joined, Found.JOINED
    return code, Found.FENCED if block.closed else Found.UNCLOSED


def _as_source(block: Block) -> str:
    code = _without_prompts(block.code)
    return code if block.closed else _without_loose_end(code, None) or code


def _with_what_it_needs(code: str, others: list[str]) -> str:
    """The code after those of the other blocks that bind names which it uses and lacks."""
    needed: list[str] = []
    while (names := globals_of("\n".join([*needed, code]))) is not None and names[1]:
        for other in others:
            bound = globals_of(other)
            if bound is not None and not bound[0].isdisjoint(names[1]) and other not in needed:
                needed = [block for block in others if block in needed or block is other]
                break
        else:
            break
    return "\n".join([*needed, code])


def _unfenced(text: str, entry_point: str | None) -> tuple[str, Found] | None:
    code = _without_prompts(textwrap.dedent(text))
    if is_program(code, entry_point) and parse(code) is not None:
        return code, Found.WHOLE
    lines = code.split("\n")
    beginnings = [number for number, line in enumerate(lines) if _BEGINNING.match(line)]
    # The first beginning keeps imports and helpers; the entry point's own is the last resort.
    last_resort = [n for n in beginnings if entry_point is not None and defines(lines[n], entry_point)]
    for start in [*beginnings[:1], *last_resort[:1]]:
        part = _without_loose_end("\n".join(lines[start:]), entry_point)
        if part is not None and is_program(part, entry_point):
            return part, Found.AMONG_PROSE
    return None


def _without_prompts(code: str) -> str:
    """An interpreter session as a program: prompts taken off, output left out. Other code as it is."""
    lines = code.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if not first.lstrip().startswith(">>>"):
        return code
    return "\n".join(_PROMPT.sub("", line) for line in lines if _PROMPT.match(line)) + "\n"


def _without_loose_end(code: str, entry_point: str | None) -> str | None:
    """The longest beginning of whole lines that parses, found by where the parser gives up; None if there is none.

    A text cut off in its last statement loses that statement, prose below a program goes away. With an entry point, the
    beginning must still define it.
    """
    lines = code.rstrip().split("\n")
    while (wrong := error_line("\n".join(lines))) is not None:
        # No beginning that holds the wrong line can be right.
        del lines[min(wrong, len(lines)) - 1 :]
    code = "\n".join(lines)
    return code if code.strip() and (entry_point is None or defines(code, entry_point)) else None
