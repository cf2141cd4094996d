"""What the device draws: the plain definition by sorting, whatever the filters, ties, masks, widths and neighbours."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.randomness import uniforms
from kernels.gpu.draw import LISTED
from kernels.gpu.sampling import Answers, Asks, Sampler, Tokens
from kernels.reference_sampling import distribution, draws

ATOL = 2e-6
"""What float32 exponentials may move an interval's end by."""


def asks(
    rows: Sequence[int],
    filters: Sequence[tuple[float, int, float, float]],
    numbers: Sequence[np.ndarray],
    allowed: Sequence[np.ndarray | None] | None = None,
) -> Asks:
    """One ask for each of `rows`; filters are (temperature, top_k, top_p, min_p)."""
    table = np.array(filters, np.float64).reshape(-1, 4)
    masks = [mask for mask in allowed or [] if mask is not None]
    which = np.cumsum([mask is not None for mask in allowed or [None] * len(rows)]) - 1
    mask_of = np.where([mask is not None for mask in allowed or [None] * len(rows)], which, -1).astype(np.int32)
    words = [np.packbits(mask, bitorder="little") for mask in masks]
    packed = [np.pad(word, (0, -len(word) % 4)).view(np.uint32) for word in words]
    return Asks(
        rows=np.array(rows, np.int32),
        temperature=table[:, 0],
        top_k=table[:, 1].astype(np.int32),
        top_p=table[:, 2],
        min_p=table[:, 3],
        counts=np.array([len(part) for part in numbers], np.int32),
        numbers=np.concatenate([*numbers, np.empty(0)]),
        masks=np.stack(packed) if packed else np.empty((0, 0), np.uint32),
        mask_of=mask_of,
    )


def answers(logits: Tensor, asked: Asks, sampler: Sampler | None = None) -> Answers:
    """All buffers poisoned before."""
    room = Sampler(logits.shape[1], len(asked.rows) + 1, int(asked.counts.sum()) + 1, logits.device, len(asked.masks))
    sampler = sampler or room
    sampler._answer_bytes.fill_(0xFF)
    for buffer in (sampler._peaks, sampler._values):
        buffer.fill_(float("nan"))
    for buffer in (sampler._peak_ids, sampler._masses, sampler._plain_masses, sampler._starts, sampler._lows):
        buffer.fill_(0x7F7F7F7F)
    sampler.load(asked)
    sampler.run(logits)
    return sampler.fetch().answers()


def check(
    found: Tokens, greedy: int, drawn: Tokens, logits: np.ndarray, filters: tuple[float, int, float, float],
    numbers: np.ndarray, allowed: np.ndarray | None = None,
) -> None:  # fmt: skip
    """An ask's answer against the definition."""
    p, logprobs = distribution(logits, *filters, allowed=allowed)
    high = np.cumsum(p)
    low = high - p
    # The list: ascending, the greedy token among them, the most probable ones, intervals and log-probabilities right.
    assert (np.diff(found.ids) > 0).all()
    masked = np.where(allowed, logits, -np.inf) if allowed is not None else logits
    assert found.ids[greedy] == masked.argmax()
    np.testing.assert_allclose(found.high - found.low, p[found.ids], atol=ATOL)
    np.testing.assert_allclose(found.low, low[found.ids], atol=ATOL)
    np.testing.assert_allclose(found.logprobs, logprobs[found.ids], rtol=1e-6, atol=2e-6)
    worth = np.flatnonzero(p >= 1.001 / 4096)
    if len(worth) <= LISTED:
        assert set(worth.tolist()) <= set(found.ids.tolist())
    else:
        assert len(found.ids) == LISTED
        assert p[found.ids].min() >= np.sort(p)[-LISTED] - ATOL
    assert (p[found.ids] > 0).all()
    if np.count_nonzero(p) <= LISTED and p[p > 0].min() > 1.001 / 4096:
        assert found.low[0] == 0.0 and found.high[-1] == 1.0 and (found.low[1:] == found.high[:-1]).all()
    # The draws: each number lies in its token's interval, which is the definition's.
    assert (drawn.low <= numbers).all() and (numbers < drawn.high).all()
    np.testing.assert_allclose(drawn.low, low[drawn.ids], atol=ATOL)
    np.testing.assert_allclose(drawn.high, high[drawn.ids], atol=ATOL)
    np.testing.assert_allclose(drawn.logprobs, logprobs[drawn.ids], rtol=1e-6, atol=2e-6)
    expected = draws(p, numbers)
    near_an_edge = np.abs(high[None, :] - numbers[:, None]).min(axis=1) < ATOL
    assert ((drawn.ids == expected) | near_an_edge).all()
    # A token both listed and drawn has one interval.
    both, at, of = np.intersect1d(found.ids, drawn.ids, return_indices=True)
    assert (found.low[at] == drawn.low[of]).all() and (found.high[at] == drawn.high[of]).all(), both


