"""The conversation of a session: what was drawn, what was said of it, and the prompt of the next turn.

The prompt only grows: a turn's prompt begins with that of the turn before, so that its keys and values are found in
the prefix cache, unless the person takes back a program that was quoted. Each turn adds one program as the model's
answer, and what is wrong with it as the person's (Chen et al., "Teaching large language models to self-debug", 2023).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from engine.solving.errors import InvalidRequest, SessionLimit
from engine.solving.events import Accepted, CandidateJudged, SamplesJoined, SolveEvent
from engine.solving.feedback import ASKING, answered, quoted_test, told
from engine.solving.refine import (
    AddTests,
    CandidateName,
    Feedback,
    Noted,
    Resample,
    TakeBack,
    TurnFailure,
    TurnOutcome,
    TurnStarted,
)
from engine.solving.spec import Cascade, ChatMessage, ChatPrompt, HeldTest, PriorAttempt, SolveSpec
from engine.solving.summary import Accounting, Candidate, Summary
from executor.types import Test
from executor.verdict import Report, Verdict

_JUDGED_AGAIN = 16
"""Programs that had passed and are judged again when there are more tests."""
_MOST_TAKEN_BACK = 240
"""Programs: together with those that are judged again, no more than a server takes as prior attempts by default."""
_TOLD_TESTS = 8
"""Added tests that are quoted at most: the prompt has to leave room for a program."""
_SEEDS = 1 << 64
_CANDIDATE_BYTES = 512
_TEST_BYTES = 256
_ACTION_BYTES = 256
"""What a candidate, the report of one test and an action are taken to cost beside their texts."""
_UNJUDGED = (Verdict.SKIPPED, Verdict.SANDBOX_FAILURE)


@dataclass(slots=True, kw_only=True)
class Turn:
    """One turn: how it came about, its programs by index, and its end (None while it is under way)."""

    number: int
    automatic: bool
    actions: tuple[Noted, ...]
    prompt: tuple[ChatMessage, ...]
    kept: int
    spec: SolveSpec
    candidates: dict[int, Candidate] = field(default_factory=dict)
    left_out: int = 0
    outcome: TurnOutcome | None = None
    failure: TurnFailure | None = None
    seed: int | None = None
    model: str = ""
    accounting: Accounting | None = None


class Conversation:
    """Grows by turns. `room` bytes are what programs, prompts, tests and words may take together; `size` of them is the
    request's own. Where programs have no room, those that passed the fewest tests are left out."""

    def __init__(self, spec: SolveSpec, *, room: int, size: int) -> None:
        """`spec` has a chat as its one prompt. Raises SessionLimit for a request beyond the room."""
        if not isinstance(spec.prompt, ChatPrompt) or spec.variants:
            raise ValueError("spec: a conversation has one prompt, which is a chat")
        self.turns: list[Turn] = []
        self.since: list[Noted] = []
        self.spec = spec
        self._room = room
        self._fixed = 0
        self._programs = 0
        self._messages = list(spec.prompt.messages)
        self._quotes: list[tuple[int, CandidateName]] = []  # place in the messages, and the program quoted there
        self._taken_back: dict[str, None] = {}
        self._former = tuple(self._messages), tuple(self._quotes)  # before the turn that is under way
        self._seeded_at = 1  # the turn that has the request's own seed
        self._more_tests = False
        self._make_room(size)

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self._fixed + self._programs

    @property
    def full(self) -> bool:
        """Whether no turn can be added."""
        return self._fixed > self._room

    @property
    def tests(self) -> tuple[HeldTest, ...]:
        """All tests that are known."""
        return self.spec.tests

    def note(self, action: Noted, size: int) -> None:
        """Take note of what the person does; `size` bytes of it are kept.

        Raises:
            InvalidRequest: there is no such candidate.
            SessionLimit: there is no room.
        """
        size += _ACTION_BYTES
        match action:
            case Feedback(candidate=CandidateName() as name):
                self._find(name, "feedback.candidate")
            case TakeBack(candidate=name):
                size += self._cost_of_refusing(self._find(name, "take_back.candidate").code)
            case _:
                pass
        self._make_room(size)
        match action:
            case AddTests(tests=tests):
                self.spec = replace(self.spec, tests=(*self.spec.tests, *tests))
                self._more_tests = True
            case TakeBack(candidate=name):
                self._take_back(name)
            case Feedback():
                pass
        self.since.append(action)

    def draw(self, action: Resample) -> None:
        """From now on draw as it says."""
        if action.sampling is not None:
            self.spec = replace(self.spec, sampling=action.sampling)
            self._seeded_at = len(self.turns) + 1
        if action.budget is not None:
            self.spec = replace(self.spec, budget=action.budget)

    def begin(self, *, automatic: bool = False, same_prompt: bool = False) -> TurnStarted:
        """The next turn: the prompt before, and what is known since."""
        number = len(self.turns) + 1
        before = self.turns[-1].prompt if self.turns else ()
        actions: tuple[Noted, ...] = ()
        self._former = tuple(self._messages), tuple(self._quotes)
        if not same_prompt:
            if self.turns:
                self._extend()
            actions = tuple(self.since)
            self.since.clear()
        prompt = tuple(self._messages)
        kept = next((n for n, pair in enumerate(zip(before, prompt, strict=False)) if pair[0] != pair[1]), len(before))
        kept = min(kept, len(prompt))
        seed = self.spec.sampling.seed
        sampling = self.spec.sampling
        if seed is not None:
            sampling = replace(sampling, seed=(seed + number - self._seeded_at) % _SEEDS)
        spec = replace(
            self.spec,
            request_id=f"{self.spec.request_id[:120]}/{number}",
            prompt=ChatPrompt(prompt),
            sampling=sampling,
            cascade=self._cascade(number),
        )
        self._more_tests = False
        self.turns.append(
            Turn(number=number, automatic=automatic, actions=actions, prompt=prompt, kept=kept, spec=spec)
        )
        self._drop_programs()
        return TurnStarted(turn=number, automatic=automatic, kept=kept, added=prompt[kept:], spec=spec)

    def take(self, event: SolveEvent) -> None:
        """An event of the turn that is under way."""
        turn = self.turns[-1]
        match event.body:
            case Accepted() as body:
                turn.seed, turn.model = body.seed, body.model
            case CandidateJudged() as body:
                self._keep(turn, body.candidate)
            case SamplesJoined() as body:
                if (candidate := turn.candidates.get(body.index)) is not None:
                    self._keep(turn, _joined(candidate, body))
            case Summary() as body:
                turn.accounting = body.accounting
                for candidate in body.candidates:
                    if candidate.index in turn.candidates:
                        self._keep(turn, candidate)
            case _:
                pass

    def end(self, outcome: TurnOutcome, failure: TurnFailure | None) -> None:
        """The turn that is under way has ended. A prompt that the model has no room for is gone back on."""
        self.turns[-1].outcome, self.turns[-1].failure = outcome, failure
        if failure is not None and failure.reason == "PROMPT_TOO_LONG":
            messages, quotes = self._former
            self._messages, self._quotes = list(messages), list(quotes)

    # Programs

    def _keep(self, turn: Turn, candidate: Candidate) -> None:
        if (former := turn.candidates.get(candidate.index)) is not None:
            self._programs -= _weight(former)
        turn.candidates[candidate.index] = candidate
        self._programs += _weight(candidate)
        self._drop_programs()

    def _drop_programs(self) -> None:
        if self.size <= self._room:
            return
        needed = {name for _, name in self._quotes}
        needed |= {action.candidate for action in self.since if isinstance(action, Feedback) and action.candidate}
        while self._programs and self.size > self._room:
            worst = min(
                (
                    (_standing(candidate), turn.number, index)
                    for turn in self.turns
                    for index, candidate in turn.candidates.items()
                    if CandidateName(turn.number, index) not in needed
                ),
                default=None,
            )
            if worst is None:
                return
            _, number, index = worst
            turn = self.turns[number - 1]
            self._programs -= _weight(turn.candidates.pop(index))
            turn.left_out += 1

    def _find(self, name: CandidateName, field: str) -> Candidate:
        turn = self.turns[name.turn - 1] if 0 < name.turn <= len(self.turns) else None
        candidate = None if turn is None else turn.candidates.get(name.index)
        if candidate is None:
            raise InvalidRequest(
                field, f"turn {name.turn} has no judged candidate {name.index}, or there was no room to keep it"
            )
        return candidate

    def _make_room(self, size: int) -> None:
        if self._fixed + size > self._room:
            raise SessionLimit(
                "SESSION_FULL",
                f"this session would hold {self._fixed + size} bytes beside its programs, and may hold {self._room}; "
                "start another one, or let the server's operator raise sessions.max_bytes",
            )
        self._fixed += size
        self._drop_programs()

    def _cost_of_refusing(self, code: str) -> int:
        if code in self._taken_back:
            return 0
        if len(self._taken_back) >= _MOST_TAKEN_BACK:
            raise SessionLimit(
                "SESSION_FULL", f"{_MOST_TAKEN_BACK} programs of this session are taken back; start another one"
            )
        return len(code.encode())

    def _take_back(self, name: CandidateName) -> None:
        candidate = self._find(name, "take_back.candidate")
        self._taken_back[candidate.code] = None
        places = [place for place, quoted in self._quotes if self._find(quoted, "").code == candidate.code]
        if places:
            del self._messages[places[0] :]
            self._quotes = [(place, quoted) for place, quoted in self._quotes if place < places[0]]
            self._former = tuple(self._messages), tuple(self._quotes)

    def _cascade(self, number: int) -> Cascade:
        """Programs that are judged before a token is drawn, and those whose verdict is the person's own."""
        given = self.spec.cascade
        attempts = list(given.attempts) if number == 1 else []
        if self._more_tests:
            attempts += [PriorAttempt(code=code) for code in self._passed()]
        visible = sum(1 for held in self.spec.tests if not held.hidden)
        refused = Report(verdict=Verdict.WRONG_ANSWER, tests_total=visible, detail="the person has taken it back")
        attempts += [PriorAttempt(code=code, report=refused) for code in self._taken_back]
        return replace(given, attempts=tuple(attempts))

    def _passed(self) -> list[str]:
        """Programs whose last verdict is a pass, the newest first."""
        last: dict[str, bool] = {}
        for turn in reversed(self.turns):
            for candidate in turn.candidates.values():
                if _judged(candidate) and candidate.code not in self._taken_back:
                    last.setdefault(candidate.code, candidate.passed)
        return [code for code, passed in last.items() if passed][:_JUDGED_AGAIN]

    # The prompt

    def _extend(self) -> None:
        """Add what failed and what was said since the last prompt."""
        comments: dict[CandidateName | None, list[str]] = {}
        tests: list[Test] = []
        for action in self.since:
            match action:
                case Feedback(comment=comment, candidate=name):
                    if name is None or self._find(name, "").code not in self._taken_back:
                        comments.setdefault(name, []).append(comment)
                case AddTests(tests=added):
                    tests += [held.test for held in added if not held.hidden]
                case TakeBack():
                    pass
        general = [*_told_tests(tests), *comments.pop(None, [])]
        named = {name: said for name, said in comments.items() if name is not None}
        if not named and (best := self._best(anything_said=bool(general))) is not None:
            named[best] = []
        if not named:
            if general:
                last = self._messages[-1]
                self._replace_last(ChatMessage(last.role, "\n\n".join([last.content, *general])))
            return
        for place, (name, said) in enumerate(named.items(), start=1):
            candidate = self._find(name, "")
            self._quotes.append((len(self._messages), name))
            wrong = self._wrong(name.turn, candidate)
            words = [*wrong, *said, *(general if place == len(named) else ()), ASKING]
            self._say(answered(candidate.code), ChatMessage("user", "\n\n".join(words)))

    def _say(self, *messages: ChatMessage) -> None:
        self._messages += messages
        self._fixed += sum(len(message.content.encode()) for message in messages)

    def _replace_last(self, message: ChatMessage) -> None:
        self._fixed += len(message.content.encode())
        self._messages[-1] = message

    def _wrong(self, turn: int, candidate: Candidate) -> list[str]:
        if candidate.report is None or not _judged(candidate) or candidate.passed:
            return []
        visible = [held.test for held in self.turns[turn - 1].spec.tests if not held.hidden]
        return [told(candidate.report, visible)]

    def _best(self, *, anything_said: bool) -> CandidateName | None:
        """The best program that was not quoted yet, of the last turn that has one; one that passed only if there is
        something to say of it."""
        quoted = {self._find(name, "").code for _, name in self._quotes}
        for turn in reversed(self.turns):
            found = [
                # Which of two finished first depends on the load of the server, and their samples do not.
                (_standing(candidate), -min(candidate.samples, default=-1), -index)
                for index, candidate in turn.candidates.items()
                if _judged(candidate) and candidate.code not in quoted and candidate.code not in self._taken_back
            ]
            if found:
                index = -max(found)[2]
                return CandidateName(turn.number, index) if anything_said or not max(found)[0][0] else None
        return None


