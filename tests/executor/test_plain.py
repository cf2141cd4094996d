"""The plain-data codec: what goes in comes out, and no bytes at all do harm."""

import collections
import enum
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.guest.plain import MAX_DEPTH, Opaque, PlainError, TooLargeError, check_hashes, decode, encode

HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
VALUES = st.recursive(
    HASHABLE | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(HASHABLE, inner, max_size=5)
        | st.sets(HASHABLE, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def same(left: object, right: object) -> bool:
    """Equal in value and in every type."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        assert isinstance(right, list | tuple)
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        assert isinstance(right, dict)
        return left == right and all(same(left[key], right[key]) for key in left)
    return left == right


@given(VALUES)
def test_what_goes_in_comes_out(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(st.floats())
def test_every_float_is_exact(value: float) -> None:
    back = decode(encode(value))
    assert isinstance(back, float)
    assert (
        math.isnan(back) if math.isnan(value) else (back == value and math.copysign(1, back) == math.copysign(1, value))
    )


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except PlainError:
        return
    assert encode(value)


@settings(max_examples=300)
@given(VALUES, st.data())
def test_damaged_bytes_decode_or_are_refused(value: object, data: st.DataObject) -> None:
    whole = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except PlainError:
        return


def test_lone_surrogates_travel() -> None:
    assert decode(encode("a\ud800b")) == "a\ud800b"


def test_huge_integers_travel_without_a_digit_limit() -> None:
    assert decode(encode(-(10**20_000))) == -(10**20_000)


class Sly(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __int__(self) -> int:
        return 99

    __hash__ = int.__hash__


class Colour(enum.IntEnum):
    RED = 3


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Sly(7), 7),
        (Colour.RED, 3),
        (Point(1, 2), (1, 2)),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict([(1, 2)]), {1: 2}),
        (collections.defaultdict(list, {1: [2]}), {1: [2]}),
        ({1: 2}.keys(), {1}),
        (bytearray(b"x"), b"x"),
    ],
)
def test_a_subclass_travels_as_its_plain_content(value: object, plain: object) -> None:
    back = decode(encode(value))
    assert type(back) is type(plain)
    assert back == plain


@pytest.mark.parametrize("value", [object(), len, iter([]), collections.deque([1]), int, Ellipsis])
def test_anything_else_is_opaque(value: object) -> None:
    back = decode(encode(value))
    assert isinstance(back, Opaque)
    assert back != value and back != [1]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(-3), -3),
        (np.uint8(200), 200),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), 0.10000000149011612),
        (np.bool_(True), True),
        (np.complex64(1 + 2j), 1 + 2j),
        (np.complex128(1 + 2j), 1 + 2j),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.array([2.5, 3.5])[1], 3.5),
        ([np.int64(1), (np.bool_(False),), {np.int64(2): np.float64(3)}], [1, (False,), {2: 3.0}]),
        ({np.int32(1), np.int32(2)}, {1, 2}),
    ],
)
def test_a_number_of_numpy_is_the_plain_number(value: object, plain: object) -> None:
    """repr tells True from 1 and 3 from 3.0, at any depth."""
    assert repr(decode(encode(value))) == repr(plain)


@pytest.mark.parametrize(
    "value",
    [
        np.array([3]),
        np.zeros((2, 2)),
        np.array(None),
        np.array({1: 2}),
        np.longdouble(1),
        np.datetime64("2020-01-01"),
        np.datetime64(5, "ns"),
        np.timedelta64(5, "s"),
        np.timedelta64(5, "ns"),
    ],
)
def test_what_else_numpy_has_is_opaque(value: object) -> None:
    assert isinstance(decode(encode(value)), Opaque)


def test_a_class_by_the_name_of_numpys_gives_a_plain_number_or_nothing() -> None:
    """The candidate's process is the candidate's: what matters is that only plain data leaves it."""

    class Always(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    def forged(given: object) -> object:
        def item(_self: object) -> object:
            if isinstance(given, Exception):
                raise given
            return given

        name = {"__module__": "numpy", "ndim": 0, "dtype": type("dtype", (), {"kind": "i"})}
        return type("generic", (), {**name, "item": item})()

    assert decode(encode(forged(7))) == 7, "it could have returned 7 itself"
    for held in (Always(7), object(), [7], "7", None, ValueError("no"), RecursionError()):
        assert isinstance(decode(encode(forged(held))), Opaque), held
    endless = forged(0)
    type(endless).item = lambda self: self  # type: ignore[attr-defined]
    assert isinstance(decode(encode(endless)), Opaque)


def test_a_class_that_lies_about_itself_is_opaque() -> None:
    class Liar:
        @property
        def __class__(self) -> type:  # type: ignore[override]
            return int

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    back = decode(encode(Liar()))
    assert isinstance(back, Opaque)
    assert (back == 5) is False


def test_handles_name_what_was_kept() -> None:
    kept: list[object] = []

    def keep(value: object) -> int:
        kept.append(value)
        return len(kept)

    back = decode(encode([len, 1], keep=keep))
    assert isinstance(back, list)
    assert back[0].handle == 1 and kept == [len]


def test_too_much_is_refused_early() -> None:
    with pytest.raises(TooLargeError):
        encode([[0] * 1000] * 1_000_000, 1 << 20)
    with pytest.raises(TooLargeError):
        encode(1 << (1 << 26), 1 << 20)


def test_recursion_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(PlainError, match=str(MAX_DEPTH)):
        encode(value)
    deep = b"L\x00\x00\x00\x01" * (MAX_DEPTH + 1) + b"N"
    with pytest.raises(PlainError, match=str(MAX_DEPTH)):
        decode(deep)


def test_announced_items_must_fit_the_data() -> None:
    with pytest.raises(PlainError, match="items are announced"):
        decode(b"L\xff\xff\xff\xff")


def test_keys_made_to_collide_are_refused() -> None:
    step = (1 << 61) - 1
    with pytest.raises(PlainError, match="one hash value"):
        decode(encode({index * step for index in range(100)}))
    with pytest.raises(PlainError, match="one hash value"):
        check_hashes(index * step for index in range(100))
    with pytest.raises(PlainError, match="unhashable"):
        decode(b"E\x00\x00\x00\x01L\x00\x00\x00\x00")
