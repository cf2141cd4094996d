"""The JSON files of a Hugging Face model folder; what is wrong with one is said by file and key."""

import json
from pathlib import Path
from typing import Any, cast

from engine.text.errors import ModelFileError

Values = dict[str, Any]


class JsonFile:
    """An object in a JSON file, or a part of one."""

    __slots__ = ("_where", "path", "values")

    def __init__(self, path: Path, values: Values, where: str = "") -> None:
        self.path = path
        self.values = values
        self._where = where

    @classmethod
    def read(cls, path: Path) -> "JsonFile":
        """Read a file. ModelFileError if it is absent or no JSON object."""
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise ModelFileError(path, "is missing; fetch the model's folder anew") from None
        except ValueError as error:  # UnicodeDecodeError among them
            raise ModelFileError(path, f"is no JSON: {error}: the file is damaged") from error
        if not isinstance(values, dict):
            raise ModelFileError(path, "holds no JSON object: the file is damaged")
        return cls(path, cast("Values", values))

    @classmethod
    def read_if_there(cls, path: Path) -> "JsonFile":
        """Read a file; an absent one has no keys."""
        return cls.read(path) if path.exists() else cls(path, {})

    def part(self, key: str) -> "JsonFile":
        """The object under `key`; without keys if there is none."""
        value = self.values.get(key)
        if value is None:
            return JsonFile(self.path, {}, f"{self._where}{key}.")
        if not isinstance(value, dict):
            raise self.wrong(key, "an object", value)
        return JsonFile(self.path, cast("Values", value), f"{self._where}{key}.")

    def inner(self, value: object) -> "JsonFile":
        """An object of this file that stands in an array; ModelFileError if it is none."""
        if not isinstance(value, dict):
            raise ModelFileError(self.path, f"{str(value)[:40]!r} should be an object: the file is damaged")
        return JsonFile(self.path, cast("Values", value), self._where)

    def text(self, key: str, default: str | None = None) -> str:
        """The string under `key`; ModelFileError if it is absent without a default or is no string."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a string", value)
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """The integer under `key`; errors as for `text`."""
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "an integer", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """The number under `key`; errors as for `text`."""
        value = self._value(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number", value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """The truth value under `key`; errors as for `text`."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def wrong(self, key: str, wanted: str, value: object) -> ModelFileError:
        """The error that `key` holds `value` and not what is wanted."""
        found = "absent" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
        return ModelFileError(self.path, f"{self._where}{key} should be {wanted} but is {found}")

    def _value(self, key: str, default: object) -> object:
        value = self.values.get(key)
        return default if value is None else value