def check_all(
    result: Answers, logits: np.ndarray, rows: Sequence[int], filters: Sequence[tuple[float, int, float, float]],
    numbers: Sequence[np.ndarray], allowed: Sequence[np.ndarray | None] | None = None,
) -> None:  # fmt: skip
    at = 0
    for ask, row in enumerate(rows):
        part = slice(at, at + len(numbers[ask]))
        drawn = Tokens(*(getattr(result.drawn, name)[part] for name in ("ids", "low", "high", "logprobs")))
        mask = allowed[ask] if allowed else None
        greedy = int(result.greedy[ask])
        check(result.listed[ask], greedy, drawn, logits[row], filters[ask], numbers[ask], mask)
        at = part.stop


FILTERS = st.tuples(
    st.sampled_from([0.0, 0.2, 0.8, 1.0, 2.0, 30.0]),
    st.sampled_from([0, 1, 5, 100, 4000]),
    st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    st.sampled_from([0.0, 0.05, 1.0, 1e-9]),
)


@pytest.mark.parametrize(
    "filters",
    [
        (0.0, 0, 1.0, 0.0),
        (0.9, 0, 1.0, 0.0),
        (1.0, 12, 1.0, 0.0),
        (1.2, 0, 0.97, 0.0),
        (1.0, 0, 1.0, 0.004),
        (1.3, 25, 0.93, 0.03),
    ],
)
def test_each_filter_equals_sorting(filters: tuple[float, int, float, float], device: str) -> None:
    """Thirty tokens whose probabilities fall from a quarter to 1 / 3,000, among a thousand of hardly any."""
    random = np.random.default_rng(4)
    values = np.full(1100, -12.0) + random.standard_normal(1100)
    values[random.choice(1100, 30, replace=False)] = np.linspace(0, -6.8, 30)
    logits = torch.from_numpy(values[None]).float()
    numbers = [random.random(9)]
    result = answers(logits.to(device), asks([0], [filters], numbers))
    check_all(result, logits.double().numpy(), [0], [filters], numbers)
    assert len(result.listed[0].ids) == min(30, np.count_nonzero(distribution(values, *filters)[0] > 1 / 4096))


@pytest.mark.parametrize("filters", [(1.0, 2000, 1.0, 0.0), (1.0, 0, 0.999, 0.0), (1.0, 0, 1.0, 3e-6)])
def test_filters_that_end_far_below_the_best(filters: tuple[float, int, float, float], device: str) -> None:
    """Few tokens lie within exp(-12) of the best, and what a filter leaves ends among the others."""
    random = np.random.default_rng(6)
    values = random.standard_normal(3000) * 0.3 - 12.7
    values[random.choice(3000, 5, replace=False)] = [0.0, -0.5, -1.0, -2.0, -2.5]
    logits = torch.from_numpy(values[None]).float()
    numbers = [np.append(random.random(3), [0.9985, 0.9995])]
    result = answers(logits.to(device), asks([0], [filters], numbers))
    check_all(result, logits.double().numpy(), [0], [filters], numbers)
    assert 5 < np.count_nonzero(distribution(values, *filters)[0]) < 2990
    assert (result.drawn.logprobs < -12).any()