def _told_tests(tests: Sequence[Test]) -> Iterator[str]:
    quoted = [words for words in map(quoted_test, tests[:_TOLD_TESTS]) if words]
    if quoted:
        more = [f"and {len(tests) - _TOLD_TESTS} more like these."] if len(tests) > _TOLD_TESTS else []
        yield "\n".join(["It must pass these tests too:", *quoted, *more])


def _joined(candidate: Candidate, more: SamplesJoined) -> Candidate:
    drawn = dict(zip(candidate.samples, candidate.sample_logprobs, strict=False))
    drawn |= dict(zip(more.samples, more.sample_logprobs, strict=False))
    samples = tuple(sorted({*candidate.samples, *more.samples}))
    logprobs = tuple(drawn[sample] for sample in samples) if len(drawn) == len(samples) else ()
    return replace(candidate, samples=samples, sample_logprobs=logprobs)


def _judged(candidate: Candidate) -> bool:
    return candidate.report is not None and candidate.report.verdict not in _UNJUDGED and bool(candidate.code)


def _standing(candidate: Candidate) -> tuple[bool, bool, int]:
    """By how much one is wanted more than another: it passed, it was judged, so many tests passed."""
    passed = 0 if candidate.report is None else candidate.report.tests_passed
    return candidate.passed, _judged(candidate), passed


def _weight(candidate: Candidate) -> int:
    reports = [report for report in (candidate.report, candidate.held_out) if report is not None]
    return _CANDIDATE_BYTES + len(candidate.code.encode()) + sum(map(_report_weight, reports))


def _report_weight(report: Report) -> int:
    tests: Iterable[int] = (
        _TEST_BYTES + len(test.message.encode()) + len(test.stdout) + len(test.stderr) for test in report.tests
    )
    return len(report.detail.encode()) + sum(tests)
