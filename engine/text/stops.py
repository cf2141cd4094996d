"""Where a sample's text ends: at a control token, at a stop string, or where its program is complete."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from engine.text.completion_end import CompletionEnd
from engine.text.constraint import Constraint
from engine.text.extract import Found, extract_program
from engine.text.fences import blocks
from engine.text.middle import MiddleEnd, fill
from engine.text.python_source import is_program, parse
from engine.text.syntax import is_hopeless
from engine.text.tokenizer import IncrementalDecoder, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class StopReason(StrEnum):
    """Why a text ends. The values are those of the finish reasons of core and solving."""

    END_OF_TEXT = "end_of_text"
    STOP_SEQUENCE = "stop_sequence"
    END_OF_PROGRAM = "end_of_program"
    PRUNED = "pruned"


class ProgramEnd(StrEnum):
    """How the end of a program shows."""

    CHAT = "chat"
    """By the closing fence of the first code block that holds a program: the entry point, if one is known."""
    COMPLETION = "completion"
    """By a statement at the left margin that the program does not need."""
    INFILL = "infill"
    """By the suffix that the model comes to."""
    NONE = "none"
    """It does not; the text goes on (`keep_after_program`)."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of a text: `text_end` is how many characters of it belong to the sample."""

    reason: StopReason
    text_end: int


class StopRules:
    """Reads one branch token by token; a few microseconds a token, whatever the length of the text.

    `prompt` is the text that a COMPLETION continues or that stands before the hole of an INFILL, `suffix` what stands
    after the hole. An empty stop string is refused (ValueError).

    `prune`: a text whose program can no longer become valid Python ends there. If the lines before the wrong one are a
    program, as they would be in the end, they are what it has written (END_OF_PROGRAM); if not, it is PRUNED.

    `constraint`: what the text must match; only tokens of `mask` may be pushed then. It ends (END_OF_TEXT) with a token
    that ends texts, or where nothing can follow.
    """

    __slots__ = (
        "_completion",
        "_constraint",
        "_decoder",
        "_entry_point",
        "_eos",
        "_program",
        "_prompt",
        "_prune",
        "_stop",
        "_suffix",
        "text",
    )

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: tuple[str, ...] = (),
        program: ProgramEnd = ProgramEnd.NONE,
        entry_point: str | None = None,
        prompt: str = "",
        suffix: str = "",
        prune: bool = False,
        constraint: Constraint | None = None,
    ) -> None:
        if "" in stop:
            raise ValueError("stop: a stop string is empty and would end every text at its start; leave it out")
        self._eos = tokenizer.eos_ids
        self._decoder = IncrementalDecoder(tokenizer)
        self._stop = stop
        self._program = program
        self._entry_point = entry_point
        self._prompt = prompt
        self._suffix = suffix
        self._prune = prune
        self._constraint = constraint
        self._completion: CompletionEnd | MiddleEnd | None = None
        if program is ProgramEnd.COMPLETION:
            self._completion = CompletionEnd(prompt, entry_point)
        elif program is ProgramEnd.INFILL:
            self._completion = MiddleEnd(prompt, suffix)
        self.text = ""
        """The text so far; after a Stop, what belongs to the sample."""

    def fork(self) -> "StopRules":
        """An independent copy."""
        copy = StopRules.__new__(StopRules)
        copy._eos = self._eos
        copy._decoder = self._decoder.fork()
        copy._stop = self._stop
        copy._program = self._program
        copy._entry_point = self._entry_point
        copy._prompt = self._prompt
        copy._suffix = self._suffix
        copy._prune = self._prune
        copy._constraint = None if self._constraint is None else self._constraint.fork()
        copy._completion = None if self._completion is None else self._completion.fork()
        copy.text = self.text
        return copy

    @property
    def mask(self) -> "npt.NDArray[np.uint32] | None":
        """The tokens that may come next; None for all. See Constraint.mask."""
        return None if self._constraint is None else self._constraint.mask

    def push(self, token: int) -> Stop | None:
        """Take the next token; a Stop if the text ends with it. Nothing may be pushed after a Stop."""
        if token in self._eos:
            self.text += self._decoder.flush()
            return Stop(StopReason.END_OF_TEXT, len(self.text))
        matched = self._constraint is not None and self._constraint.push(token)
        stop = self._read(self._decoder.push(token))
        if matched and stop is None:
            self.text += self._decoder.flush()
            return Stop(StopReason.END_OF_TEXT, len(self.text))
        return stop

    def _read(self, piece: str) -> Stop | None:
        if not piece:
            return None
        before = len(self.text)
        text = self.text = self.text + piece
        found: Stop | None = None
        for stop in self._stop:
            start = text.find(stop, max(0, before - len(stop) + 1))
            if start >= 0 and (found is None or start < found.text_end):
                found = Stop(StopReason.STOP_SEQUENCE, start)
        if self._program is not ProgramEnd.NONE:
            end = self._program_end(piece, before)
            if end is not None and (found is None or end < found.text_end):
                found = Stop(StopReason.END_OF_PROGRAM, end)
        if found is None and self._prune and "\n" in piece:
            found = self._pruned()
        if found is not None:
            self.text = text[: found.text_end]
        return found

    def _program_end(self, piece: str, before: int) -> int | None:
        if self._completion is not None:
            return self._completion.end if self._completion.push(piece, self.text) else None
        if "`" not in piece and "~" not in piece:
            return None
        lines = self.text[self.text.rfind("\n", 0, before) + 1 :]
        if "```" not in lines and "~~~" not in lines:
            return None
        whole = (block for block in blocks(self.text) if block.closed and block.may_be_python)
        return next((block.end for block in whole if is_program(block.code, self._entry_point)), None)

    def _pruned(self) -> Stop | None:
        """The end of a text that goes on for nothing."""
        text = self.text[: self.text.rfind("\n") + 1]
        written = self._written(text)
        if written is None or not is_hopeless(written):
            return None
        match self._program:
            case ProgramEnd.INFILL:
                whole = fill(self._prompt, text, self._suffix, ended=False).reason is Found.FILLED
            case _:
                prompt = self._prompt if self._program is ProgramEnd.COMPLETION else None
                extracted = extract_program(text, prompt=prompt, entry_point=self._entry_point)
                whole = extracted.defines_entry_point and parse(extracted.code) is not None
        return Stop(StopReason.END_OF_PROGRAM if whole else StopReason.PRUNED, len(self.text))

    def _written(self, text: str) -> str | None:
        """The program so far, if nothing that follows can take its place: not while another block may still come."""
        if isinstance(self._completion, CompletionEnd):
            fenced = "```" in text or "~~~" in text
            return self._prompt + text if self._completion.under_way and not fenced else None
        if self._completion is not None:
            lines = text.lstrip("\n")
            # An answer that begins as prose may come to a block yet.
            begun = not is_hopeless(self._prompt + text[: len(text) - len(lines) + lines.find("\n") + 1])
            return self._prompt + text if begun and "```" not in text and "~~~" not in text else None
        if self._program is ProgramEnd.NONE or not (found := blocks(text)):
            return None
        block = found[-1]
        session = block.code.lstrip().startswith(">>>")
        # Such a block ends the text where it is closed.
        ends = block.may_be_python and not block.closed and is_program(block.code, self._entry_point)
        return block.code if ends and not session else None
