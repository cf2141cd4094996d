"""What a race needs of a lane: an engine at one setting, started once, that draws when it is its turn."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be drawn: `k` samples of `new_tokens` tokens each, at this prompt.

    `ends`: tokens that end a sample sooner; none: each has all its tokens. `room`: the new tokens of longer work with
    so many samples that is to come, for engines that lay out memory or compile for it.
    """

    prompt: list[int]
    k: int
    new_tokens: int
    ends: tuple[int, ...] = ()
    room: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn, in how many seconds from the request on. Samples have the same length and run side by side, so
    that is also when the first of them is complete.

    `decode_rate` is tokens a second after the prompt, None where an engine does not say; memory is of all its
    processes.
    """

    tokens: int
    seconds: float
    decode_rate: float | None = None
    resident_mib: float


class LaneFailed(RuntimeError):
    """An engine did not do what it was asked; the text says what it did instead."""


class Lane(Protocol):
    """One engine at one setting. `start` may be called once, `stop` at any time and more than once."""

    @property
    def name(self) -> str:
        """Engine, arithmetic and what stands out."""
        ...

    @property
    def peer(self) -> str:
        """Whose engine it is: a name of setup.PEERS, or thresher."""
        ...

    @property
    def sampler(self) -> str:
        """`same` (temperature and top-p as ours), or what it does instead."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that was set, for the record."""
        ...

    def start(self) -> float:
        """Seconds until it can draw. Raises LaneFailed."""
        ...

    def draw(self, work: Work) -> Drawn:
        """Draw. Raises LaneFailed unless every sample has exactly its tokens."""
        ...

    def greedy(self, prompt: list[int], new_tokens: int) -> list[int] | None:
        """The most likely continuation, to see that it is the same model; None if the engine cannot say."""
        ...

    def pause(self) -> None:
        """Use no processor time until `resume`."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...

    def stop(self) -> None:
        """End all processes of the engine."""
        ...


def check_tokens(name: str, counts: list[int], work: Work) -> int:
    """All tokens drawn. Raises LaneFailed unless there are k samples of new_tokens each, or of fewer where they end."""
    if work.ends and len(counts) == work.k and max(counts) <= work.new_tokens:
        return sum(counts)
    if len(counts) != work.k or set(counts) != {work.new_tokens}:
        raise LaneFailed(
            f"{name} drew {len(counts)} samples of {sorted(set(counts))} tokens, not {work.k} of {work.new_tokens} each"
        )
    return sum(counts)
