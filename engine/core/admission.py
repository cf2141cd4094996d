"""Whether a solve is let in, and when it may begin: by its pages, its deadline and the places that are left."""

from collections.abc import Callable
from dataclasses import dataclass

from engine.core.chunks import ChunkMaker
from engine.core.clients import Clients
from engine.core.limits import DeadlineTooClose, Limits, NeverFits, QueueIsFull
from engine.core.memory import Memory
from engine.core.pages import PagePool
from engine.core.prefixes import PrefixCache
from engine.core.solves import Solve
from engine.core.steptime import StepTime
from engine.core.types import CoreRequest


def pages_for(request: CoreRequest, page_size: int) -> int:
    """Pages of the prompts and one full branch, computed alone."""
    prompts = sum(-(-len(prompt.tokens) // page_size) for prompt in request.prompts)
    return prompts + -(-request.max_new_tokens // page_size) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The checks on a solve's way in; it changes nothing but the pages of a prompt that begins."""

    pool: PagePool
    page_size: int
    limits: Limits
    clock: Callable[[], float]
    clients: Clients
    prefixes: PrefixCache
    memory: Memory
    chunks: ChunkMaker
    step_time: StepTime

    def check_room(self, request: CoreRequest) -> None:
        """Refuse what could not even wait.

        Raises:
            NeverFits: the prompts and one full branch do not fit into the empty pool.
            QueueIsFull: `Limits.waiting` solves are waiting.
        """
        need = pages_for(request, self.page_size)
        if need > self.pool.capacity:
            raise NeverFits(
                f"prompt of {_tokens(request)} tokens and max_new_tokens of {request.max_new_tokens} need "
                f"{need} pages of {self.page_size} tokens, the pool has {self.pool.capacity}"
            )
        if len(self.clients) >= self.limits.waiting:
            raise QueueIsFull(str(len(self.clients)))

    def check_deadline(self, solve: Solve) -> None:
        """Refuse what would be late. Raises DeadlineTooClose: the prompts alone take longer than there is time."""
        request = solve.request
        if request.deadline is not None and self.is_late(solve):
            raise DeadlineTooClose(
                f"{request.deadline - self.clock():.2f} s are left, and the first token of a prompt of "
                f"{_tokens(request)} tokens takes about {self._soonest(solve) - self.clock():.2f} s"
            )

    def is_late(self, solve: Solve) -> bool:
        """Whether not even the first token of a solve could be there before its deadline, if it went first."""
        return solve.request.deadline is not None and self._soonest(solve) > solve.request.deadline

    def may_begin(self, solve: Solve, running: int) -> bool:
        """Whether a waiting solve can begin beside so many: its prompt and a branch fit, or it runs alone.

        What is still there of its prompts is then its own, and idle nodes of others may have gone for the rest.
        """
        # A client that has nothing here yet finds a place even where others have taken them all.
        places = self.limits.rows * (1 if self.clients.of(solve).running else 2)
        if running >= places:
            return False
        found = sum(self.chunks.begin_prompt(tree) for tree in solve.trees)
        need = pages_for(solve.request, self.page_size) - found
        if self.pool.free >= need or self.memory.drop_idle(need):
            return True
        if not running:
            return True
        for tree in solve.trees:
            tree.drop_all()
        return False

    def _soonest(self, solve: Solve) -> float:
        """When the first token of a solve could be there if it went first: a lower bound."""
        prompts = [prompt.tokens for prompt in solve.request.prompts]
        tokens = sum(len(prompt) - self.page_size * len(self.prefixes.find(prompt)) for prompt in prompts)
        return self.clock() + self.step_time.predict(0, 0, 0) + tokens * self.step_time.per_prefill_token


def _tokens(request: CoreRequest) -> int:
    return sum(len(prompt.tokens) for prompt in request.prompts)
