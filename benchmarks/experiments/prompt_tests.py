"""How many tests the prompt quotes: the same problems with 0, 1, 2 or 3 of them; all tests decide in each case."""

from benchmarks.experiments.comparison import comparison
from benchmarks.experiments.published import Published

_PAPER = "Austin, Odena et al. 2021 (arXiv 2108.07732), few-shot, solved by any of 80"
_REPLICATION = "a replication of 2025, BunsenFeng/model_collaboration#82, pass@1"


def arm_name(shown: int) -> str:
    """What the arm of a number of tests is called."""
    return f"{shown} test" if shown == 1 else f"{shown} tests"


NEIGHBOURS = (
    Published(who="137B of the MBPP paper", measure="no test shown", value=43, how=_PAPER),
    Published(who="137B of the MBPP paper", measure="1 test shown", value=55, how=_PAPER),
    Published(who="137B of the MBPP paper", measure="3 tests shown", value=59, how=_PAPER),
    Published(who="unnamed", measure="no test shown", value=26.1, how=_REPLICATION),
    Published(who="unnamed", measure="1 test shown", value=51.5, how=_REPLICATION),
)

EXPERIMENT = comparison(
    "prompt-tests",
    "Tests in the prompt",
    "The same problems and seeds with so many tests quoted; with none nothing says what the function is called.",
    NEIGHBOURS,
)
