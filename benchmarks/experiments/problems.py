"""Which problems of a set a run is about, and how its protocol says so."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.data import DataSet, Record, load
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import fingerprint

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """Some problems of a set. split: whose problems they were chosen from. chosen: how, in words; empty for all."""

    data_set: DataSet
    records: tuple[Record, ...]
    split: str = ALL
    chosen: str = ""

    def of_split(self, split: str) -> Self:
        """Only those of a split; all of them for `all`. Raises CannotRun where there are none."""
        if split == ALL:
            return self
        splits = sorted({record.split for record in self.data_set.records if record.split})
        if split not in splits:
            have = ", ".join([*splits, ALL])
            raise CannotRun(f"--split: {self.data_set.origin.name} has no split {split!r}; it has: {have}")
        return replace(self, records=tuple(one for one in self.records if one.split == split), split=split)

    def of_ids(self, ids: str) -> Self:
        """Only those named: `11,12` or, where ids are numbers, `11-20`. Raises CannotRun for one that is not here."""
        known = {record.id: record for record in self.records}
        wanted: list[str] = []
        for part in ids.split(","):
            first, dash, last = part.strip().partition("-")
            if dash and first.isdecimal() and last.isdecimal():
                wanted += [name for number in range(int(first), int(last) + 1) if (name := str(number)) in known]
            else:
                wanted.append(part.strip())
        missing = [name for name in wanted if name not in known]
        if missing or not wanted:
            raise CannotRun(
                f"--ids: {', '.join(missing[:5]) or ids} is not among the {len(known)} problems of the split "
                f"{self.split!r} of {self.data_set.origin.name} that are here"
            )
        records = tuple(record for record in self.records if record.id in set(wanted))
        return replace(self, records=records, chosen=self._chosen("those named"))

    def only(self, wanted: Callable[[str], bool], words: str) -> Self:
        """Only those whose id `wanted` accepts; `words` says which those are. Raises CannotRun where none is left."""
        records = tuple(record for record in self.records if wanted(record.id))
        if not records:
            raise CannotRun(f"none of the {len(self.records)} problems of {self.data_set.origin.name} is left: {words}")
        if len(records) == len(self.records):
            return self
        return replace(self, records=records, chosen=self._chosen(words))

    def first(self, count: int) -> Self:
        """The first `count`. Raises CannotRun where there are fewer: a score must not be for less than it claims."""
        if count > len(self.records):
            raise CannotRun(f"--problems: {count} are asked for, and {len(self.records)} are here")
        return replace(self, records=self.records[:count], chosen=self._chosen(f"the first {count}"))

    def described(self) -> dict[str, Any]:
        """For the protocol."""
        origin = self.data_set.origin
        of_split = [one for one in self.data_set.records if self.split in (ALL, one.split)]
        return {
            "set": origin.name,
            "title": origin.title,
            "version": origin.version,
            "licence": origin.licence,
            "split": self.split,
            "problems": len(self.records),
            "problems_of_split_here": len(of_split),
            "chosen": self.chosen or "all that are here",
            "ids_sha256": fingerprint([record.id for record in self.records]),
            "note": self.data_set.note,
        }

    def _chosen(self, words: str) -> str:
        return f"{self.chosen}, of these {words}" if self.chosen else words


def load_problems(name: str, data: Path | None) -> Problems:
    """All problems of a set. Raises benchmarks.data.DataError, which says what to fetch."""
    found = load(name, data=data)
    return Problems(data_set=found, records=found.records)