@pytest.mark.parametrize("spread", [0.1, 6.0])
def test_a_nucleus_of_all_but_nothing(spread: float, device: str) -> None:
    """The largest top-p below 1 asks for no more mass than there is, however that is rounded."""
    random = np.random.default_rng(8)
    logits = torch.from_numpy(random.random((8, 1500)) * -spread).float()
    filters = [(1.0, 0, float(np.nextafter(1, 0)), 0.0)] * 8
    numbers = [np.array([0.5, 1 - 1e-9])] * 8
    result = answers(logits.to(device), asks(range(8), filters, numbers))
    check_all(result, logits.double().numpy(), range(8), [(1.0, 0, 1.0, 0.0)] * 8, numbers)


def test_the_two_zeros_are_one_logit(device: str) -> None:
    logits = torch.full((1, 40), -5.0, device=device)
    logits[0, [3, 20, 30]] = torch.tensor([-0.0, 0.0, -0.0], device=device)
    result = answers(logits, asks([0, 0], [(1.0, 2, 1.0, 0.0), (0.0, 0, 1.0, 0.0)], [np.array([0.6]), np.zeros(1)]))
    assert result.listed[0].ids.tolist() == [3, 20]
    assert result.drawn.ids.tolist() == [20, 3]


@pytest.mark.slow
@settings(max_examples=25)
@given(
    filters=st.lists(FILTERS, min_size=1, max_size=3),
    vocab=st.sampled_from([1, 7, 1024, 1025, 3000]),
    spread=st.sampled_from([0.1, 2.0, 6.0]),
    dtype=st.sampled_from([torch.float16, torch.float32]),
    masked=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_equals_sorting(
    filters: list[tuple[float, int, float, float]], vocab: int, spread: float, dtype: torch.dtype, masked: bool,
    seed: int, device: str,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    # float16 logits of a small spread have ties in plenty.
    logits = torch.from_numpy(random.standard_normal((2, vocab)) * spread).to(dtype)
    rows = random.integers(0, 2, len(filters)).tolist()
    numbers = [random.random(int(random.integers(0, 5))) for _ in filters]
    allowed = [random.random(vocab) < random.choice([0.01, 0.5]) if masked else None for _ in filters]
    for mask in allowed:
        if mask is not None:
            mask[random.integers(0, vocab)] = True
    values = logits.double().numpy()
    # A nucleus whose edge falls between two tokens, as exactly as float32 can tell, may have one of them more.
    assume(all(_clear_edge(values[row], one, mask) for row, one, mask in zip(rows, filters, allowed, strict=True)))
    result = answers(logits.to(device), asks(rows, filters, numbers, allowed))
    check_all(result, values, rows, filters, numbers, allowed)


def _clear_edge(logits: np.ndarray, filters: tuple[float, int, float, float], allowed: np.ndarray | None) -> bool:
    temperature, top_k, top_p, min_p = filters
    if temperature == 0:
        return True
    p, _ = distribution(logits, temperature, top_k, allowed=allowed)
    clear = True
    if top_p < 1:
        clear = bool(np.abs(np.cumsum(np.sort(p)[::-1]) - top_p).min() > 1e-6)
    if 0 < min_p < 1:
        clear = clear and bool(np.abs(p / p.max() - min_p).min() > 1e-6 * min_p)
    return clear


@pytest.mark.parametrize(
    "filters",
    [(1.0, 0, 1.0, 0.0), (0.7, 0, 0.9, 0.0), (0.7, 0, 0.50003, 0.0), (1.0, 700, 1.0, 0.0), (2.0, 0, 1.0, 0.5)],
)
def test_equal_logits_are_kept_and_drawn_by_id(filters: tuple[float, int, float, float], device: str) -> None:
    logits = torch.full((1, 5000), -3.25, device=device)
    numbers = np.array([0.0, 0.5, 1 - 2.0**-53])
    result = answers(logits, asks([0], [filters], [numbers]))
    p, _ = distribution(logits[0].cpu().numpy(), *filters)
    left = np.count_nonzero(p)
    # Of 0.9 * 5000 equal shares it is a matter of rounding whether one more is needed.
    assert result.drawn.ids.tolist() == [0, left // 2, left - 1]
    assert result.drawn.high[-1] == 1.0 and result.drawn.low[0] == 0.0
    assert result.listed[0].ids[result.greedy[0]] == 0
    if left < 4096:
        assert result.listed[0].ids.tolist() == list(range(LISTED))
    # Nor does the greedy token need a number that leads to its tile.
    elsewhere = answers(logits, asks([0], [filters], [np.array([0.9])]))
    assert elsewhere.listed[0].ids[elsewhere.greedy[0]] == 0


@pytest.mark.parametrize("top_p", [1.0, 0.999])
def test_numbers_at_the_ends_draw_tokens(top_p: float, device: str) -> None:
    """The largest number draws the last token of positive probability, in spite of a long tail of tiny ones."""
    logits = torch.full((1, 4000), -20.0, device=device)
    logits[0, [5, 2000]] = torch.tensor([0.0, -1.0], device=device)
    logits[0, 3000:] = -float("inf")
    numbers = np.array([0.0, np.nextafter(1, 0)])
    result = answers(logits, asks([0], [(1.0, 0, top_p, 0.0)], [numbers]))
    assert result.drawn.ids.tolist() == ([0, 2999] if top_p == 1 else [5, 2000])
    assert result.drawn.high[1] == 1.0
    # The tail's mass: 2998 tokens of exp(-20), far below what float32 sums beside 1 would keep.
    if top_p == 1:
        share = np.exp(-20) / (1 + np.exp(-1) + 2998 * np.exp(-20))
        np.testing.assert_allclose(result.drawn.low[1], 1 - share, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_huge_logits_stay_finite(scale: float, device: str) -> None:
    values = np.array([[-scale, scale, scale * (1 - 1e-3), scale, 0.0]], np.float32)
    numbers = np.array([0.2, 0.7])
    for filters in [(1.0, 0, 1.0, 0.0), (1e-3, 0, 0.9, 0.0), (1.0, 4, 1.0, 0.1), (0.0, 0, 1.0, 0.0)]:
        result = answers(torch.from_numpy(values).to(device), asks([0], [filters], [numbers]))
        check_all(result, values.astype(np.float64), [0], [filters], [numbers])


def test_a_temperature_next_to_nothing_and_a_row_of_nothing(device: str) -> None:
    logits = torch.full((2, 40), -float("inf"), device=device)
    logits[0, [4, 9]] = torch.tensor([1.0, 1.0 + 1e-6], device=device)
    asked = asks([0, 1], [(1e-42, 0, 1.0, 0.0), (1.0, 0, 1.0, 0.0)], [np.array([0.0, 0.91])] * 2)
    result = answers(logits, asked)
    # If nothing is possible all is equally so: a model that fails is not this kernel's to find out.
    assert result.drawn.ids.tolist() == [9, 9, 0, 36]


@pytest.mark.parametrize("min_p", [0.05, 0.1, 0.3, 0.7, 0.9])
def test_min_p_keeps_what_is_not_below_it(min_p: float, device: str) -> None:
    """Logits next to the bound, of which none is it, since it is no float32."""
    nearest = np.float32(np.log(min_p))
    values = np.array([0.0, np.nextafter(nearest, -9), nearest, np.nextafter(nearest, 9)], np.float32)
    result = answers(torch.from_numpy(values[None]).to(device), asks([0], [(1.0, 0, 1.0, min_p)], [np.zeros(1)]))
    assert result.listed[0].ids.tolist() == np.flatnonzero(values.astype(np.float64) >= np.log(min_p)).tolist()


def test_a_row_of_minus_infinities_but_one(device: str) -> None:
    logits = torch.full((1, 3000), -float("inf"), device=device)
    logits[0, 2100] = -7.0
    for filters in [(1.0, 0, 1.0, 0.0), (0.8, 50, 0.95, 0.1)]:
        result = answers(logits, asks([0], [filters], [np.array([0.0, 0.999])]))
        assert result.drawn.ids.tolist() == [2100, 2100] and result.listed[0].ids.tolist() == [2100]
        assert result.drawn.logprobs.tolist() == [0.0, 0.0]


FLAT = [
    (4.0, 0, 0.5, 0.0),
    (2.0, 0, 1.0, 1e-7),
    (3.0, 50, 0.9, 0.0),
    (2.0, 9000, 0.99, 1e-3),
    (1.0, 0, 0.9999999, 0.0),
]


@pytest.mark.slow
@pytest.mark.parametrize("filters", FLAT)
def test_rows_too_flat_for_the_list_equal_sorting(filters: tuple[float, int, float, float], device: str) -> None:
    """More than 8,192 tokens within reach, or filters that ask for tokens beyond it."""
    random = np.random.default_rng(7)
    logits = torch.from_numpy((random.standard_normal((1, 12_345)) * 200).round() / 100).half()
    numbers = [random.random(6)]
    result = answers(logits.to(device), asks([0], [filters], numbers))
    check_all(result, logits.double().numpy(), [0], [filters], numbers)


@pytest.mark.slow
@settings(max_examples=6)
@given(seed=st.integers(0, 10_000))
def test_answers_do_not_depend_on_what_else_is_asked(seed: int, device: str) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.standard_normal((3, 2500)).astype(np.float32) * 4).to(device)
    filters = [(0.8, 0, 1.0, 0.0), (0.8, 0, 0.95, 0.0), (1.0, 40, 1.0, 0.02)]
    numbers = [random.random(int(random.integers(1, 4))) for _ in filters]
    together = answers(logits, asks([2, 0, 1], filters, numbers))
    at = 0
    for ask, row in enumerate([2, 0, 1]):
        other = int(random.integers(0, 3))
        alone = answers(logits[row : row + 1], asks([0], filters[ask : ask + 1], numbers[ask : ask + 1]))
        beside = answers(logits, asks([other, row], [filters[other], filters[ask]], [random.random(2), numbers[ask]]))
        for name in ("ids", "low", "high", "logprobs"):
            drawn = getattr(together.drawn, name)[at : at + len(numbers[ask])]
            np.testing.assert_array_equal(drawn, getattr(alone.drawn, name))
            np.testing.assert_array_equal(drawn, getattr(beside.drawn, name)[2:])
            np.testing.assert_array_equal(getattr(together.listed[ask], name), getattr(alone.listed[0], name))
        at += len(numbers[ask])


def test_numbers_are_those_of_the_host_bit_by_bit(device: str) -> None:
    random = np.random.default_rng(3)
    seeds = random.integers(0, 2**64, 40, np.uint64)
    samples, positions = random.integers(0, 2**32, (2, 40)).astype(np.uint32)
    seeds[:3], samples[:3], positions[:3] = [0, 2**64 - 1, 2**63], [0, 2**32 - 1, 1], [0, 2**32 - 1, 7]
    asked = asks([0, 0], [(1.0, 0, 1.0, 0.0)] * 2, [np.empty(15), np.empty(25)])
    sampler = Sampler(300, 2, 40, device)
    logits = torch.randn(1, 300, device=device)
    keyed = answers(logits, replace(asked, numbers=None, seeds=seeds, samples=samples, positions=positions), sampler)
    numbers = uniforms(seeds, samples, positions)
    np.testing.assert_array_equal(sampler._asked["numbers"].cpu().numpy(), numbers)
    sent = answers(logits, replace(asked, numbers=numbers))
    np.testing.assert_array_equal(keyed.drawn.ids, sent.drawn.ids)


def test_the_host_finds_the_same_tokens(device: str) -> None:
    """The list and the draws together make a node's distribution, in which every number announced has its token."""
    random = np.random.default_rng(5)
    logits = torch.from_numpy(random.standard_normal((1, 3000)).astype(np.float32) * 2).to(device)
    numbers = uniforms(9, np.arange(60), 4)
    result = answers(logits, asks([0], [(1.0, 0, 1.0, 0.0)], [numbers]))
    ids, first = np.unique(np.concatenate([result.listed[0].ids, result.drawn.ids]), return_index=True)
    low, high, logprobs = (
        np.concatenate([getattr(result.listed[0], name), getattr(result.drawn, name)])[first]
        for name in ("low", "high", "logprobs")
    )
    greedy = int(np.searchsorted(ids, result.listed[0].ids[result.greedy[0]]))
    node = Distribution(ids, low, high, logprobs, greedy)
    assert node.ids[node.find(numbers)].tolist() == result.drawn.ids.tolist()
    assert 0 < node.missing < 1


@pytest.mark.slow
@pytest.mark.parametrize("filters", [(1.0, 0, 1.0, 0.0), (0.8, 0, 0.95, 0.0), (0.5, 20, 1.0, 0.0)])
def test_drawn_tokens_follow_the_distribution(filters: tuple[float, int, float, float], device: str) -> None:
    random = np.random.default_rng(1)
    logits = random.standard_normal((1, 60)).astype(np.float32) * 2
    n = 4000
    numbers = uniforms(7, np.arange(n), 3)
    result = answers(torch.from_numpy(logits).to(device), asks([0], [filters], [numbers]))
    p, _ = distribution(logits[0], *filters)
    counts = np.bincount(result.drawn.ids, minlength=60)
    assert (counts[p == 0] == 0).all()
    likely = p * n >= 5
    observed, wanted = counts[likely], p[likely] * n
    statistic, freedom = float(((observed - wanted) ** 2 / wanted).sum()), int(likely.sum()) - 1
    assert statistic < freedom + 6 * (2 * freedom) ** 0.5


def test_room_for_more_asks_than_are_loaded(device: str) -> None:
    """As in a graph: programs beyond the asks do nothing."""
    logits = torch.randn(2, 1500, device=device)
    asked = asks([1], [(0.8, 0, 0.9, 0.0)], [np.array([0.3])])
    sampler = Sampler(1500, 4, 8, device)
    alone = answers(logits, asked, sampler)
    sampler._answer_bytes.fill_(0x55)
    sampler.load(asked)
    sampler.run(logits, room=4)
    again = sampler.fetch().answers()
    np.testing.assert_array_equal(alone.drawn.ids, again.drawn.ids)
    np.testing.assert_array_equal(alone.listed[0].low, again.listed[0].low)
    assert (sampler._answer["heads"][1:] == 0x55555555).all()


def test_what_cannot_be_answered_is_refused(device: str) -> None:
    sampler = Sampler(100, 2, 3, device)
    good = asks([0, 0], [(1.0, 0, 1.0, 0.0)] * 2, [np.zeros(1), np.zeros(2)])
    sampler.load(good)
    bad = {
        "room for 2": asks([0] * 3, [(1.0, 0, 1.0, 0.0)] * 3, [np.zeros(1)] * 3),
        "room for 3": asks([0], [(1.0, 0, 1.0, 0.0)], [np.zeros(4)]),
        "room for 0": replace(good, masks=np.zeros((1, 4), np.uint32)),
        "give 3": replace(good, numbers=np.zeros(2)),
        "or as many": replace(good, numbers=None, seeds=np.zeros(3, np.uint64)),
        "top_p be above": replace(good, top_p=np.zeros(2)),
        "mask_of": replace(good, mask_of=np.array([0, -1], np.int32)),
    }
    for message, asked in bad.items():
        with pytest.raises(ValueError, match=message):
            sampler.load(asked)
    with pytest.raises(ValueError, match="rows of 100"):
        sampler.run(torch.zeros(1, 99, device=device))
    with pytest.raises(ValueError, match="vocab is 524288"):
        Sampler(2**19, 1, 1, device)
