"""What rounds of repair and plain samples cost in tokens, so that both can be asked what they solve for the same.

Two measures. `computed`: the tokens of the prompt that the model had to compute, plus those that it generated; a prompt
found in the prefix cache costs nothing. `all`: every token of the prompt, cached or not, plus those generated; this is
what a service without a prefix cache works, and what most prices count. Both count a prompt for each program, so that a
round and a sample are one call each. Programs that are run cost no tokens.

After Olausson et al. 2023 (arXiv 2306.09896): repair is compared with sampling by tokens, not by programs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

COMPUTED = "computed"
ALL = "all"
MEASURES = (COMPUTED, ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The tokens of one call. prompt: as the model is shown it. cached: of these, found in the prefix cache."""

    prompt: int
    cached: int
    generated: int

    def __post_init__(self) -> None:
        """Raises ValueError for books that cannot be."""
        if not 0 <= self.cached <= self.prompt or self.generated < 0:
            raise ValueError(f"tokens: {self} is no account of a call: cached is a part of prompt, none is below 0")

    def by(self, measure: str) -> int:
        """Its tokens by one of MEASURES."""
        return self.prompt + self.generated - (self.cached if measure == COMPUTED else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A program that was paid for, and whether it passed."""

    spent: Spent
    passed: bool


def total(tries: Sequence[Tried], measure: str) -> int:
    """The tokens of all of them."""
    return sum(one.spent.by(measure) for one in tries)


def even_share(conversations: Sequence[Sequence[Tried]], measure: str) -> int:
    """What each problem gets where the tokens of all conversations are shared out evenly, rounded up; 0 for none."""
    return -(-sum(total(tries, measure) for tries in conversations) // max(1, len(conversations)))


def first_pass(tries: Sequence[Tried], measure: str) -> int | None:
    """The tokens spent when the first pass is paid for, one try after the other; None where none passes."""
    spent = 0
    for one in tries:
        spent += one.spent.by(measure)
        if one.passed:
            return spent
    return None


def solved_within(tries: Sequence[Tried], budget: int, measure: str) -> bool:
    """Whether a try passes whose last token is still paid for by the budget."""
    found = first_pass(tries, measure)
    return found is not None and found <= budget


def used(tries: Sequence[Tried], budget: int, measure: str) -> int:
    """The tokens of the tries that the budget pays for to their last token, none after the first pass."""
    spent = 0
    for one in tries:
        if spent + one.spent.by(measure) > budget:
            return spent
        spent += one.spent.by(measure)
        if one.passed:
            return spent
    return spent


def enough(tries: Sequence[Tried], budgets: dict[str, int]) -> bool:
    """Whether one more try could change nothing: one has passed, or each measure's budget is spent."""
    return any(one.passed for one in tries) or all(
        total(tries, measure) >= budget for measure, budget in budgets.items()
    )
