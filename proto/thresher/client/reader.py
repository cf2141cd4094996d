"""Reads one mapping of a problem file key by key; what nobody asked for is refused by name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from thresher.client.plain import enum_words

_MISSING: Any = object()
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


class ProblemError(ValueError):
    """A problem file says something that it cannot say. `field` is the path of the key, empty for the file itself."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}" if field else description)
        self.field = field
        self.description = description


class Reader:
    """A view of one mapping. Each method raises ProblemError with the full path of the key."""

    def __init__(self, mapping: object, path: str = "") -> None:
        if not isinstance(mapping, Mapping):
            raise ProblemError(path, f"expected a mapping, found {_found(mapping)}")
        self._left: dict[str, Any] = {str(key): value for key, value in mapping.items()}
        self._known: list[str] = []
        self._path = path

    def has(self, key: str) -> bool:
        """Whether the key is there and not taken yet."""
        self._known.append(key)
        return key in self._left

    def peek(self, key: str) -> object:
        """The value of a key, left where it is."""
        return self._left.get(key)

    def path(self, key: str) -> str:
        """The full path of a key."""
        return f"{self._path}.{key}" if self._path else key

    def take(self, key: str, kind: type, default: Any = _MISSING) -> Any:
        """Takes a value of the given type; `default` where the key is missing."""
        if not self.has(key):
            if default is _MISSING:
                raise ProblemError(self.path(key), "missing")
            return default
        value = self._left.pop(key)
        if kind is float and type(value) is int and abs(value) < 2**1023:
            return float(value)
        if not isinstance(value, kind) or (kind in {int, float} and isinstance(value, bool)):
            raise ProblemError(self.path(key), f"expected {_NAMES[kind]}, found {_found(value)}")
        return value

    def take_some(self, key: str, kind: type, default: Any) -> Any:
        """Takes a list or mapping that says nothing where it is empty, and so is refused."""
        value = self.take(key, kind, default)
        if value is not default and not value:
            raise ProblemError(self.path(key), "is empty and would mean nothing; leave it out")
        return value

    def take_any(self, key: str) -> Any:
        """Takes a value of any type."""
        self._known.append(key)
        return self._left.pop(key)

    def take_word(self, key: str, kind: Any) -> Any:
        """Takes the word of an enum value (`first_pass`), returns its number; 0 (unspecified) where it is missing."""
        word: str | None = self.take(key, str, None)
        if word is None:
            return 0
        words = enum_words(kind)
        if word not in words:
            raise ProblemError(self.path(key), f"{word!r} is none of {', '.join(words)}")
        return words[word]

    def section(self, key: str) -> "Reader | None":
        """A reader for the mapping under a key; None where the key is missing."""
        return Reader(self._left.pop(key), self.path(key)) if self.has(key) else None

    def fill(self, message: Message, fields: Mapping[str, type]) -> None:
        """Sets the fields of a message that have the same name here."""
        for key, kind in fields.items():
            value = self.take(key, kind, None)
            if value is not None:
                self._set(message, key, value, key)

    def fill_seconds(self, message: Message, fields: Mapping[str, str]) -> None:
        """Sets duration fields: key here -> field of the message."""
        for key, field in fields.items():
            seconds: float | None = self.take(key, float, None)
            if seconds is None:
                continue
            if not 0 <= seconds < 10**9:
                raise ProblemError(self.path(key), f"expected seconds from 0 on, found {seconds:g}")
            getattr(message, field).FromNanoseconds(round(seconds * 10**9))

    def skip(self, keys: Iterable[str]) -> None:
        """Leaves keys unread that this caller has no use for."""
        for key in keys:
            self._known.append(key)
            self._left.pop(key, None)

    def done(self) -> None:
        """Refuses what is left."""
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(set(self._known)))}"
            raise ProblemError(self.path(key), f"unknown key{hint}")

    def _set(self, message: Message, field: str, value: object, key: str) -> None:
        try:
            setattr(message, field, value)
        except ValueError as error:
            raise ProblemError(self.path(key), f"{value} is out of range ({error})") from error


def _found(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
