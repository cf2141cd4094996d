"""Published problem sets behind one record type and one loader interface (docs/data.md)."""

from benchmarks.data.document import document
from benchmarks.data.errors import DataDamaged, DataError, DataMissing, UnknownSet
from benchmarks.data.programs import program_of
from benchmarks.data.record import DataSet, Origin, Record, TestDocument
from benchmarks.data.registry import SETS, found, load, program_maker
from benchmarks.data.windows import window

__all__ = [
    "SETS",
    "DataDamaged",
    "DataError",
    "DataMissing",
    "DataSet",
    "Origin",
    "Record",
    "TestDocument",
    "UnknownSet",
    "document",
    "found",
    "load",
    "program_maker",
    "program_of",
    "window",
]
