"""What the head of a GGUF file says: metadata and where each tensor lies.

The `gguf` package reads the same head through one numpy view per string: 9 s for the 300,000 strings of a Qwen2
vocabulary, against 0.15 s here. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from engine.text.errors import ModelFileError

Value = bool | int | float | str | list["Value"]

_SCALARS = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_STRING = 8
_ARRAY = 9
_U32 = _SCALARS[4]
_U64 = _SCALARS[10]
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_MAX_ARRAY_DEPTH = 4

WHAT_TO_TAKE = (
    "take the GGUF file of a whole Qwen2, Qwen2.5-Coder, Qwen3 or Llama model, or a name of `thresher models list` "
    "(docs/models.md)"
)
"""What to do about a file that is no model of ours."""


class GgufError(ModelFileError):
    """The file is no GGUF file that can be used: damaged, cut short, or of another version."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies. `shape` is rows first; `kind` is the number of its GGML type; `offset` is in bytes from the
    start of the file."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Metadata by key and tensors by name."""

    path: Path
    metadata: dict[str, Value]
    tensors: dict[str, TensorInfo]

    def text(self, key: str, default: str | None = None) -> str:
        """The string under `key`; GgufError if it is absent without a default or is no string."""
        value = self.metadata.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """The integer under `key`; GgufError if it is absent without a default or is no integer."""
        value = self.metadata.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "an integer", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """The number under `key`; GgufError if it is absent without a default or is no number."""
        value = self.metadata.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(key, "a number", value)
        return float(value)

    def array(self, key: str) -> list[Value]:
        """The array under `key`; GgufError if it is absent or is no array."""
        value = self.metadata.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "an array", value)
        return value

    def require_tokenizer(self) -> None:
        """GgufError if the file holds none, as one that was converted from the weights alone."""
        if "tokenizer.ggml.model" not in self.metadata or "tokenizer.ggml.tokens" not in self.metadata:
            problem = (
                "holds no tokenizer, without which no text can be read or written: it was converted from the weights"
            )
            raise GgufError(self.path, f"{problem} alone; {WHAT_TO_TAKE}")

    def _wrong(self, key: str, wanted: str, value: Value | None) -> GgufError:
        found = "absent" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
        return GgufError(self.path, f"metadata {key} should be {wanted} but is {found}")


class _Cursor:
    """Reads values one after another; never beyond the end of the file."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self.path = path
        self.view = view
        self.position = 0

    def number(self, form: struct.Struct) -> int:
        try:
            (value,) = form.unpack_from(self.view, self.position)
        except struct.error:
            raise self.cut_short() from None
        self.position += form.size
        return value

    def string(self) -> str:
        length = self.number(_U64)
        start, self.position = self.position, self.position + length
        if self.position > len(self.view):
            raise self.cut_short()
        try:
            return self.view[start : self.position].decode()
        except UnicodeDecodeError:
            raise GgufError(self.path, f"the string at byte {start} is not UTF-8: the file is damaged") from None

    def strings(self, count: int) -> list[Value]:
        # The one hot loop of the file: two vocabularies of 150,000 strings.
        view, position, end = self.view, self.position, len(self.view)
        unpack, values = _U64.unpack_from, list[Value]()
        try:
            for _ in range(count):
                start = position + 8
                position = start + unpack(view, position)[0]
                if position > end:
                    raise self.cut_short()
                values.append(view[start:position].decode())
        except struct.error:
            raise self.cut_short() from None
        except UnicodeDecodeError:
            raise GgufError(self.path, f"a string before byte {position} is not UTF-8: the file is damaged") from None
        self.position = position
        return values

    def array(self, depth: int) -> list[Value]:
        kind, count = self.number(_U32), self.number(_U64)
        if count > len(self.view):  # every element takes a byte at least
            raise self.cut_short()
        if kind == _STRING:
            return self.strings(count)
        if kind in _SCALARS:
            form = struct.Struct(f"<{count}{_SCALARS[kind].format[1:]}")
            start, self.position = self.position, self.position + form.size
            if self.position > len(self.view):
                raise self.cut_short()
            return list(form.unpack_from(self.view, start))
        if depth >= _MAX_ARRAY_DEPTH:
            raise GgufError(self.path, f"arrays are nested more than {_MAX_ARRAY_DEPTH} deep: the file is damaged")
        return [self.value(kind, depth + 1) for _ in range(count)]

    def value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(depth)
        if kind not in _SCALARS:
            raise GgufError(self.path, f"unknown metadata type {kind} at byte {self.position}: the file is damaged")
        return self.number(_SCALARS[kind])

    def cut_short(self) -> GgufError:
        return GgufError(self.path, f"ends within its head, after {len(self.view)} bytes: the file is cut short")


def read_header(path: Path) -> GgufHeader:
    """Read the head of a GGUF file (version 2 or 3, little endian).

    Raises GgufError for anything else and for a file that is cut short; OSError if it cannot be opened.
    """
    if path.is_dir():
        raise GgufError(path, "is a folder; name a GGUF file")
    with path.open("rb") as file:
        if path.stat().st_size < 24 or file.read(4) != b"GGUF":
            raise GgufError(path, "is no GGUF file; name one, or a model of `thresher models list`")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            cursor = _Cursor(path, view)
            cursor.position = 4
            return _read(cursor)


def _read(cursor: _Cursor) -> GgufHeader:
    version = cursor.number(_U32)
    if version not in _VERSIONS:
        raise GgufError(cursor.path, f"GGUF version {version} is not supported (versions 2 and 3, little endian, are)")
    tensor_count, value_count = cursor.number(_U64), cursor.number(_U64)
    metadata: dict[str, Value] = {}
    for _ in range(value_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.number(_U32))
    relative: list[TensorInfo] = []
    for _ in range(tensor_count):
        name, dimensions = cursor.string(), cursor.number(_U32)
        if dimensions > _MAX_DIMENSIONS:
            raise GgufError(cursor.path, f"tensor {name} has {dimensions} dimensions: the file is damaged")
        shape = tuple(cursor.number(_U64) for _ in range(dimensions))[::-1]
        relative.append(TensorInfo(name, shape, cursor.number(_U32), cursor.number(_U64)))
    header = GgufHeader(cursor.path, metadata, {})
    alignment = header.integer("general.alignment", 32)
    if alignment < 1:
        raise GgufError(cursor.path, f"metadata general.alignment is {alignment}: the file is damaged")
    data_start = -(-cursor.position // alignment) * alignment
    for info in relative:
        header.tensors[info.name] = TensorInfo(info.name, info.shape, info.kind, data_start + info.offset)
    return header
