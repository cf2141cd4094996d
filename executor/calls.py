"""Many calls of one function in one process: what is asked for, and what each answer means.

The requests are sent ahead of the answers, so a call costs no round trip. An answer whose bytes are those of the
expected value is right without being decoded, which is the way of nearly all answers of a program that passes.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import msgspec

from executor.answers import decoded
from executor.asserts import Expression
from executor.errors import InvalidProgram
from executor.guest.plain import PlainError, decode, encode
from executor.oracles import accepts, foreign
from executor.settle import PASSED, Outcome, limit_outcome, raised_outcome, refused_outcome, silent_outcome
from executor.shown import short
from executor.trial import Ending, Facts, Trial
from executor.types import CallsTest, Limits, Oracle
from executor.verdict import CallReport, Verdict

_VALUE = encode(("value", None))[:-1]
_SAME_BYTES_PASS = frozenset(
    {Oracle.EQUAL, Oracle.ANY, Oracle.EQUAL_OR_ZERO, Oracle.SURFACE_AREA, Oracle.DIGIT_DISTANCE}
)
MakeTrial = Callable[[Limits, Callable[[bytes], None]], Awaitable[Trial]]


@dataclass(frozen=True, slots=True)
class CallsPlan:
    """A CallsTest and its requests, encoded."""

    test: CallsTest
    requests: tuple[bytes, ...]


def plan_calls(test: CallsTest, function: Expression) -> CallsPlan:
    """Check the test's fields and make its requests. Raises InvalidProgram."""
    count = len(test.calls)
    if not count:
        raise InvalidProgram("calls: at least one is needed")
    for name, entries in (
        ("expected", test.expected),
        ("tolerances", test.tolerances or None),
        ("call_seconds", test.call_seconds or None),
    ):
        if entries is not None and len(entries) != count:
            raise InvalidProgram(f"{name}: {len(entries)} for {count} calls; give one for each, or leave it out")
    if any(not seconds > 0 for seconds in test.call_seconds):
        raise InvalidProgram(f"call_seconds: {min(test.call_seconds)} is not positive")
    # Whatever can be iterated over has a set of elements, but only plain data can be carried.
    collect = test.oracle is Oracle.SET
    return CallsPlan(test, _requests(encode(function), test.calls, collect))


@functools.lru_cache(maxsize=16)
def _requests(function: bytes, calls: tuple[bytes, ...], collect: bool) -> tuple[bytes, ...]:
    target = decode(function)
    found: list[bytes] = []
    for index, call in enumerate(calls):
        try:
            arguments = decode(call)
        except PlainError as error:
            raise InvalidProgram(f"calls[{index}]: {error}; executor.evalplus.carry makes them") from None
        if not isinstance(arguments, list | tuple):
            raise InvalidProgram(f"calls[{index}]: a list of arguments is needed, not a {type(arguments).__name__}")
        expression: Expression = ("call", target, [("lit", argument) for argument in arguments], {})
        found.append(encode(("eval", ("collect", expression) if collect else expression, False, False)))
    return tuple(found)


async def run_calls(
    make_trial: MakeTrial, plan: CallsPlan, limits: Limits
) -> tuple[Facts, Outcome, tuple[CallReport, ...]]:
    """Run the test. Returns what was seen (times: of all its processes), the outcome, and each call's report."""
    hearing = _Hearing(plan)
    cpu = wall = 0.0
    while True:
        rest = msgspec.structs.replace(limits, cpu_seconds=limits.cpu_seconds - cpu) if cpu else limits
        trial = await make_trial(rest, hearing.on_frame)
        trial.start("calls", (limits.output_bytes,))
        hearing.begin(trial)
        facts = await trial.done
        cpu, wall = cpu + facts.cpu_seconds, wall + facts.wall_seconds
        outcome = hearing.settle(facts, rest, again=cpu < limits.cpu_seconds)
        if outcome is not None:
            return replace(facts, cpu_seconds=cpu, wall_seconds=wall), outcome, tuple(hearing.reports)


