import random

from engine.core.steptime import StepTime


def test_budgets_stay_near_the_truth_after_long_steady_decoding() -> None:
    for rows in (1, 4, 8, 16, 64):
        noise = random.Random(rows)
        learned = StepTime()

        def took(tokens: int, rows: int = rows, noise: random.Random = noise) -> float:
            return (0.02 + 0.0008 * rows + 0.0005 * tokens) * noise.uniform(0.97, 1.03)

        for _ in range(5):
            for _ in range(300):
                learned.observe(rows, 0, took(0))
            left = 2000
            while left > 0:
                budget = min(left, learned.prefill_budget(rows, 0.1, 32))
                seconds = took(budget)
                assert seconds < 0.3, "a step is bounded"
                learned.observe(rows, budget, seconds)
                left -= budget
        ideal = (0.1 - 0.02 - 0.0008 * rows) / 0.0005
        assert max(32, 0.5 * ideal) <= learned.prefill_budget(rows, 0.1, 32) <= max(32, 2 * ideal)


def test_the_price_of_a_row_is_learned() -> None:
    learned = StepTime()
    for step in range(400):
        rows = 1 + step % 32
        learned.observe(rows, 0, 0.03 + 0.002 * rows)
    assert abs(learned.predict(16, 0) - 0.062) < 0.004
