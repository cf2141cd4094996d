"""Checks of single fields of a request. Each raises InvalidRequest or Unsupported with the path of the field."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from engine.solving.errors import InvalidRequest, Unsupported

_IDENTIFIER_WORD = re.compile(r"[A-Za-z0-9._:/@+-]+")


def refuse_unknown(message: Message, path: str) -> None:
    """Refuse fields that this server's protocol does not have: a newer client would believe them honoured."""
    refuse_unknown_here(message, path)
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if field.is_repeated:
            for index, item in enumerate(cast(Iterable[Message], value)):
                refuse_unknown(item, f"{path}.{field.name}[{index}]")
        else:
            refuse_unknown(cast(Message, value), f"{path}.{field.name}")


def refuse_unknown_here(message: Message, path: str) -> None:
    """The same without the messages within."""
    for unknown in UnknownFieldSet(message):
        raise Unsupported(path, f"has a field number {unknown.field_number} that this server does not know; update it")


def refuse_present(message: Message, fields: Mapping[str, str], path: str, *, reason: str = "UNSUPPORTED") -> None:
    """Refuse fields that this server lacks; `fields` maps the field's name to the advice."""
    present = {field.name for field, _ in message.ListFields()}
    for name, advice in fields.items():
        if name in present:
            raise Unsupported(f"{path}.{name}", advice, reason=reason)


def choice[Number: int, Word: StrEnum](
    value: Number, table: Mapping[Number, Word], names: EnumDescriptor, path: str
) -> Word:
    """The domain word of an enum value. Values without one are refused by name."""
    word = table.get(value)
    if word is not None:
        return word
    named = names.values_by_number
    name = named[value].name if value in named else str(value)
    served = ", ".join(named[known].name for known in table if known)
    raise Unsupported(path, f"{name} is not available on this server; there are: {served}")


def count(value: int, path: str, *, most: int | None = None, least: int = 1) -> int:
    """A whole number within its bounds."""
    if value < least:
        raise InvalidRequest(path, f"is {value}; the least is {least}")
    if most is not None and value > most:
        raise InvalidRequest(path, f"is {value}; this server allows {most} at most")
    return value


def number(value: float, path: str, *, least: float, most: float, open_below: bool = False) -> float:
    """A finite number within its bounds."""
    if math.isfinite(value) and (least < value if open_below else least <= value) and value <= most:
        return value
    below = "above" if open_below else "at least"
    raise InvalidRequest(path, f"is {value}; it must be {below} {least:g} and at most {most:g}")


def seconds(duration: Duration, path: str) -> float:
    """A positive, well-formed duration in seconds."""
    if not 0 <= duration.nanos < 1_000_000_000 or duration.seconds < 0 or duration.seconds > 315_576_000_000:
        raise InvalidRequest(path, "is not a positive, well-formed duration (seconds >= 0, nanos 0 to 999999999)")
    value = duration.seconds + duration.nanos / 1e9
    if value <= 0:
        raise InvalidRequest(path, "is zero; leave it out for the default")
    return value


def text(value: str, path: str, *, most_bytes: int, empty: bool = False) -> str:
    """A text within its length in bytes of UTF-8."""
    if not value and not empty:
        raise InvalidRequest(path, "is empty")
    # A character has 1 to 4 bytes, so most texts need no encoding to be measured.
    if len(value) * 4 > most_bytes and (size := len(value.encode())) > most_bytes:
        raise InvalidRequest(path, f"has {size} bytes; this server allows {most_bytes} at most")
    return value


def label(value: str, path: str, *, most: int = 200) -> str:
    """A short text of one line, or none."""
    if len(value) > most:
        raise InvalidRequest(path, f"has {len(value)} characters; at most {most} are allowed")
    if not value.isprintable():
        raise InvalidRequest(path, "has control characters or line breaks; use one printable line")
    return value


def word(value: str, path: str, *, most: int = 128) -> str:
    """A name for logs and headers."""
    if len(value) > most or not _IDENTIFIER_WORD.fullmatch(value):
        raise InvalidRequest(path, f"must be 1 to {most} of the characters A-Z a-z 0-9 . _ : / @ + -")
    return value


def identifier(value: str, path: str, *, dotted: bool = False) -> str:
    """A Python name."""
    parts = value.split(".") if dotted else [value]
    if len(value) > 200 or not all(part.isidentifier() for part in parts):
        raise InvalidRequest(path, f"{value[:60]!r} is not a Python name")
    return value


def json_value(value: str, path: str, kind: type[list[Any]] | type[dict[Any, Any]] | None = None) -> str:
    """A JSON text, of an array or an object if `kind` says so. NaN and Infinity are not JSON."""
    try:
        parsed: Any = json.loads(value, parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidRequest(path, "is nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(path, f"is not JSON: {error}") from None
    if kind is not None and not isinstance(parsed, kind):
        raise InvalidRequest(path, f"must be a JSON {'array' if kind is list else 'object'}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
