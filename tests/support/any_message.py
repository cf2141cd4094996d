"""Messages by the protocol's own descriptors: any at all, good ones with a few fields changed, and spoilt bytes."""

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

Kind = FieldDescriptor
_SIGNED = {Kind.TYPE_INT32: 32, Kind.TYPE_INT64: 64, Kind.TYPE_SINT32: 32, Kind.TYPE_SINT64: 64}
_UNSIGNED = {Kind.TYPE_UINT32: 32, Kind.TYPE_UINT64: 64, Kind.TYPE_FIXED32: 32, Kind.TYPE_FIXED64: 64}
_FLOATS = (Kind.TYPE_DOUBLE, Kind.TYPE_FLOAT)
_WORDS = ("f", "x = 1", "assert f() == 1", "[1, 2]", "{}", "user", "models/scripted", "", "\0", "é", "x" * 3000)
_DEEPEST = 4


def extremes(field: FieldDescriptor) -> list[Any]:
    """The edges of a number's kind; of an enum also values that it does not have. Empty for other kinds."""
    if field.type in _SIGNED:
        half = 1 << (_SIGNED[field.type] - 1)
        return [0, 1, -1, half - 1, -half]
    if field.type in _UNSIGNED:
        return [0, 1, (1 << _UNSIGNED[field.type]) - 1, 1 << (_UNSIGNED[field.type] - 1)]
    if field.type in _FLOATS:
        return [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 5e-324, 1.7e308, -1.7e308, 1e-9]
    if field.type == Kind.TYPE_ENUM:
        assert field.enum_type is not None
        return [*field.enum_type.values_by_number, 999, -1, (1 << 31) - 1, -(1 << 31)]
    return []


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Any value of a field that holds no message."""
    edges = extremes(field)
    if field.type in _SIGNED:
        half = 1 << (_SIGNED[field.type] - 1)
        return st.sampled_from(edges) | st.integers(-half, half - 1) | st.integers(0, 40)
    if field.type in _UNSIGNED:
        return st.sampled_from(edges) | st.integers(0, (1 << _UNSIGNED[field.type]) - 1) | st.integers(0, 40)
    if field.type in _FLOATS:
        return st.sampled_from(edges) | st.floats() | st.floats(0, 2)
    if field.type == Kind.TYPE_ENUM:
        return st.sampled_from(edges)
    if field.type == Kind.TYPE_BOOL:
        return st.booleans()
    if field.type == Kind.TYPE_BYTES:
        return st.binary(max_size=40)
    return st.sampled_from(_WORDS) | st.text(max_size=40)


@st.composite
def messages(draw: st.DrawFn, kind: Descriptor, depth: int = 0) -> Message:
    """Any message of a kind, a few levels deep."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        if draw(st.integers(0, 3)) == 0 or (field.message_type is not None and depth >= _DEEPEST):
            continue
        fill(draw, message, field, depth)
    return message


def fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    """Give one field any value, or several."""
    many = field.is_repeated
    if field.message_type is not None:
        for _ in range(draw(st.integers(0, 3)) if many else 1):
            value = draw(messages(field.message_type, depth + 1))
            (getattr(message, field.name).add() if many else getattr(message, field.name)).CopyFrom(value)
    elif many:
        getattr(message, field.name).extend(draw(st.lists(scalar(field), max_size=4)))
    else:
        setattr(message, field.name, draw(scalar(field)))


@st.composite
def changed(draw: st.DrawFn, good: Message) -> Message:
    """A good message in which up to three fields, anywhere, have any value, or none."""
    message = type(good)()
    message.CopyFrom(good)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(message))
        if not found:
            break
        within, field = draw(st.sampled_from(found))
        within.ClearField(field.name)
        if draw(st.booleans()):
            fill(draw, within, field, _DEEPEST - 1)
    return message


def places(message: Message) -> Iterator[tuple[Message, FieldDescriptor]]:
    """Every field of a message and of those that it holds, set or not."""
    for field in message.DESCRIPTOR.fields:
        yield message, field
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in value if field.is_repeated else [value]:
            yield from places(item)


def at_extremes(good: Message) -> Iterator[tuple[str, Message]]:
    """A good message with one number at an edge of its kind, for each of them; and the number's name."""
    for place, (_, field) in enumerate(places(good)):
        for value in extremes(field):
            message, within = _copied(good, place)
            if field.is_repeated:
                within.ClearField(field.name)
                getattr(within, field.name).append(value)
            else:
                setattr(within, field.name, value)
            yield f"{field.full_name} = {value}", message


def not_utf8(good: Message) -> Iterator[tuple[str, bytes]]:
    """The bytes of a good message with one text that is none, for each of them; and the text's name."""
    mark = "spoilt-text"
    for place, (_, field) in enumerate(places(good)):
        if field.type != Kind.TYPE_STRING:
            continue
        message, within = _copied(good, place)
        if field.is_repeated:
            getattr(within, field.name).append(mark)
        else:
            setattr(within, field.name, mark)
        yield field.full_name, message.SerializeToString().replace(mark.encode(), b"spoilt-\xff\xfe\xfd\xfc")


def numbers_of(kind: Descriptor) -> set[str]:
    """The names of all numbers that a message of this kind may hold, at any depth."""
    found: set[str] = set()
    seen: set[str] = set()
    left = [kind]
    while left:
        one = left.pop()
        if one.full_name in seen:
            continue
        seen.add(one.full_name)
        found |= {field.full_name for field in one.fields if extremes(field)}
        left += [field.message_type for field in one.fields if field.message_type is not None]
    return found


def _copied(good: Message, place: int) -> tuple[Message, Message]:
    """A copy, and what within it has the field of that place."""
    message = type(good)()
    message.CopyFrom(good)
    return message, list(places(message))[place][0]


@st.composite
def damaged(draw: st.DrawFn, good: Message) -> bytes:
    """The bytes of a good message: cut off, overwritten here and there, with others put in; or any bytes."""
    data = bytearray(good.SerializeToString())
    if not data:
        return draw(st.binary(max_size=300))
    match draw(st.sampled_from(("cut", "overwrite", "insert", "twice", "any"))):
        case "cut":
            return bytes(data[: draw(st.integers(0, len(data)))])
        case "overwrite":
            for _ in range(draw(st.integers(1, 8))):
                data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
            return bytes(data)
        case "insert":
            place = draw(st.integers(0, len(data)))
            return bytes(data[:place] + draw(st.binary(max_size=20)) + data[place:])
        case "twice":
            return bytes(data + data)
        case _:
            return draw(st.binary(max_size=300))
