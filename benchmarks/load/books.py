"""Two books of one run: what the clients were told, and what the server has counted. They must agree to the last token.

The clients' book adds up the summaries of solves that were told to their end. Of a solve whose client has left (a
cancel, a deadline, an error) only the server knows what it came to; its receipt (`receipts.py`) stands for it, and
receipts are held against what the clients saw, call by call. Without a log of the server such solves leave a gap, which
the server's surplus must fit. Whoever else asks the server meanwhile shows as a difference.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load.calls import ANSWERED, FAILED, Answer
from benchmarks.load.receipts import Receipt
from engine.exposition import Book, Key, key
from engine.metric_words import WASTE

_SAMPLES = {stage: f"samples_{stage}" for stage in ("started", "finished", "pruned", "cut_off", "passed")}
_CANDIDATES = {stage: f"candidates_{stage}" for stage in ("finished", "executed", "passed")}
_TOKENS = ("prompt_tokens", "cached_prompt_tokens", "generated_tokens", "rows_saved", "rows_computed")
_DRAWN = ("wasted_tokens", "drafted_tokens", "accepted_draft_tokens")
_FIGURES = (*_SAMPLES.values(), *_CANDIDATES.values(), *_TOKENS, *_DRAWN)
_DRAWN_FOR_NOTHING = tuple(reason for reason in WASTE if reason not in ("preempted", "after_pass"))
_SOLVE = "/thresher.v1.SynthesisService/Solve"
_LEFT_CODES = ("OK", "CANCELLED", "DEADLINE_EXCEEDED")
"""What a call that its client ends may be to the server: one of the two is always a little earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series in both books."""

    series: str
    clients: float
    server: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comparing has found. `exact`: every count was compared, none within bounds only.

    calls, told, left, receipts: how many. lines: all series of both books. differences: in words; none if they agree.
    """

    exact: bool
    calls: int
    told: int
    left: int
    receipts: int
    lines: tuple[Line, ...]
    differences: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def plain(self) -> dict[str, Any]:
        """As JSON values; series that are zero in both books are left out."""
        shown = {line.series: [line.clients, line.server] for line in self.lines if line.clients or line.server}
        counts = {"calls": self.calls, "told": self.told, "left": self.left, "receipts": self.receipts}
        return {
            "agree": self.agree,
            "exact": self.exact,
            **counts,
            "differences": list(self.differences),
            "clients_and_server": shown,
        }


def compare(answers: Sequence[Answer], counted: Mapping[Key, float], receipts: Sequence[Receipt] | None) -> Verdict:
    """Hold the answers of a run against what the server's metrics have grown by meanwhile; None: there is no log."""
    told = [answer for answer in answers if answer.answered]
    left = [answer for answer in answers if not answer.answered]
    clients: Counter[Key] = Counter()
    for answer in told:
        clients.update(_entries(answer.model, answer.priority, answer.end, answer.accounting, answer.verdicts))
    differences: list[str] = []
    if receipts is not None:
        differences += _disagreements(answers, receipts)
        ended = {answer.id for answer in left}
        for receipt in (receipt for receipt in receipts if receipt.id in ended):
            clients.update(
                _entries(receipt.model, receipt.priority, receipt.outcome, receipt.accounting, receipt.verdicts)
            )
    exact = receipts is not None or not left
    server = _server_book(counted)
    lines = tuple(
        Line(series=_named(one), clients=clients[one], server=server.get(one, 0.0))
        for one in sorted({*clients, *server})
    )
    if exact:
        differences += [
            f"{line.series}: {line.clients:g} told to clients, {line.server:g} counted by the server"
            for line in lines
            if line.clients != line.server
        ]
    else:
        differences += _gap(lines, clients, server, left)
    differences += _calls(answers, counted)
    return Verdict(
        exact=exact,
        calls=len(answers),
        told=len(told),
        left=len(left),
        receipts=len(receipts or ()),
        lines=lines,
        differences=tuple(differences),
    )


def _entries(
    model: str, priority: str, outcome: str, accounting: Mapping[str, Any], verdicts: Mapping[str, int]
) -> dict[Key, int]:
    """What one solve adds to each series."""

    def figure(name: str) -> int:
        return int(accounting.get(name, 0))

    accepted = figure("accepted_draft_tokens")
    found = {key("thresher_solves_total", model=model, outcome=outcome, priority=priority): 1}
    for stage, name in _SAMPLES.items():
        found[key("thresher_samples_total", model=model, stage=stage)] = figure(name)
    for stage, name in _CANDIDATES.items():
        found[key("thresher_candidates_total", model=model, stage=stage)] = figure(name)
    for name in _TOKENS:
        found[key(f"thresher_{name}_total", model=model)] = figure(name)
    found[key("thresher_draft_tokens_total", model=model, result="accepted")] = accepted
    found[key("thresher_draft_tokens_total", model=model, result="rejected")] = figure("drafted_tokens") - accepted
    found[key("thresher_wasted_tokens_total", model=model)] = figure("wasted_tokens")
    for verdict, count in verdicts.items():
        found[key("thresher_verdicts_total", verdict=verdict, source="sampled")] = count
    passed = int(accounting.get("time_to_first_pass") is not None)
    found[key("thresher_time_to_first_pass_seconds_count", model=model)] = passed
    found[key("thresher_execution_seconds_count")] = figure("candidates_executed")
    solved = outcome == "solved"
    found[key("thresher_tokens_per_solved_problem_count", model=model)] = int(solved)
    found[key("thresher_tokens_per_solved_problem_sum", model=model)] = figure("generated_tokens") if solved else 0
    return found


