"""Filters against a plain definition by full sorting, and drawn tokens against the distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.distribution import Distribution
from engine.core.randomness import uniforms
from engine.core.types import Ask, Filters, Mask
from engine.runner import sampler, sorting


def distributions(logits: torch.Tensor, filters: list[Filters], numbers: list[np.ndarray]) -> list[Distribution]:
    """One ask for each row."""
    asks = [Ask(0, one, drawn) for one, drawn in zip(filters, numbers, strict=True)]
    return sampler.distributions(logits, list(range(len(asks))), asks)


def masked(tokens: np.ndarray, vocab: int) -> Mask:
    words = np.zeros(-(-vocab // 32), np.uint32)
    np.bitwise_or.at(words, tokens // 32, np.uint32(1) << (tokens % 32).astype(np.uint32))
    return words


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


FLAT = [
    Filters(temperature=1.5, top_p=0.95),
    Filters(temperature=4.0, top_p=0.5),
    Filters(temperature=2.0, min_p=1e-7),
    Filters(temperature=3.0, top_k=50),
    Filters(temperature=3.0, top_k=50, top_p=0.9),
    Filters(temperature=2.0, top_k=20_000, top_p=0.99),
    Filters(temperature=2.0, top_k=20_000, top_p=0.9, min_p=1e-3),
]


@pytest.mark.parametrize("filters", FLAT)
@pytest.mark.parametrize("ties", [False, True])
def test_flat_rows_equal_sorting(filters: Filters, ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    logits = torch.randn(3, 60_000)
    if ties:
        logits = (logits * 200).round() / 200
    monkeypatch.setattr(sampler, "of_all", None)  # nothing is sorted
    numbers = [uniforms(5, np.arange(30), row) for row in range(3)]
    for row, found in enumerate(distributions(logits, [filters] * 3, numbers)):
        expected = plain(logits[row].numpy(), filters)
        mass = found.high - found.low
        assert np.abs(mass - expected[found.ids]).max() < 2e-6
        assert (mass > 0).all() and (np.diff(found.ids) > 0).all()
        kept = np.flatnonzero(expected >= 1.001e-4)
        assert set(kept.tolist()) <= set(found.ids.tolist()), "every probable token is there"
        if np.count_nonzero(expected) <= 400:
            assert found.ids.tolist() == np.flatnonzero(expected).tolist()
        # The token of each number is that of the definition.
        edges = np.cumsum(expected)
        drawn = found.ids[found.find(numbers[row])]
        for number, token in zip(numbers[row].tolist(), drawn.tolist(), strict=True):
            assert edges[token] - expected[token] - 1e-4 <= number < edges[token] + 1e-4
        assert int(found.ids[found.greedy]) == int(logits[row].argmax())


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


@settings(max_examples=60, deadline=None)
@given(FILTERS, st.integers(0, 2**32 - 1), st.integers(1, 3000), st.booleans())
def test_a_mask_is_a_smaller_vocabulary(filters: Filters, seed: int, count: int, whole: bool) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.standard_normal((2, 3000), np.float32) * 3)
    allowed = np.sort(random.choice(3000, count, replace=False))
    numbers = random.random(20)
    asks = [Ask(0, filters, numbers), Ask(1, filters, numbers, masked(allowed, 3000), whole), Ask(2, filters, numbers)]
    before, found, after = sampler.distributions(logits, [0, 1, 0], asks)
    assert before.ids.tolist() == after.ids.tolist(), "the rows beside it are what they were"
    (alone,) = sampler.distributions(logits[1:, allowed].contiguous(), [0], [Ask(0, filters, numbers, None, whole)])
    assert found.ids.tolist() == allowed[alone.ids].tolist()
    for field in ("low", "high", "logprobs"):
        np.testing.assert_array_equal(getattr(found, field), getattr(alone, field))
    assert found.greedy == alone.greedy


def test_a_mask_that_leaves_nothing_is_named() -> None:
    for mask in (np.zeros(2, np.uint32), np.array([0, 1 << 31], np.uint32)):
        with pytest.raises(ValueError, match="mask: it leaves no token"):
            sampler.distributions(torch.zeros(1, 50), [0], [Ask(0, Filters(), np.zeros(0), mask)])


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 30.0])
def test_whole_leaves_out_nothing(temperature: float) -> None:
    torch.manual_seed(4)
    logits = torch.randn(1, 30_000) * 3
    filters = Filters(temperature=temperature)
    (found,) = sampler.distributions(logits, [0], [Ask(0, filters, np.zeros(0), whole=True)])
    expected = plain(logits[0].numpy(), filters)
    assert found.missing == 0
    assert np.abs((found.high - found.low) - expected[found.ids]).max() < 1e-9
    assert expected[np.setdiff1d(np.arange(30_000), found.ids)].sum() < 1e-12


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


@settings(max_examples=60, deadline=None)
@given(FILTERS, st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_sorting_alone_draws_the_same(filters: Filters, seed: int, whole: bool, with_mask: bool) -> None:
    """What a device without a sampler of its own answers with."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.standard_normal((1, 700), np.float32) * 3)
    numbers = random.random(20)
    mask = masked(np.sort(random.choice(700, 300, replace=False)), 700) if with_mask else None
    ask = Ask(0, filters, numbers, mask, whole)
    (expected,) = sampler.distributions(logits, [0], [ask])
    found = sorting.distribution(logits[0].numpy(), ask)
    assert found.ids[found.greedy] == expected.ids[expected.greedy]
    common, mine, theirs = np.intersect1d(found.ids, expected.ids, return_indices=True)
    assert len(common) >= 0.98 * len(expected.ids) - 1, "but for tokens at the edge of a filter"
    np.testing.assert_allclose(found.logprobs[mine], expected.logprobs[theirs], atol=1e-4)
    np.testing.assert_allclose(found.low[mine], expected.low[theirs], atol=1e-3)
    drawn, wanted = found.ids[found.find(numbers)], expected.ids[expected.find(numbers)]
    assert (found.find(numbers) >= 0).all() and (drawn == wanted).mean() >= 0.9
