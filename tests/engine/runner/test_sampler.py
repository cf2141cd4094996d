"""Filters against a plain definition by full sorting, and drawn tokens against the distribution."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.distribution import Distribution
from engine.core.randomness import uniforms
from engine.core.types import Filters
from engine.runner.sampler import distributions


def plain(logits: np.ndarray, filters: Filters) -> np.ndarray:
    """Probabilities over the whole vocabulary, by sorting."""
    logits = logits.astype(np.float64)
    if filters.temperature == 0:
        result = np.zeros(len(logits))
        result[int(np.argmax(logits))] = 1
        return result
    p = np.exp((logits - logits.max()) / filters.temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    if filters.top_k:
        order = order[: filters.top_k]
    if filters.top_p < 1:
        cumulated = np.cumsum(p[order]) / p[order].sum()
        order = order[: int(np.searchsorted(cumulated, filters.top_p)) + 1]
    if filters.min_p:
        order = order[p[order] >= filters.min_p * p[order[0]]]
    result = np.zeros(len(p))
    result[order] = p[order]
    return result / result.sum()


FILTERS = st.builds(
    Filters,
    temperature=st.sampled_from([0.0, 0.2, 0.8, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 5, 400]),
    top_p=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 1e-9]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(FILTERS, min_size=1, max_size=5), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 2.0, 6.0]))
def test_equals_sorting(filters: list[Filters], seed: int, spread: float) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(len(filters), 3000) * spread
    numbers = [uniforms(seed, np.arange(20), row) for row in range(len(filters))]
    for row, found in enumerate(distributions(logits, filters, numbers)):
        expected = plain(logits[row].numpy(), filters[row])
        mass = found.high - found.low
        # Where float32 sums put a token on the other side of the nucleus' edge, that one token may differ.
        assert np.abs(mass - expected[found.ids]).sum() < 2e-3 + (filters[row].top_p < 1) * expected[expected > 0].min()
        assert (np.diff(found.ids) > 0).all()
        assert int(found.ids[found.greedy]) == int(logits[row].argmax())
        assert (found.find(numbers[row]) >= 0).all(), "every announced number has its token"
        raw = torch.log_softmax(logits[row].double(), -1).numpy()
        np.testing.assert_allclose(found.logprobs, raw[found.ids], atol=1e-4)


def test_greedy_takes_the_lowest_of_equals() -> None:
    logits = torch.zeros(1, 50)
    logits[0, [7, 30]] = 3.0
    found = distributions(logits, [Filters(temperature=0.0)], [np.zeros(1)])[0]
    assert found.ids.tolist() == [7]


def test_a_flat_distribution_is_not_kept_whole() -> None:
    torch.manual_seed(3)
    logits = torch.randn(1, 50_000)
    numbers = uniforms(1, np.arange(40), 0)
    for filters in [Filters(temperature=50.0, top_p=0.95), Filters(temperature=2.0), Filters(top_k=20_000)]:
        found = distributions(logits, [filters], [numbers])[0]
        assert len(found.ids) < 3000, "a node costs kilobytes, whatever the request"
        assert (found.find(numbers) >= 0).all()


def chi_square(found: Distribution, expected: np.ndarray, draws: int) -> tuple[float, int]:
    index = found.find(uniforms(7, np.arange(draws), 3))
    counts = np.bincount(found.ids[index], minlength=len(expected))
    likely = expected * draws >= 10
    observed = np.append(counts[likely], counts[~likely].sum())
    wanted = np.append(expected[likely], expected[~likely].sum()) * draws
    used = wanted > 0
    return float(((observed[used] - wanted[used]) ** 2 / wanted[used]).sum()), int(used.sum()) - 1


def test_drawn_tokens_follow_the_distribution() -> None:
    torch.manual_seed(1)
    draws = 200_000
    for filters in [Filters(temperature=0.8, top_p=0.95), Filters(temperature=1.0), Filters(temperature=0.5, top_k=20)]:
        logits = torch.randn(1, 500) * 2
        found = distributions(logits, [filters], [uniforms(7, np.arange(draws), 3)])[0]
        statistic, freedom = chi_square(found, plain(logits[0].numpy(), filters), draws)
        assert statistic < freedom + 6 * (2 * freedom) ** 0.5  # about six standard deviations
