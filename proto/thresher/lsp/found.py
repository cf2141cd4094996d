"""What a test of a function is, wherever it was found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file, counted from 0; `uri` is empty for the file that the function is in."""

    uri: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class FoundTest:
    """A test as it is sent and as it is shown.

    `code` is what the server runs after the program. `shown` is what the model reads, `subject` what messages call it.
    `expected` is what a doctest wants to see; None for other tests.
    """

    code: str
    shown: str
    subject: str
    place: Place
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A test that was found and cannot be used."""

    name: str
    place: Place
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """All tests of one function."""

    tests: tuple[FoundTest, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def __add__(self, other: "Found") -> "Found":
        return Found(self.tests + other.tests, self.left_out + other.left_out)
