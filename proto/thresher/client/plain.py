"""Messages as plain data, for JSON output and for scripts."""

from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message


def to_plain(message: Message) -> dict[str, Any]:
    """Turns a message into dicts, lists, numbers and strings that `json.dumps` takes.

    Not the JSON mapping of protobuf, which writes 64-bit numbers and durations as strings: here numbers are numbers,
    durations are seconds, enum values are lower-case words without their type's name, and bytes are decoded as UTF-8
    with replacement characters. A field with presence that is not set is left out; any other field is always there.
    """
    result: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            result[field.name] = [_value(field.enum_type, item) for item in getattr(message, field.name)]
        elif not field.has_presence or message.HasField(field.name):
            result[field.name] = _value(field.enum_type, getattr(message, field.name))
    return result


def enum_word(kind: EnumDescriptor, number: int) -> str:
    """`first_pass` for RETURN_POLICY_FIRST_PASS; the number itself for a value that this client does not know."""
    value = kind.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(_prefix(kind)).lower()


def enum_words(kind: EnumDescriptor) -> dict[str, int]:
    """The words of an enum and their numbers, without the unspecified one."""
    return {enum_word(kind, value.number): value.number for value in kind.values if value.number != 0}


def _prefix(kind: EnumDescriptor) -> str:
    """RETURN_POLICY_ for ReturnPolicy."""
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in kind.name).strip("_").upper() + "_"


def _value(enum: Any, value: Any) -> Any:
    if isinstance(value, Duration):
        return value.ToTimedelta().total_seconds()
    if isinstance(value, Message):
        return to_plain(value)
    if enum is not None:
        return enum_word(enum, value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value
