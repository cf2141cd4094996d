import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.randomness import philox4x32, uniforms

KNOWN = [  # counter, key, result: the published known answers of Random123 for philox4x32-10
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def test_philox_gives_the_known_answers() -> None:
    for counter, key, answer in KNOWN:
        words = philox4x32(
            tuple(np.array([c], np.uint64) for c in counter),  # type: ignore[arg-type]
            tuple(np.array([k], np.uint64) for k in key),  # type: ignore[arg-type]
        )
        assert [int(w[0]) for w in words] == answer


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_number_depends_on_nothing_but_its_coordinates(seed: int, sample: int, position: int) -> None:
    alone = float(uniforms(seed, sample, position))
    among = uniforms([1, seed, 7], [5, sample, 9], [0, position, 3])
    assert float(among[1]) == alone
    assert 0.0 <= alone < 1.0


def test_numbers_are_uniform_and_uncorrelated() -> None:
    numbers = uniforms(42, np.arange(400)[:, None], np.arange(250)[None, :])
    counts = np.histogram(numbers, bins=64, range=(0, 1))[0]
    expected = numbers.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 130  # chi-square, 63 degrees of freedom: p about 1e-6
    neighbours = np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02
