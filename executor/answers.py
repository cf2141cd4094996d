"""What a program loaded in its jail answers to the host's calls, as it comes in frame by frame."""

from dataclasses import dataclass, field

from executor.asserts import CandidateRaised
from executor.guest.plain import PlainError, decode
from executor.settle import Outcome, raised_outcome, refused_outcome
from executor.trial import Trial
from executor.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that a call raised."""

    name: str
    bases: tuple[str, ...]
    outcome: Outcome


@dataclass(slots=True)
class Answers:
    """The candidate's answers to `wanted` calls, as they come in."""

    wanted: int
    trial: Trial | None = None
    failure: Outcome | None = None
    """The program could not be loaded, or an answer could not be carried."""
    values: dict[int, object] = field(default_factory=dict[int, object])
    raised: dict[int, Raised] = field(default_factory=dict[int, Raised])
    loaded: bool = False

    @property
    def complete(self) -> bool:
        """Whether the program was loaded and all calls are answered."""
        return self.loaded and len(self.values) + len(self.raised) >= self.wanted

    def on_frame(self, content: bytes) -> None:
        """Take one frame from the candidate's process."""
        assert self.trial is not None
        index = len(self.values) + len(self.raised)
        match decoded(content):
            case ("compiled",) if not self.loaded:
                return
            case ("loaded",) if not self.loaded:
                self.loaded = True
            case ("refused", str(name), str(text)) if not self.loaded:
                self.failure = refused_outcome(name, text)
            case ("raised", "load", str(name), list(bases), str(text)) if not self.loaded:
                self.failure = raised_outcome("load", name, [str(base) for base in bases], text)
            case ("value", value) if self.loaded:
                self.values[index] = value
            case ("raised", "call", str(name), list(bases), str(text)) if self.loaded:
                names = [str(base) for base in bases]
                self.raised[index] = Raised(name, tuple(names), raised_outcome("call", name, names, text))
            case ("large", str(text)) if self.loaded:
                self.failure = Outcome(Verdict.OUTPUT_LIMIT, text)
            case ("unplain", str(text)) if self.loaded:
                self.failure = Outcome(Verdict.WRONG_ANSWER, text)
            case _:
                self.trial.abandon("the program wrote on the channel that carries its results")
                return
        if self.failure is not None or self.complete:
            self.trial.finish()

    def value(self, index: int) -> object:
        """The value of call `index`. Raises CandidateRaised if it has none."""
        if index in self.values:
            return self.values[index]
        raise CandidateRaised(index)


def decoded(content: bytes) -> object:
    """What a frame holds, or the PlainError that says why it holds nothing."""
    try:
        return decode(content)
    except PlainError as error:
        return error