_COMPARED = {name for name, _ in _entries("", "", "", {}, {"passed": 0})}


def _server_book(counted: Mapping[Key, float]) -> Book:
    """The series that are compared; of waste the sum of what samples drew for nothing, whatever the reason."""
    found: Book = {}
    for (name, labels), value in counted.items():
        if name not in _COMPARED:
            continue
        said = dict(labels)
        if name == "thresher_wasted_tokens_total" and said.pop("reason") not in _DRAWN_FOR_NOTHING:
            continue
        series = key(name, **said)
        found[series] = found.get(series, 0.0) + value
    return found


def _disagreements(answers: Sequence[Answer], receipts: Sequence[Receipt]) -> Iterable[str]:
    """Where the server's account of a call is not what its client saw."""
    by_id: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_id.setdefault(receipt.id, []).append(receipt)
    for answer in answers:
        mine = by_id.pop(answer.id, [])
        if len(mine) > 1 or (answer.accepted and not mine):
            yield f"{answer.id}: accepted, and the server's log has {len(mine)} ends of it"
        for receipt in mine[:1]:
            yield from _one_call(answer, receipt)
    for name in by_id:
        yield f"{name}: a solve of somebody else during the run"


def _one_call(answer: Answer, receipt: Receipt) -> Iterable[str]:
    if answer.answered:
        if receipt.outcome != answer.end:
            yield f"{answer.id}: its client was told {answer.end}, the server has counted {receipt.outcome}"
        for name in _FIGURES:
            ours, theirs = int(answer.accounting.get(name, 0)), int(receipt.accounting.get(name, 0))
            if ours != theirs:
                yield f"{answer.id}: {name} is {ours} in its summary and {theirs} in the server's log"
        if answer.verdicts != receipt.verdicts:
            yield f"{answer.id}: its client was told the verdicts {answer.verdicts}, the log has {receipt.verdicts}"
        return
    if answer.end == FAILED and answer.code != "DEADLINE_EXCEEDED":
        possible = ("error",)
    elif answer.end == FAILED:
        possible = ("deadline", "cancelled", *ANSWERED)
    else:
        possible = ("cancelled", *ANSWERED)
    if receipt.outcome not in possible:
        yield f"{answer.id}: {answer.end} ({answer.code}) to its client, and {receipt.outcome} to the server"


def _gap(
    lines: Sequence[Line], clients: Mapping[Key, int], server: Mapping[Key, float], left: Sequence[Answer]
) -> Iterable[str]:
    """Without receipts the server has what was told and, on top, what the calls that were left can account for."""
    for line in lines:
        if line.server < line.clients:
            yield f"{line.series}: {line.clients:g} told to clients, only {line.server:g} counted by the server"
    of = "thresher_solves_total"
    surplus = sum(value for (name, _), value in server.items() if name == of)
    surplus -= sum(value for (name, _), value in clients.items() if name == of)
    least = sum(answer.accepted for answer in left)
    if not least <= surplus <= len(left):
        yield (
            f"{of}: the server has {surplus:g} more than were told; {len(left)} calls were left by their clients, "
            f"{least} of them after they were accepted"
        )


def _calls(answers: Sequence[Answer], counted: Mapping[Key, float]) -> Iterable[str]:
    """Calls by status. A status without a reason of the server's may be of the connection, and is no call there."""
    server = {
        dict(labels)["code"]: value
        for (name, labels), value in counted.items()
        if name == "thresher_grpc_requests_total" and dict(labels)["method"] == _SOLVE
    }
    refused = Counter(answer.code for answer in answers if answer.end == FAILED and answer.reason)
    for code in sorted({*server, *refused} - {*_LEFT_CODES}):
        if server.get(code, 0) != refused[code]:
            yield f"calls of Solve: {refused[code]} ended with {code}, the server has counted {server.get(code, 0):g}"
    ours = [answer for answer in answers if answer.code in _LEFT_CODES]
    unsure = sum(not answer.answered and not answer.accepted and not answer.reason for answer in ours)
    theirs = sum(server.get(code, 0) for code in _LEFT_CODES)
    if not len(ours) - unsure <= theirs <= len(ours):
        yield f"calls of Solve: {len(ours)} ended or were left, the server has counted {theirs:g}"


def _named(series: Key) -> str:
    name, labels = series
    inside = ", ".join(f'{label}="{value}"' for label, value in labels)
    return f"{name}{{{inside}}}" if inside else name
