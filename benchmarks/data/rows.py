"""Reading published files: JSON lines, or one JSON array; compressed or not; with a hash of what was read."""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.data.errors import DataDamaged

Row = dict[str, Any]
"""A record as its publisher wrote it."""

_VERSION = re.compile(r"v\d+(?:\.\d+)*")


class Rows:
    """The rows of some files, in order, each with the name of its file and its line there (from 1 on).

    `version` is known when all were read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[tuple[str, int, Row]]:
        for path in self._paths:
            name = plain_name(path)
            for number, text in self._texts(path):
                where = f"{path}, line {number}" if number else str(path)
                try:
                    found = json.loads(text)
                except ValueError as error:
                    raise DataDamaged(f"{where}: no JSON ({error}); fetch the file again") from error
                rows: list[object] = cast("list[object]", found) if isinstance(found, list) else [found]
                for index, row in enumerate(rows, start=number or 1):
                    if not isinstance(row, dict):
                        raise DataDamaged(f"{where}: a record must be a JSON object, not {type(row).__name__}")
                    yield name, index, cast("Row", row)

    @property
    def version(self) -> str:
        """What the publisher calls it, where the files' names say so, and the first digits of what was read.

        The hash is of the uncompressed bytes, so that it does not depend on who compressed them.
        """
        labels = dict.fromkeys(found.group() for path in self._paths if (found := _VERSION.search(path.name)))
        return " ".join([*labels, f"sha256:{self._digest.hexdigest()[:12]}"])

    def _texts(self, path: Path) -> Iterator[tuple[int, str]]:
        """Each JSON text of a file with its line; line 0 where the file is one text."""
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                if plain_name(path).endswith(".json"):
                    content = file.read()
                    self._digest.update(content)
                    yield 0, content.decode()
                    return
                for number, line in enumerate(file, start=1):
                    self._digest.update(line)
                    if line.strip():
                        yield number, line.decode()
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise DataDamaged(f"{path}: cannot be read ({error}); fetch the file again") from error


def plain_name(path: Path) -> str:
    """A file's name without the ending of its compression."""
    return path.name.removesuffix(".gz")
