"""The plain-data codec: the only way in which values cross the wall of a jail.

Both sides use it, so it needs nothing but the language. A value is a tag byte and its content; lengths and counts are
four big-endian bytes. Decoding builds exact builtin types only and never runs code: a decoded value is a claim about
what the other side held, and its own classes cannot follow it through the wall.

    N None   T True   F False   I int   D float   C complex   S str   B bytes
    L list   U tuple  E set     Z frozenset       M dict      O opaque (not plain data: type name, truth, handle)
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_DEPTH = 200
MAX_BYTES = 64 << 20
_MAX_EQUAL_HASHES = 64


class PlainError(ValueError):
    """The value or the bytes cannot be carried; the message says why."""


class TooLargeError(PlainError):
    """The encoded value would be longer than its limit."""


class Opaque:
    """Stands for a value that is not plain data. `handle` names it in the process that holds it; 0: not kept."""

    __slots__ = ("handle", "truth", "type_name")

    def __init__(self, type_name: str, truth: bool, handle: int = 0) -> None:
        self.type_name = type_name
        self.truth = truth
        self.handle = handle

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.type_name} object>"


def encode(value: object, max_bytes: int = MAX_BYTES, keep: "Callable[[object], int] | None" = None) -> bytes:
    """The bytes of `value`.

    A subclass of a plain type travels as its plain content, a number of numpy's as the plain number that it is. What is
    not plain becomes `Opaque`, with the handle that `keep(value)` returns. Raises TooLargeError beyond `max_bytes`,
    PlainError for nesting deeper than MAX_DEPTH.
    """
    encoder = _Encoder(max_bytes, keep)
    encoder.put(value, 0)
    return b"".join(encoder.out)


def decode(data: bytes) -> object:
    """The value that `data` holds. Raises PlainError for anything but one complete value."""
    decoder = _Decoder(data)
    value = decoder.take(0)
    if decoder.at != len(data):
        raise PlainError(f"{len(data) - decoder.at} bytes follow the value")
    return value


def check_hashes(items: "Iterable[object]") -> None:
    """Refuse keys made to collide, which would make a small set cost minutes. Raises PlainError."""
    counts: dict[int, int] = {}
    for item in items:
        try:
            key = hash(item)
        except TypeError as error:
            raise PlainError(str(error)) from None
        counts[key] = count = counts.get(key, 0) + 1
        if count > _MAX_EQUAL_HASHES:
            raise PlainError(f"more than {_MAX_EQUAL_HASHES} keys with one hash value")


_SET_VIEWS = (type({}.keys()), type({}.items()))


class _Encoder:
    def __init__(self, max_bytes: int, keep: "Callable[[object], int] | None") -> None:
        self.out: list[bytes] = []
        self.room = max_bytes
        self.keep = keep

    def add(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise TooLargeError("the value is too large to carry")
        self.out.append(data)

    def sized(self, tag: bytes, data: bytes) -> None:
        self.add(tag + len(data).to_bytes(4, "big") + data)

    def put(self, value: object, depth: int) -> None:
        kind = type(value)
        if value is None:
            self.add(b"N")
        elif kind is bool:
            self.add(b"T" if value else b"F")
        elif kind is int:
            self.put_int(value)  # type: ignore[arg-type]
        elif kind is str:
            self.sized(b"S", value.encode("utf-8", "surrogatepass"))  # type: ignore[attr-defined]
        elif kind is float:
            self.sized(b"D", float.hex(value).encode())  # type: ignore[arg-type]
        elif depth >= MAX_DEPTH:
            raise PlainError(f"the value is nested deeper than {MAX_DEPTH}")
        elif kind is list or kind is tuple or kind is set or kind is frozenset or kind is dict:
            self.put_container(value, kind, depth)
        else:
            self.put_other(value, kind, depth)

    def put_int(self, value: int) -> None:
        length = int.bit_length(value) // 8 + 1
        if length > self.room:
            raise TooLargeError("the integer is too large to carry")
        self.sized(b"I", int.to_bytes(value, length, "big", signed=True))

    def put_container(self, value: object, kind: type, depth: int) -> None:
        if kind is dict:
            pairs = list(dict.items(value))  # type: ignore[arg-type]
            self.add(b"M" + len(pairs).to_bytes(4, "big"))
            for key, item in pairs:
                self.put(key, depth + 1)
                self.put(item, depth + 1)
            return
        items = list(kind.__iter__(value))  # type: ignore[attr-defined]
        self.add(_TAGS[kind] + len(items).to_bytes(4, "big"))
        for item in items:
            self.put(item, depth + 1)

    def put_other(self, value: object, kind: type, depth: int) -> None:
        if kind is bytes or kind is bytearray:
            self.sized(b"B", bytes(value))  # type: ignore[call-overload]
            return
        if kind is complex:
            self.sized(b"C", f"{float.hex(value.real)} {float.hex(value.imag)}".encode())  # type: ignore[attr-defined]
            return
        if kind is Opaque:
            self.put_opaque(value.type_name, value.truth, value.handle)  # type: ignore[attr-defined]
            return
        if kind in _SET_VIEWS:
            self.put_container(set(value), set, depth)  # type: ignore[call-overload]
            return
        for base in kind.__mro__[1:]:
            if base in _TAGS:
                self.put_container(value, base, depth)
                return
            if base in _SCALARS:
                self.put(_SCALARS[base](value), depth)
                return
        if (number := _numpy_number(value, kind)) is not None:
            self.put(number, depth)
            return
        try:
            truth = bool(value)
        except Exception:  # the value's own __bool__ may raise anything: such a value has no truth to report
            truth = False
        self.put_opaque(str(kind.__name__)[:100], truth, 0 if self.keep is None else self.keep(value))

    def put_opaque(self, type_name: str, truth: bool, handle: int) -> None:
        self.sized(b"O", f"{int(truth)} {handle} {type_name}".encode("utf-8", "surrogatepass"))


_TAGS: dict[type, bytes] = {list: b"L", tuple: b"U", set: b"E", frozenset: b"Z", dict: b"M"}
# The base class's own conversion, so that a subclass's overrides have no say in what its content is.
_SCALARS: "dict[type, Callable[[object], object]]" = {
    int: lambda value: int.__add__(value, 0),  # type: ignore[arg-type]
    float: lambda value: float.__add__(value, 0.0),  # type: ignore[arg-type]
    str: lambda value: str.__str__(value) if type(value) is str else "".join(str.__iter__(value)),  # type: ignore[arg-type]
    bytes: lambda value: bytes(bytes.__iter__(value)),  # type: ignore[arg-type]
}


_NUMPY = (("numpy", "generic"), ("numpy", "ndarray"))


def _numpy_number(value: object, kind: type) -> "bool | int | float | complex | None":
    """The plain number that a scalar of numpy's, or an array of no dimensions, holds; None for anything else.

    Known by name, because numpy is not imported here. A class may lie about its name: what then crosses is a plain
    number of its choice, which its process could have sent all the same.
    """
    if not any((base.__module__, base.__name__) in _NUMPY for base in kind.__mro__):
        return None
    try:
        # Times are counted in integers, and are none.
        number = value.item() if value.ndim == 0 and value.dtype.kind in "biufc" else None  # type: ignore[attr-defined]
    except Exception:  # a class that lies about its name may raise anything
        return None
    # A long double gives back itself.
    return number if type(number) in (bool, int, float, complex) else None


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        end = self.at + 4
        if end > len(self.data):
            raise PlainError("the data ends inside a length")
        value = int.from_bytes(self.data[self.at : end], "big")
        self.at = end
        return value

    def chunk(self) -> bytes:
        length = self.number()
        end = self.at + length
        if end > len(self.data):
            raise PlainError("the data ends inside a value")
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def count(self, least_bytes: int) -> int:
        count = self.number()
        if count * least_bytes > len(self.data) - self.at:
            raise PlainError(f"{count} items are announced, more than the data can hold")
        return count

    def take(self, depth: int) -> object:
        tag = self.data[self.at : self.at + 1]
        self.at += 1
        if tag == b"N":
            return None
        if tag == b"T":
            return True
        if tag == b"F":
            return False
        if tag == b"I":
            return int.from_bytes(self.chunk(), "big", signed=True)
        if tag == b"S":
            return self.text()
        if tag == b"D":
            return _float(self.chunk())
        if tag == b"B":
            return self.chunk()
        if tag == b"C":
            return self.complex()
        if tag == b"O":
            return self.opaque()
        if depth >= MAX_DEPTH:
            raise PlainError(f"the data is nested deeper than {MAX_DEPTH}")
        return self.container(tag, depth)

    def container(self, tag: bytes, depth: int) -> object:
        if tag == b"M":
            count = self.count(2)
            keys: list[object] = []
            values: list[object] = []
            for _ in range(count):
                keys.append(self.take(depth + 1))
                values.append(self.take(depth + 1))
            check_hashes(keys)
            return dict(zip(keys, values, strict=True))
        if tag not in (b"L", b"U", b"E", b"Z"):
            raise PlainError(f"unknown tag {tag!r}")
        items = [self.take(depth + 1) for _ in range(self.count(1))]
        if tag == b"L":
            return items
        if tag == b"U":
            return tuple(items)
        check_hashes(items)
        return set(items) if tag == b"E" else frozenset(items)

    def text(self) -> str:
        try:
            return self.chunk().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise PlainError(f"a text is not UTF-8: {error}") from None

    def complex(self) -> complex:
        parts = self.chunk().split(b" ")
        if len(parts) != 2:
            raise PlainError("a complex number needs two parts")
        return complex(_float(parts[0]), _float(parts[1]))

    def opaque(self) -> Opaque:
        parts = self.text().split(" ", 2)
        if len(parts) != 3 or parts[0] not in ("0", "1") or not parts[1].isascii() or not parts[1].isdigit():
            raise PlainError("an opaque value needs a truth, a handle and a type name")
        if len(parts[1]) > 9 or len(parts[2]) > 200:
            raise PlainError("an opaque value's handle or type name is too long")
        return Opaque(parts[2], parts[0] == "1", int(parts[1]))


def _float(text: bytes) -> float:
    if len(text) > 40:
        raise PlainError("a number's text is too long")
    try:
        return float.fromhex(text.decode("ascii"))
    except (UnicodeDecodeError, ValueError, OverflowError):
        raise PlainError(f"{text!r} is no number") from None
