"""The verdicts of executor.Verdict as a page groups and colours them."""

KEY = (
    ("passed", "passed"),
    ("wrong", "wrong answer"),
    ("error", "run-time or compile error"),
    ("limit", "time, memory or output limit"),
    ("other", "other"),
)
"""A name in the style sheet, and what it stands for."""

_KINDS = {
    "passed": "passed",
    "wrong_answer": "wrong",
    "runtime_error": "error",
    "compile_error": "error",
    "time_limit": "limit",
    "memory_limit": "limit",
    "output_limit": "limit",
}


def kind_of(verdict: str) -> str:
    """The first of a pair of KEY; the verdict as its word, or with spaces."""
    return _KINDS.get(verdict.replace(" ", "_"), "other")
