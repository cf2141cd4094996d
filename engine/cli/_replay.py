"""From a recording to the page that draws it: branches and forks, candidates and verdicts, on one clock."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2, verdict_pb2

from engine.cli._recording import Recorded

_PAGE = Path(__file__).with_name("replay.html")
_PLACE = "/*RECORDING*/null"
_LONGEST_TEXT = 4000


@dataclass(slots=True, kw_only=True)
class Branch:
    """A branch: seconds of its start and end, (second, tokens) as it grew, and its text. parent: None from the prompt;
    position: tokens that it shares with its parent. outcome: empty while nothing ended it."""

    branch: int
    parent: int | None
    position: int
    samples: list[int]
    start: float
    end: float | None = None
    outcome: str = ""
    candidate: int | None = None
    grown: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    text: str = ""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A program: seconds when it was complete and when it was judged; verdict: empty before that."""

    index: int
    branch: int | None
    samples: list[int]
    finished: float
    judged: float | None = None
    verdict: str = ""
    message: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision, `at` seconds: `kind` as in engine.solving.flight, or `tier` for another tier of a cascade.

    branch, candidate: what it is about, as far as it is about one; never in a cascade, whose numbers are others.
    """

    at: float
    kind: str
    reason: str
    model: str = ""
    width: int | None = None
    branch: int | None = None
    candidate: int | None = None


@dataclass(slots=True, kw_only=True)
class Picture:
    """A whole solve. first_pass: the second of the first verdict that passed; seed: in digits, more than a browser's
    numbers have."""

    problem: dict[str, Any]
    left_out: int
    decisions: list[Decided] = field(default_factory=list[Decided])
    model: str = ""
    prompt_tokens: int = 0
    seed: str = ""
    branches: list[Branch] = field(default_factory=list[Branch])
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    first_pass: float | None = None
    end: float = 0.0
    outcome: str = ""
    cost: dict[str, float] = field(default_factory=dict[str, float])


def picture_of(recorded: Recorded) -> Picture:
    """What the events and the decisions tell."""
    found = Picture(problem=recorded.problem, left_out=recorded.left_out)
    branches: dict[int, Branch] = {}
    candidates: dict[int, Candidate] = {}
    tiers: list[Decided] = []
    for event in recorded.events:
        now = event.elapsed.ToTimedelta().total_seconds()
        found.end = max(found.end, now)
        match event.WhichOneof("event"):
            case "accepted":
                found.model = event.accepted.model.removeprefix("models/")
                found.prompt_tokens, found.seed = event.accepted.prompt_tokens, str(event.accepted.seed)
            case "tier_started":
                tier = event.tier_started
                reason = enum_word(solve_pb2.TierReason.DESCRIPTOR, tier.reason).replace("_", " ")
                tiers.append(Decided(at=now, kind="tier", reason=f"tier {tier.name} is asked: {reason}"))
            case "branch_started":
                started = event.branch_started
                branches[started.branch] = Branch(
                    branch=started.branch,
                    parent=started.parent if started.HasField("parent") else None,
                    position=started.position,
                    samples=list(started.samples),
                    start=now,
                )
            case "branch_delta":
                if (branch := branches.get(event.branch_delta.branch)) is not None:
                    branch.grown.append((now, event.branch_delta.tokens))
                    branch.text = (branch.text + event.branch_delta.text)[-_LONGEST_TEXT:]
            case "branch_ended":
                ended = event.branch_ended
                if (branch := branches.get(ended.branch)) is not None:
                    branch.end = now
                    branch.outcome = enum_word(solve_pb2.BranchOutcome.DESCRIPTOR, ended.outcome)
                    branch.candidate = ended.candidate if ended.HasField("candidate") else None
                    branch.grown.append((now, ended.generated_tokens))
            case "candidate_finished":
                one = event.candidate_finished
                candidates[one.index] = Candidate(
                    index=one.index,
                    branch=one.branch if one.HasField("branch") else None,
                    samples=list(one.samples),
                    finished=now,
                )
            case "samples_joined":
                if (candidate := candidates.get(event.samples_joined.index)) is not None:
                    candidate.samples += event.samples_joined.samples
            case "candidate_judged":
                _judge(candidates, event.candidate_judged.candidate, now)
            case "summary":
                found.outcome = enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, event.summary.outcome)
                found.cost = _cost(event.summary.accounting)
            case _:
                pass
    found.branches, found.candidates = list(branches.values()), list(candidates.values())
    passed = [one.judged for one in found.candidates if one.verdict == "passed" and one.judged is not None]
    found.first_pass = min(passed, default=None)
    found.decisions = sorted([*tiers, *_decisions(recorded.decisions, alone=not tiers)], key=lambda one: one.at)
    found.end = max([found.end, *(one.at for one in found.decisions)])
    return found


def _decisions(lines: Iterable[dict[str, Any]], *, alone: bool) -> Iterator[Decided]:
    """`alone`: one model has drawn all, so that its numbers are those of the events."""
    for line in lines:
        yield Decided(
            at=line["seconds"],
            kind=line["kind"],
            reason=line["reason"],
            model=line.get("model", ""),
            width=line.get("width"),
            branch=line.get("branch") if alone else None,
            candidate=line.get("candidate") if alone else None,
        )


def _judge(candidates: dict[int, Candidate], judged: solve_pb2.Candidate, now: float) -> None:
    # One of a prior attempt was never drawn: its first event is its verdict.
    candidate = candidates.setdefault(
        judged.index, Candidate(index=judged.index, branch=None, samples=list(judged.samples), finished=now)
    )
    candidate.judged = now
    candidate.verdict = enum_word(verdict_pb2.Verdict.DESCRIPTOR, judged.report.verdict)
    candidate.code = judged.code[:_LONGEST_TEXT]
    failed = [result for result in judged.report.results if result.verdict != verdict_pb2.VERDICT_PASSED]
    candidate.message = (failed[0].message if failed else "")[:300]


def _cost(accounting: solve_pb2.Accounting) -> dict[str, float]:
    names = (
        "samples_started",
        "samples_finished",
        "samples_cut_off",
        "generated_tokens",
        "rows_computed",
        "rows_saved",
    )
    return {name: getattr(accounting, name) for name in names}


def page_of(picture: Picture) -> str:
    """The self-contained page: no other file, no network."""
    data = json.dumps(asdict(picture), ensure_ascii=False)
    # A text of a program must not end the script that holds it.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return _PAGE.read_text(encoding="utf-8").replace(_PLACE, data)
