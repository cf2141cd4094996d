"""The decode benchmark on the smaller model: its figures are of the work that it says it does."""

import pytest

from benchmarks.decode import decode, serve
from benchmarks.stopwatch import Stopwatch
from engine.runner.arithmetic import best_arithmetic


@pytest.mark.model
@pytest.mark.parametrize("k", [1, 6])
def test_the_rows_are_those_of_the_samples(k: int) -> None:
    served = serve("smollm2-135m-instruct", best_arithmetic())
    # It raises where another number of rows was computed than k samples of 9 tokens need.
    found = decode(served, k, 9, seed=1, watch=Stopwatch())
    assert found["k"] == k
    assert 0 < found["runner_ms"] <= found["step_ms"]
    assert {"matrix products", "attention", "sampler", "scheduler"} <= set(found["profile_ms"])
