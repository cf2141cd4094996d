"""How long steps take: what is learned of rows, context and prefill, and what no noise may make of it."""

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.steptime import StepTime

ALL_ROWS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 17, 30, 63, 64, 65, 100, 192, 300, 512, 700)
OBSERVATIONS = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.integers(0, 50_000),
        st.sampled_from([0, 0, 0, 1, 64]),
        st.floats(1e-6, 10.0),
    ),
    max_size=40,
)


def test_budgets_stay_near_the_truth_after_long_steady_decoding() -> None:
    for rows in (1, 4, 8, 16, 64):
        noise = random.Random(rows)
        learned = StepTime()

        def took(tokens: int, rows: int = rows, noise: random.Random = noise) -> float:
            return (0.02 + 0.0008 * rows + 0.0005 * tokens) * noise.uniform(0.97, 1.03)

        for _ in range(5):
            for _ in range(300):
                learned.observe(rows, 200 * rows, 0, took(0))
            left = 2000
            while left > 0:
                budget = min(left, learned.prefill_budget(rows, 200 * rows, 0.1, 32))
                seconds = took(budget)
                assert seconds < 0.3, "a step is bounded"
                learned.observe(rows, 200 * rows, budget, seconds)
                left -= budget
        ideal = (0.1 - 0.02 - 0.0008 * rows) / 0.0005
        assert max(32, 0.5 * ideal) <= learned.prefill_budget(rows, 200 * rows, 0.1, 32) <= max(32, 2 * ideal)


def test_the_price_of_a_row_is_learned() -> None:
    learned = StepTime()
    for step in range(400):
        rows = 1 + step % 32
        learned.observe(rows, 100, 0, 0.03 + 0.002 * rows)
    assert abs(learned.predict(16, 100, 0) - 0.062) < 0.004


def test_the_price_of_context_is_learned() -> None:
    noise = random.Random(1)
    learned = StepTime()
    for step in range(600):
        rows, context = 1 + step % 32, noise.randrange(100, 20_000)
        learned.observe(rows, context, 0, (0.02 + 0.001 * rows + 2e-6 * context) * noise.uniform(0.95, 1.05))
    assert abs(learned.predict(8, 0, 0) - 0.028) < 0.004
    assert abs(learned.predict(8, 16_000, 0) - 0.060) < 0.006


def test_a_change_of_speed_is_followed() -> None:
    learned = StepTime()
    for speed in (1.0, 2.0, 0.5):
        for step in range(300):
            rows = 1 + step % 16
            learned.observe(rows, 50 * rows, 0, speed * (0.02 + 0.001 * rows))
        assert abs(learned.predict(8, 400, 0) / (speed * 0.028) - 1) < 0.1


def test_rows_that_come_in_tiles_are_priced_so() -> None:
    """Up to six rows cost what one costs, then six more what the next tile does."""
    noise = random.Random(3)
    learned = StepTime()

    def took(rows: int) -> float:
        return 0.012 + 0.006 * max(1, -(-rows // 6))

    for solve in range(60):
        for step in range(60):
            rows = min(1 + step, noise.choice([4, 6, 8, 12, 16, 24, 32]))
            learned.observe(rows, 40 * step, 0, took(rows) * noise.uniform(0.93, 1.09) + 1e-6 * 40 * step)
        if solve < 20:
            continue
        for rows in (1, 4, 6, 8, 12, 16, 24, 32):
            assert abs(learned.predict(rows, 0, 0) / took(rows) - 1) < 0.12, rows
    assert learned.per_row(1, 4) < 0.2 * learned.per_row(6, 2)


def test_what_does_not_vary_keeps_its_price() -> None:
    """Long runs of one width say nothing about a row's price, whatever the noise."""
    noise = random.Random(2)
    learned = StepTime()
    for step in range(400):
        rows = 1 + step % 32
        learned.observe(rows, 100, 0, 0.03 + 0.002 * rows)
    for _ in range(2000):
        learned.observe(8, 100, 0, 0.046 * noise.uniform(0.9, 1.1))
    assert abs(learned.predict(8, 100, 0) - 0.046) < 0.004
    assert abs(learned.predict(32, 100, 0) - 0.094) < 0.03


@settings(max_examples=150, deadline=None)
@given(observations=OBSERVATIONS, context=st.integers(0, 50_000))
def test_no_prediction_is_negative_or_falls_with_more_rows(
    observations: list[tuple[int, int, int, float]], context: int
) -> None:
    """Whatever steps have taken: narrow ones that were slow by chance must not make wide ones cheap."""
    learned = StepTime()
    for observed in observations:
        learned.observe(*observed)
        predicted = [learned.predict(rows, context, 0) for rows in ALL_ROWS]
        assert predicted[0] >= 0.0
        assert all(fewer <= more + 1e-9 * (1.0 + more) for fewer, more in pairwise(predicted)), predicted
