"""Tests that have to be run: they run in a jail of their own, and every call they make crosses to the candidate's.

The host carries the frames. It reads the first ones, which say whether the program could be loaded; after that it
passes on requests and replies as they are: the judge's own decoder builds plain data only.
"""

import asyncio
from collections.abc import Callable

from executor.answers import decoded
from executor.settle import PASSED, Outcome, limit_outcome, raised_outcome, refused_outcome, silent_outcome
from executor.snippet import JudgeCode
from executor.trial import Ending, Facts, Trial
from executor.types import Limits
from executor.verdict import Verdict

MakeTrial = Callable[[Limits, Callable[[bytes], None]], Trial]


class _Hearing:
    """The two processes of one judged test and what has been said."""

    def __init__(self, candidate: MakeTrial, judge: MakeTrial, limits: Limits) -> None:
        self.candidate = candidate(limits, self._from_candidate)
        # While the candidate computes, the judge's wall clock runs on.
        patient = Limits(
            cpu_seconds=limits.cpu_seconds,
            wall_seconds=2 * limits.effective_wall_seconds,
            memory_bytes=limits.memory_bytes,
            output_bytes=limits.output_bytes,
            processes=limits.processes,
        )
        self.judge = judge(patient, self._from_judge)
        self.judge_limits = patient
        self.loaded = False
        self.asked = 0
        self.answered = 0
        self.failure: Outcome | None = None
        self.sentence: tuple[object, ...] | None = None
        self._waiting: list[bytes] = []

    def _from_candidate(self, content: bytes) -> None:
        if self.loaded:
            self.answered += 1
            if self.answered > self.asked:
                self.candidate.abandon("the program wrote on the channel that carries its results")
                return
            self._note_failure(content)
            if self.failure is None:
                self.judge.relay(content)
            return
        match decoded(content):
            case ("compiled",):
                return
            case ("loaded",):
                self.loaded = True
                for request in self._waiting:
                    self.candidate.relay(request)
                return
            case ("refused", str(name), str(text)):
                self.failure = refused_outcome(name, text)
            case ("raised", "load", str(name), list(bases), str(text)):
                self.failure = raised_outcome("load", name, [str(base) for base in bases], text)
            case _:
                self.candidate.abandon("the program wrote on the channel that carries its results")
                return
        self.candidate.finish()

    def _note_failure(self, content: bytes) -> None:
        """See whether the reply is one that ends the test: tag U, count, and then its first word."""
        if content[5:].startswith((b"S\x00\x00\x00\x05large", b"S\x00\x00\x00\x07unplain")):
            match decoded(content):
                case ("large", str(text)):
                    self.failure = Outcome(Verdict.OUTPUT_LIMIT, text)
                case ("unplain", str(text)):
                    self.failure = Outcome(Verdict.WRONG_ANSWER, text)
                case _:
                    self.failure = Outcome(Verdict.RUNTIME_ERROR, "the program's reply cannot be read")
            self.candidate.finish()

    def _from_judge(self, content: bytes) -> None:
        if content[5:].startswith(b"S\x00\x00\x00\x04eval"):
            self.asked += 1
            if self.loaded:
                self.candidate.relay(content)
            else:
                self._waiting.append(content)
            return
        message = decoded(content)
        if isinstance(message, tuple):
            self.sentence = message
        self.judge.finish()


async def run_judge(
    candidate: MakeTrial, judge: MakeTrial, plan: JudgeCode, imports: str, limits: Limits
) -> tuple[Facts, Outcome, bool]:
    """Run one judged test. Returns the candidate's facts, the outcome, and whether it could be decided this way."""
    hearing = _Hearing(candidate, judge, limits)
    hearing.candidate.start("calls", (limits.output_bytes,))
    hearing.judge.start("judge", (plan.code, imports, list(plan.names)))
    await asyncio.wait((hearing.candidate.done, hearing.judge.done), return_when=asyncio.FIRST_COMPLETED)
    if hearing.judge.done.done() and not hearing.candidate.done.done():
        hearing.candidate.finish()
    elif not hearing.judge.done.done():
        hearing.judge.finish()
    facts, seen = await hearing.candidate.done, await hearing.judge.done
    return facts, *_settle(hearing, plan, facts, seen, limits)


def _settle(hearing: _Hearing, plan: JudgeCode, facts: Facts, seen: Facts, limits: Limits) -> tuple[Outcome, bool]:
    outcome = limit_outcome(facts, limits) or hearing.failure
    if outcome is not None:
        return outcome, True
    match hearing.sentence:
        case ("passed",):
            return PASSED, True
        case ("failed", str(name), str(text)):
            return Outcome(Verdict.WRONG_ANSWER, f"{name}: {text}" if text else "an assert of the test is not so"), True
        case ("raised", str(name), str(text)):
            return Outcome(Verdict.RUNTIME_ERROR, f"{name}: {text}" if text else name), True
        case ("undecidable", str(_name), str(text)):
            advice = "this test cannot be judged out of process; allow_in_process would run it where it can be forged"
            return Outcome(Verdict.SANDBOX_FAILURE, f"{text} ({plan.reason}): {advice}"), False
        case _:
            pass
    if facts.ending is Ending.EXITED:
        return silent_outcome(facts), True
    mine = limit_outcome(seen, hearing.judge_limits)
    if mine is not None and mine.verdict is not Verdict.SANDBOX_FAILURE:
        return Outcome(mine.verdict, f"the test's own code: {mine.message}"), True
    return Outcome(Verdict.SANDBOX_FAILURE, "the judge ended without a word"), True
