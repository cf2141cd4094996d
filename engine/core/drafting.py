"""Which branches of a step draft, and how much: where it pays, and not at the cost of others."""

from functools import partial

from engine.core.branch import Branch
from engine.core.drafts import Bargain, Draft, Drafts
from engine.core.steptime import StepTime
from engine.core.types import CoreRequest, Mode


class Drafting:
    """The drafts of one engine, step by step."""

    def __init__(self, times: StepTime, *, enabled: bool) -> None:
        self._times = times
        self._enabled = enabled
        self._drafts = Drafts()
        self._bargain = Bargain(1, 0, times)
        self._left: dict[str, int] = {}
        self._batch = True

    def begin(self, request: CoreRequest) -> None:
        """A solve begins."""
        self._drafts.begin(request.solve, [*(prompt.tokens for prompt in request.prompts), *request.likenesses])

    def end(self, request: CoreRequest) -> None:
        """A solve is over."""
        self._drafts.end(request.solve)

    def begin_step(self, rows: int, context: float, room: dict[str, int], *, batch: bool) -> None:
        """A step of so many rows that attend to `context` tokens is being planned.

        `room`: tokens that each client may draft; `batch`: whether batch solves may draft at all.
        """
        self._bargain = Bargain(max(1, rows), context, self._times)
        self._left = room
        self._batch = batch

    def draft(self, request: CoreRequest, branch: Branch) -> Draft | None:
        """What may come next in a branch whose row is in the step."""
        room = min(request.max_new_tokens - branch.generated - 1, self._left[request.client])
        if not self._enabled or request.mode is not Mode.INDEPENDENT or room < 1:
            return None
        if not (request.interactive or self._batch):
            return None
        if branch.stopper.mask is not None:
            return None  # what may follow a drafted token is not known
        draft = self._drafts.guess(
            request.solve,
            branch.id,
            branch.generated,
            len(branch.samples),
            partial(branch.tree.last_tokens, branch),
            room,
            self._bargain,
        )
        if draft is None:
            return None
        self._left[request.client] -= len(draft.tokens)
        return draft

    def learn(self, guess: Draft, drafted: int, accepted: int) -> None:
        """Of so many tokens drafted by a guess the first so many were right."""
        self._drafts.acceptance.learn(guess.kind, drafted, accepted)
