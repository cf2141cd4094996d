"""What solves may expect beside others: short steps for interactive ones, and no drafts at others' cost."""

from engine.core.plan import Plan
from engine.core.types import BranchStarted
from tests.support.core_harness import Harness, request
from tests.support.scripted_runner import ScriptedRunner

_FIXED, _ROW, _CONTEXT, _TOKEN = 0.02, 0.001, 1e-5, 5e-4


def seconds(rows: int, context: int, tokens: int) -> float:
    return _FIXED + _ROW * rows + _CONTEXT * context + _TOKEN * tokens


class Recorder:
    """A scheduler under batch load, and what its steps hold."""

    def __init__(self, *, rows: int = 32, **runner: int) -> None:
        self.harness = Harness(ScriptedRunner(pages=40_000, **{"vocabulary": 450, "spread": 300, **runner}), rows=rows)
        self.harness.seconds = self._seconds
        self.plans: list[Plan] = []

    def _seconds(self, plan: Plan) -> float:
        self.plans.append(plan)
        return seconds(plan.rows, plan.context, plan.prefill_tokens)

    def batch(self, steps: int = 40, **more: object) -> None:
        self.harness.scheduler.submit(request(solve=1, client="nightly", k=400, interactive=False, **more))  # type: ignore[arg-type]
        for _ in range(steps):
            self.harness.step()

    def drawn(self, solve: int) -> bool:
        return any(isinstance(event, BranchStarted) and event.solve == solve for event in self.harness.events)


def tokens(plan: Plan, *, interactive: bool, rows: bool) -> int:
    pieces = [p for p in plan.work if p.solve.request.interactive is interactive and p.is_row is rows]
    return sum(len(piece.chunk.tokens) for piece in pieces)


def test_what_batch_rows_attend_to_does_not_lengthen_the_steps_of_others() -> None:
    recorder = Recorder()
    recorder.batch(prompt=list(range(3, 403)), new=300)
    recorder.harness.scheduler.submit(request(solve=2, client="editor", k=8, new=60, seed=2))
    for _ in range(30):
        recorder.harness.step()
    mixed = [plan for plan in recorder.plans[-25:] if tokens(plan, interactive=True, rows=True)]
    assert len(mixed) > 20
    for plan in mixed:
        mine = [p for p in plan.work if p.solve.request.interactive]
        own = sum(len(piece.chunk.suffix) for piece in mine) + 3
        alone = seconds(tokens(plan, interactive=True, rows=True), own, 0)
        others = seconds(plan.rows, plan.context, plan.prefill_tokens)
        # A quarter for the rows, and what the 400 tokens of their prompt cost, which no choice of rows avoids.
        assert others <= 1.3 * alone + 400 * _CONTEXT + _ROW
        assert tokens(plan, interactive=False, rows=True) > 0, "batch goes on"


def test_batch_rows_give_way_to_a_prompt_that_somebody_waits_for() -> None:
    recorder = Recorder()
    recorder.harness.scheduler.limits = type(recorder.harness.scheduler.limits)(
        rows=32, step_seconds=0.06, least_prefill=4
    )
    recorder.batch(new=300)
    before = len(recorder.plans)
    recorder.harness.scheduler.submit(
        request(solve=2, client="editor", k=8, new=60, seed=2, prompt=list(range(3, 203)))
    )
    while not recorder.drawn(2):
        recorder.harness.step()
    during = [plan for plan in recorder.plans[before:] if plan.prefill_tokens]
    # 0.06 s less the 0.02 of any step are 80 tokens, less a quarter of those 0.02 s; the first chunks are shorter, as
    # nobody knows yet what a token costs. Beside 32 rows there would be 50 chunks of 4.
    assert len(during) <= 6
    for plan in during:
        assert 1 <= tokens(plan, interactive=False, rows=True) <= 7


def test_prompts_of_batch_solves_wait_for_the_others_steps() -> None:
    recorder = Recorder()
    recorder.harness.scheduler.submit(request(solve=2, client="editor", k=8, new=200, seed=2))
    for _ in range(10):
        recorder.harness.step()
    recorder.harness.scheduler.submit(
        request(solve=3, client="nightly", k=8, new=20, interactive=False, prompt=list(range(3, 303)))
    )
    before = len(recorder.plans)
    while not recorder.drawn(3):
        recorder.harness.step()
    least = recorder.harness.scheduler.limits.least_prefill
    sizes = [plan.prefill_tokens for plan in recorder.plans[before:]]
    assert max(sizes) == least
    assert sum(sizes) == 300


def test_batch_solves_do_not_draft_beside_interactive_ones() -> None:
    # Two tokens only: what followed the last six is nearly always known.
    recorder = Recorder(vocabulary=8, spread=2)
    recorder.batch(new=200, steps=60)
    drafted = [sum(len(piece.drafted) for piece in plan.work) for plan in recorder.plans]
    assert sum(drafted) > 0, "alone they do"
    recorder.harness.scheduler.submit(request(solve=2, client="editor", k=4, new=30, seed=2))
    before = len(recorder.plans)
    for _ in range(12):
        recorder.harness.step()
    mixed = [plan for plan in recorder.plans[before:] if tokens(plan, interactive=True, rows=True)]
    assert mixed
    for plan in mixed:
        assert not [piece for piece in plan.work if piece.drafted and not piece.solve.request.interactive]


def test_what_a_client_drafts_counts_as_its_part_of_the_step() -> None:
    recorder = Recorder(vocabulary=8, spread=2)
    for solve, width in ((1, 60), (2, 4)):
        asked = request(solve=solve, client=f"client {solve}", k=400, width=width, new=200, seed=solve)
        recorder.harness.scheduler.submit(asked)
    for _ in range(120):
        recorder.harness.step()
    drafted = 0
    for plan in recorder.plans:
        clients = {piece.solve.request.client for piece in plan.work if piece.is_row}
        for client in clients if len(clients) > 1 else ():
            mine = [piece for piece in plan.work if piece.is_row and piece.solve.request.client == client]
            tokens = sum(len(piece.drafted) for piece in mine)
            drafted += tokens
            assert tokens == 0 or tokens + len(mine) <= 16
    assert drafted > 0