@dataclass(slots=True)
class _Hearing:
    """One CallsTest under way. Each process of it gets a `begin`, and a `settle` when it is over."""

    plan: CallsPlan
    reports: list[CallReport] = field(default_factory=list[CallReport])
    first: Outcome | None = None
    """The first outcome that is not a pass, with the call's number."""
    _trial: Trial | None = None
    _loaded: bool = False
    _failure: Outcome | None = None
    """The program could not be loaded."""
    _marked: float = 0.0

    def begin(self, trial: Trial) -> None:
        """Ask a fresh process, already started, for all calls that are not yet answered."""
        self._trial, self._loaded, self._failure, self._marked = trial, False, None, 0.0
        for request in self.plan.requests[len(self.reports) :]:
            trial.relay(request)

    def on_frame(self, content: bytes) -> None:
        """Take one frame from the candidate's process."""
        if not self._loaded:
            self._load(content)
        elif len(self.reports) < len(self.plan.requests):
            outcome = self._judge(content)
            if outcome is None:
                self._stray()
            else:
                kept = outcome is PASSED and self.plan.test.expected is None
                self._add(outcome, content[len(_VALUE) :] if kept else b"")
        else:
            self._stray()

    def _load(self, content: bytes) -> None:
        assert self._trial is not None
        match decoded(content):
            case ("compiled",):
                return
            case ("loaded",):
                self._loaded = True
                self._next()
                return
            case ("refused", str(name), str(text)):
                self._failure = refused_outcome(name, text)
            case ("raised", "load", str(name), list(bases), str(text)):
                self._failure = raised_outcome("load", name, [str(base) for base in bases], text)
            case _:
                self._stray()
                return
        self._trial.finish()

    def _stray(self) -> None:
        assert self._trial is not None
        self._trial.abandon("the program wrote on the channel that carries its results")

    def _next(self) -> None:
        """Start the clock of the call that is now in progress."""
        assert self._trial is not None
        self._marked = self._trial.cpu()
        if self.plan.test.call_seconds and len(self.reports) < len(self.plan.requests):
            self._trial.call(self.plan.test.call_seconds[len(self.reports)])

    def _judge(self, content: bytes) -> Outcome | None:
        """The outcome of the call in progress; None for a frame that is no answer."""
        test, index = self.plan.test, len(self.reports)
        if test.expected is None and content.startswith(_VALUE):
            return PASSED  # whoever asked for the value decodes it
        if test.expected is not None and test.oracle in _SAME_BYTES_PASS:
            wanted = test.expected[index]
            same = len(content) == len(_VALUE) + len(wanted) and content.endswith(wanted) and content.startswith(_VALUE)
            # A NaN equals itself in bytes only.
            if same and b"nan" not in wanted:
                return PASSED
        match decoded(content):
            case ("value", value) if test.expected is not None:
                return self._compare(test, index, test.expected[index], value)
            case ("raised", "call", str(name), list(bases), str(text)):
                return raised_outcome("call", name, [str(base) for base in bases], text)
            case ("large", str(text)):
                return Outcome(Verdict.OUTPUT_LIMIT, text)
            case ("unplain", str(text)):
                return Outcome(Verdict.WRONG_ANSWER, text)
            case _:
                return None

    @staticmethod
    def _compare(test: CallsTest, index: int, wanted: bytes, value: object) -> Outcome:
        expected, inputs = decode(wanted), decode(test.calls[index])
        tolerance = test.tolerances[index] if test.tolerances else 0.0
        if accepts(test.oracle, test.rules, value, expected, inputs, tolerance):
            return PASSED
        message = f"returned {short(value)}, expected {short(expected)}"
        if (name := foreign(value)) is not None:
            message = f"returned {short(value)}: a {name} object is not plain data, so nothing can compare it"
        return Outcome(Verdict.WRONG_ANSWER, message)

    def _add(self, outcome: Outcome, value: bytes) -> None:
        assert self._trial is not None
        self._note(outcome, self._trial.cpu() - self._marked, value)
        over = outcome is not PASSED and not self.plan.test.all_calls
        if over or len(self.reports) == len(self.plan.requests):
            self._trial.finish()
        else:
            self._next()

    def _note(self, outcome: Outcome, cpu_seconds: float, value: bytes) -> None:
        self.reports.append(CallReport(outcome.verdict, max(cpu_seconds, 0.0), value))
        if self.first is None and outcome is not PASSED:
            place = f"call {len(self.reports)} of {len(self.plan.requests)}: "
            self.first = Outcome(outcome.verdict, place + outcome.message)

    def settle(self, facts: Facts, limits: Limits, *, again: bool) -> Outcome | None:
        """The outcome now that the process is over; None if the next call is to be tried in a fresh one (`again`)."""
        limit = limit_outcome(facts, limits)
        if facts.ending is Ending.BROKEN:
            return limit
        if not self._loaded:
            return self.first or limit or self._failure or silent_outcome(facts)
        every = self.plan.test.all_calls
        if len(self.reports) < len(self.plan.requests) and (every or self.first is None):
            self._note(limit or silent_outcome(facts), facts.cpu_seconds - self._marked, b"")
            if every and again and len(self.reports) < len(self.plan.requests):
                return None
        return self.first or limit or PASSED
