"""The domain of a session: what the person does, and what comes back. Each turn is a solve."""

from dataclasses import dataclass
from enum import StrEnum

from engine.solving.events import SolveEvent
from engine.solving.spec import Budget, ChatMessage, HeldTest, Sampling, SolveSpec
from engine.solving.summary import Accounting


class TurnOutcome(StrEnum):
    """How a turn ended. The first two have a summary."""

    SOLVED = "solved"
    UNSOLVED = "unsolved"
    CUT_OFF = "cut_off"
    """By the person, or because nobody was connected any more."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TurnFailure:
    """What a call of its own would have ended with; `code` is the name of its status."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class CandidateName:
    """One candidate of a session: `index` is its index in that turn."""

    turn: int
    index: int


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the person says of a program; None stands for the best one of the last turn."""

    comment: str
    candidate: CandidateName | None = None


@dataclass(frozen=True, slots=True)
class AddTests:
    """More tests, from the next turn on."""

    tests: tuple[HeldTest, ...]


@dataclass(frozen=True, slots=True)
class TakeBack:
    """The person does not want this program, whatever its tests say."""

    candidate: CandidateName


@dataclass(frozen=True, slots=True, kw_only=True)
class Resample:
    """Draw again. `sampling` and `budget` replace those of before; `rounds` turns in a row while none passes.

    `same_prompt`: what has failed and what was said waits for a later turn.
    """

    sampling: Sampling | None = None
    budget: Budget | None = None
    rounds: int = 1
    same_prompt: bool = False


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Stop the turn in progress and those that would follow by themselves."""


@dataclass(frozen=True, slots=True)
class EndSession:
    """End the session at once."""


Noted = Feedback | AddTests | TakeBack
"""What goes into the next turn."""
Action = Noted | Resample | EndTurn | EndSession


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """A turn begins: its prompt is `kept` messages of the prompt before, and `added` ones. `spec` is its solve."""

    turn: int
    automatic: bool
    kept: int
    added: tuple[ChatMessage, ...]
    spec: SolveSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded:
    """Last of a turn; each that has started has exactly one. `accounting` is that of one that was cut off."""

    turn: int
    outcome: TurnOutcome
    failure: TurnFailure | None = None
    another_follows: bool = False
    accounting: Accounting | None = None


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Last of a session."""


Reply = TurnStarted | SolveEvent | TurnEnded | SessionEnded
