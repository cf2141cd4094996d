"""A problem of any set, as the experiments see it."""

from dataclasses import dataclass, field
from typing import Any

TestDocument = str | dict[str, Any]
"""A test as a problem file has it (docs/problem-files.md): an assert or other Python, or a mapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One problem.

    id: unique within its set, as the publisher writes it. text: the task in words. stub: code that a completion
    continues, for sets that have one. entry_point: what the tests call; empty for whole programs. setup_code: runs
    before the program. visible: tests that may be shown and decide; held_out: tests that are never shown and tell
    whether a program that passed is right. quotable: whether a prompt may quote the visible tests; False where they
    are the answer itself (MathQA) or were never shown (HumanEval). references: programs known to be right. split: the
    publisher's, empty if there is none. facts: what only this set has (difficulty, date, ...), as JSON values.
    """

    id: str
    text: str
    stub: str = ""
    entry_point: str = ""
    setup_code: str = ""
    visible: tuple[TestDocument, ...] = ()
    held_out: tuple[TestDocument, ...] = ()
    quotable: bool = True
    references: tuple[str, ...] = ()
    split: str = ""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def tests(self) -> tuple[TestDocument, ...]:
        """All tests, the visible ones first. Some sets hold out their whole list, shown ones included: each is once."""
        return (*self.visible, *(test for test in self.held_out if test not in self.visible))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a set comes from. version: printed with every score. shippable: whether the licence lets us ship it."""

    name: str
    title: str
    version: str
    licence: str
    url: str
    shippable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A loaded set. `note`: what a reader of its scores must know, such as that only a part of it is here."""

    origin: Origin
    records: tuple[Record, ...]
    note: str = ""
