"""The closed set of values of each label, and the buckets of histograms, in seconds or in what the name says."""

from collections.abc import Collection

OUTCOMES = (
    "solved",
    "exhausted",
    "budget_time",
    "budget_tokens",
    "budget_executions",
    "budget_rows",
    "cut_off",
    "cancelled",
    "deadline",
    "error",
)
"""How a solve ends. `cut_off`: it was one tier's part of a cascade, and another tier has solved it."""
PRIORITIES = ("interactive", "batch")
VERDICTS = (
    "passed",
    "wrong_answer",
    "compile_error",
    "runtime_error",
    "time_limit",
    "memory_limit",
    "output_limit",
    "sandbox_violation",
    "skipped",
    "sandbox_failure",
)
SOURCES = ("sampled", "prior_attempt", "request")
"""Who wrote the program that was judged: the model, somebody before it, or a caller of ExecutionService."""
BRANCH_OUTCOMES = ("finished", "pruned", "duplicate", "cut_off", "cancelled", "deadline", "budget", "dropped", "error")
WASTE = ("cut_off", "after_pass", "client_gone", "deadline", "budget", "pruned", "preempted", "error")
"""Why tokens were computed for nothing. `cut_off`: a sibling passed while they were drawn; `after_pass`: their text was
complete by then, and never judged."""
DRAFT_RESULTS = ("accepted", "rejected")
"""What came of a token that was guessed ahead of the model."""
CANCEL_PHASES = ("pass", "client", "deadline", "budget", "drain", "error")
"""What ended a solve whose rows then had to go."""
IDLE_CAUSES = ("no_work", "waiting_executor")
SANDBOX_FAULTS = ("kill_alarm", "leaked_cgroup", "start_failure", "restart")
"""What must not happen to a sandbox: a jail not empty in time after its kill, a control group that could not be
removed, a jail that did not start, the executor's process that had to be started again."""
EXECUTOR_ENDS = ("judged", "refused", "cancelled", "lost")
"""What came of a program that was given to one of several executors; `lost` went on to another one."""
ESCALATIONS = ("exhausted", "gave_up", "budget", "lost", "refused", "time", "chance")
"""Why the next tier of a cascade was asked; `time` and `chance`: beside the one before. Or, `lost`, the same again."""

WASTE_OF = {
    "solved": "cut_off",
    "exhausted": "cut_off",
    "cut_off": "cut_off",
    "cancelled": "client_gone",
    "deadline": "deadline",
    "error": "error",
}
"""The reason of what is drawn for nothing in a solve, by its outcome; of the others it is `budget`."""

SECONDS_LONG = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SECONDS_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
FIRST_TOKEN_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
"""Buckets of OpenTelemetry's `gen_ai.server.time_to_first_token` and `gen_ai.server.time_per_output_token`."""
TOKENS = tuple(64.0 * 2**power for power in range(11))
COUNTS = tuple(2.0**power for power in range(9))


def one_of(word: str, words: Collection[str]) -> str:
    """The word. Raises ValueError if it is none of these."""
    if word not in words:
        raise ValueError(f"{word!r} is no value of this label; there are: {', '.join(words)}")
    return word
