"""Problems of a time: those published after a model's training data ended cannot have been in them."""

import dataclasses
import datetime

from benchmarks.data.errors import DataError
from benchmarks.data.record import DataSet


def window(data: DataSet, first: datetime.date | None = None, last: datetime.date | None = None) -> DataSet:
    """The problems dated from `first` to `last`, both included.

    Raises DataError where the set's problems have no dates, or none is of that time.
    """
    if any("date" not in record.facts for record in data.records):
        raise DataError(f"{data.origin.name}: its problems have no dates; a window goes with livecodebench or leetcode")
    kept = tuple(
        record
        for record in data.records
        if (first is None or first.isoformat() <= record.facts["date"])
        and (last is None or record.facts["date"] <= last.isoformat())
    )
    span = f"{first or 'the first'} to {last or 'the last'}"
    if not kept:
        dates = sorted(record.facts["date"] for record in data.records)
        raise DataError(f"{data.origin.name}: no problem is dated {span}; they run from {dates[0]} to {dates[-1]}")
    note = f"{len(kept)} of {len(data.records)} problems: those dated {span}."
    return dataclasses.replace(data, records=kept, note=f"{note} {data.note}".strip())
