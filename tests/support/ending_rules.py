"""What must come of an order in which endings, verdicts and last words arrive at a solve."""

from engine.core.types import EndReason
from engine.solving.spec import ReturnPolicy
from tests.support.endings import Ending

ERRORS = {
    "late": "DEADLINE_IN_QUEUE",
    "deadline": "DEADLINE_RUNNING",
    "drain": "DRAINING",
    "death": "ENGINE_RESTARTING",
    "broken": "SANDBOX_UNAVAILABLE",
}
OUTCOMES = {"wall": "budget_time", "spent": "budget_rows", "executions": "budget_executions"}
PHASES = {
    "pass": "pass",
    "cancel": "client",
    "wall": "budget",
    "executions": "budget",
    "deadline": "deadline",
    "drain": "drain",
}
CUT = {"pass": "cut_off", "cancel": "cancelled", "deadline": "deadline", "drain": "error", "broken": "error"}


class Rules:
    """What must come of an order of arrival. What has arrived is read one by one, as fast as the caller reads."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.first_pass = ending.spec.return_policy is ReturnPolicy.FIRST_PASS
        self.most = (ending.spec.sampling.k or 0) if ending.spec.sampling.distinct_programs else ending.branches + 99
        self.hidden = any(test.hidden for test in ending.spec.tests)
        self.decision: str | None = None
        self.ends = 0  # intents to end it that the engine gets
        self.told = ""  # which last word of the engine was read: complete, cut; empty for none
        self.drawn = False
        self.started = False
        self.cancelled = False
        self.time_is_up = False  # also for the hidden tests of what has passed
        self.passes = self.reports = self.done = self.launched = self.wanted = 0
        self.observed: list[str] = []  # phases of the latency histogram
        self.queued = False  # the deadline came before the engine had begun
        self._unread: list[str] = []

    def arrive(self, option: str) -> None:
        """Something has happened, and everybody has reacted."""
        stalls = option.startswith("stall")
        words = self._words(option.removeprefix("stall, "))
        if words == ["cancel"]:
            self.cancelled = self.time_is_up = True
            self._read("cancel")
            words = []
        self._unread += words
        if stalls:
            self._read(self._unread.pop(0))
        elif self.ending.gate.is_set() or self.cancelled:
            unread, self._unread = self._unread, []
            for word in unread:
                self._read(word)

    def _words(self, option: str) -> list[str]:
        """What the solve gets to read for one thing that happens."""
        word, _, place = option.partition(" ")
        if word == "finish" and not self.ending.drawing:
            return ["finish last"]
        if word in ("pass", "fail", "broken", "gone"):
            if place and self.ending.executor.runs[int(place)].hidden:
                return ["done"]
            return [word] if word == "pass" and self.hidden else [word, "done"]
        return [] if word == "resume" else [word]

    def _read(self, word: str) -> None:
        if self.decision is not None and self.drawn and (self.cancelled or self.done == self.launched):
            return  # it is over
        match word:
            case "start":
                self.started = True
            case "finish" | "finish last":
                wanted = not self.cancelled and not self.enough
                self.wanted += wanted
                self.launched += wanted and self.decision is None and not self.spent
                if self.enough:
                    self._tell_end()
                if word == "finish last":
                    self._last_word("complete")
            case "pass" | "fail":
                if not self.cancelled:
                    self.reports += 1
                    self.passes += word == "pass"
                if word == "pass" and self.first_pass:
                    self._decide("pass")
            case "done":
                self.done += 1
            case "ended":
                complete = self.ending.connection.ends[0] is EndReason.COMPLETE
                self._last_word("complete" if complete else "cut")
            case "spent" | "late":
                self._last_word("cut")
                if not self.enough:
                    self._decide(word)
            case "death":
                if not self.drawn:
                    self.drawn = True
                    self._decide("death")
            case "grace" if not self.cancelled:
                self._observe()
                self.drawn = True
            case "gone" | "grace":
                pass
            case _:
                self.time_is_up |= word in ("deadline", "wall", "drain")
                self._decide(word)
        if self.spent and self.done == self.launched and (self.wanted > self.launched or not self.drawn):
            self._decide("executions")
        if self.drawn and self.done == self.launched:
            self._decide("complete")

    def _decide(self, word: str) -> None:
        if self.decision is None:
            self.decision = word
            self.queued = not self.started
            self._tell_end()

    def _tell_end(self) -> None:
        """The engine is told to end it, if it still draws."""
        self.ends = max(self.ends, int(self.ending.drawing and self.ending.alive))

    @property
    def spent(self) -> bool:
        """Whether no program may be run any more."""
        most = self.ending.spec.budget.executions
        return most is not None and self.launched >= most

    @property
    def enough(self) -> bool:
        """Whether there are as many programs as are wanted."""
        return self.wanted >= self.most

    def _last_word(self, kind: str) -> None:
        if kind == "cut":
            self._observe()
        self.told = self.told or kind
        self.drawn = True

    def _observe(self) -> None:
        """Rows were still there when the solve was decided, and now they are gone."""
        if self.decision is not None and not self.drawn:
            self.observed.append(PHASES.get(self.decision, "error"))

    @property
    def error(self) -> str | None:
        """The reason of the error that the caller gets."""
        if self.decision == "deadline" and self.queued:
            return "DEADLINE_IN_QUEUE"
        return ERRORS.get(self.decision or "")

    @property
    def outcome(self) -> str:
        """As it is counted."""
        if self.cancelled:
            return "cancelled"
        if self.error is not None:
            return "deadline" if self.error.startswith("DEADLINE") else "error"
        return "solved" if self.passes else OUTCOMES.get(self.decision or "", "exhausted")
