"""Pools that are too small for what runs: every solve ends with the candidates that it has with plenty."""

import numpy as np
import pytest

from engine.core.admission import pages_for
from engine.core.types import CoreRequest, EndReason, Mode
from tests.support.core_harness import Harness, request
from tests.support.random_schedule import drawn
from tests.support.scripted_runner import ScriptedRunner

PLENTY = 5_000
PAGE_SIZE = 4


def solves(seed: int) -> list[CoreRequest]:
    """Twelve solves of all modes, with long texts and many samples."""
    random = np.random.default_rng(seed)
    common = random.integers(1, 12, 12).tolist()
    found: list[CoreRequest] = []
    for number in range(12):
        mode = Mode(random.choice([Mode.INDEPENDENT, Mode.INDEPENDENT, Mode.DISTINCT, Mode.BEAM]))
        prompt = common[: int(random.integers(0, 13))] + random.integers(1, 12, int(random.integers(1, 9))).tolist()
        found.append(
            request(
                solve=number,
                prompt=prompt,
                k=int(random.integers(2, 8 if mode is Mode.BEAM else 24)),
                new=int(random.integers(8, 17)),
                seed=int(random.integers(0, 1_000)),
                mode=mode,
                interactive=bool(random.random() < 0.5),
            )
        )
    return found


def run(asked: list[CoreRequest], pages: int) -> tuple[Harness, int]:
    """All at once; the harness, which checks every invariant in every step, and the most pages in use."""
    harness = Harness(ScriptedRunner(pages=pages, page_size=PAGE_SIZE), rows=64)
    for one in asked:
        harness.scheduler.submit(one)
    most = 0
    for _ in range(20_000):
        if harness.scheduler.idle:
            return harness, most
        harness.step()
        pool = harness.scheduler.pool
        most = max(most, pool.capacity - pool.free - pool.idle)
    raise AssertionError("the scheduler does not come to an end")


@pytest.mark.parametrize("seed", range(4))
def test_every_solve_ends_as_with_plenty(seed: int) -> None:
    asked = solves(seed)
    plenty, most = run(asked, PLENTY)
    least = max(pages_for(one, PAGE_SIZE) for one in asked)
    preempted: list[int] = []
    for demand in (1.05, 2.0, 10.0):
        pages = int(most / demand)
        assert pages >= least, "what runs must be ten times the smallest pool that could hold each alone"
        tight, _ = run(asked, pages)
        for one in asked:
            assert tight.ended(one.solve).reason is EndReason.COMPLETE
            assert drawn(tight, one) == drawn(plenty, one)
        assert tight.scheduler.pool.free + tight.scheduler.pool.idle == pages
        preempted.append(sum(tight.ended(one.solve).counts.preemptions for one in asked))
    assert preempted[0] < preempted[1] and preempted[2] > 0, "the pools were not tight"
