"""What was measured on a machine: texts a model has drawn, what judging them took, how long steps and tokens took."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import CannotRun

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that `samples` samples have drawn, `tokens` long. program: the number of the candidate that it makes."""

    branch: int
    tokens: int
    samples: int
    program: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program as it was judged, and the seconds that it held a sandbox."""

    passed: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The sampling tree of one problem. forks: branch -> (the branch it left, after so many tokens), none for the root.

    programs: by candidate number.
    """

    name: str
    prompt_tokens: int
    forks: Mapping[int, tuple[int, int] | None]
    texts: tuple[Text, ...]
    programs: Mapping[int, Program]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Steps between two looks at the metrics. rows: decode rows of all of them, drafts included. `steps` steps without
    tokens of prompts took `seconds` together; prefill_…: of the others."""

    rows: int
    steps: int
    seconds: float
    prefill_steps: int
    prefill_seconds: float
    prefill_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What a solve of the loads came to, beside `users` - 1 others: its first pass so many seconds after it was sent,
    None where there was none; rows that it took; tokens drafted, and of these accepted."""

    users: int
    entry: str
    problem: str
    first_pass: float | None
    rows: int
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All of it. problems: entry of the mix -> its problems.

    front_seconds: what passes between a verdict at the server and its client, in the mean. slots: sandboxes.
    """

    about: Mapping[str, Any]
    problems: Mapping[str, tuple[Problem, ...]]
    windows: tuple[Window, ...]
    front_seconds: float
    slots: int
    solves: tuple[Solved, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def problem(self, entry: str, name: str) -> Problem:
        """The problem of an entry. Raises CannotRun where it was not measured."""
        for one in self.problems.get(entry, ()):
            if one.name == name:
                return one
        raise CannotRun(f"{entry}/{name} was not measured; measure with the same mix (--measure)")


def write_measured(path: Path, measured: Measured) -> None:
    """Write it where `read_measured` finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"measured": FORMAT, **asdict(measured)}) + "\n", encoding="utf-8")


def read_measured(path: Path) -> Measured:
    """Read it. Raises CannotRun for what is no such file."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["measured"] != FORMAT:
            raise CannotRun(f"{path} has the format {found['measured']}, this version reads {FORMAT}; measure again")
        return Measured(
            about=found["about"],
            problems={entry: tuple(map(_problem, listed)) for entry, listed in found["problems"].items()},
            windows=tuple(map(_window, found["windows"])),
            front_seconds=found["front_seconds"],
            slots=found["slots"],
            solves=tuple(Solved(**one) for one in found.get("solves", ())),
            provenance=found["provenance"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        advice = "make them with `thresher bench plan --measure`"
        raise CannotRun(f"{path} holds no measurements ({error}); {advice}") from error


def _problem(found: Mapping[str, Any]) -> Problem:
    forks = {int(branch): None if fork is None else (fork[0], fork[1]) for branch, fork in found["forks"].items()}
    return Problem(
        name=found["name"],
        prompt_tokens=found["prompt_tokens"],
        forks=forks,
        texts=tuple(Text(**one) for one in found["texts"]),
        programs={int(number): Program(**one) for number, one in found["programs"].items()},
    )


def _window(found: Mapping[str, Any]) -> Window:
    return Window(**{one.name: found[one.name] for one in fields(Window)})
