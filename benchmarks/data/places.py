"""Where the files of a set are looked for: --data, THRESHER_DATA, the cache, an installed package."""

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.errors import DataError
from engine.models import catalogue

VARIABLE = "THRESHER_DATA"
CACHE = "cache"


@dataclass(frozen=True, slots=True)
class Found:
    """Files of a set. `where`: one word for the place, as `thresher data list` prints it."""

    where: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that does not have the set, and why."""

    where: str
    why: str


def cache_folder() -> Path:
    """Where fetched sets lie: $XDG_CACHE_HOME/thresher/data, by default under ~/.cache."""
    return catalogue.cache_folder().with_name("data")


def find(files: Sequence[str], package: str, data: Path | None) -> Found | list[Looked]:
    """The first place that has any of `files`, with all of them that it has; else where they were looked for.

    files: patterns below a folder of sets, such as mbpp/mbpp.jsonl; a file may be compressed (.gz). package: an
    installed one that has them as well. data: the folder of --data. Raises DataError where that is no folder.
    """
    if data is not None and not data.is_dir():
        raise DataError(f"--data: {data} is no folder; name the one that holds {files[0].split('/')[0]}/")
    named = os.environ.get(VARIABLE, "")
    folders = [("--data", data), (VARIABLE, Path(named) if named else None), (CACHE, cache_folder())]
    looked: list[Looked] = []
    for where, folder in folders:
        if folder is None:
            looked.append(Looked(where, "not given" if where == "--data" else "not set"))
        elif paths := in_folder(folder, files):
            return Found(where, paths)
        else:
            looked.append(Looked(where, f"{folder} has no {' or '.join(files)} (or the same with .gz)"))
    if package:
        if paths := _in_package(package, files):
            return Found(package, paths)
        looked.append(Looked(f"the package {package}", "not installed"))
    return looked


def in_folder(folder: Path, files: Sequence[str]) -> tuple[Path, ...]:
    """Those of the files that a folder has, in their order, each once: compressed or not."""
    paths: list[Path] = []
    for pattern in files:
        plain = {path.name: path for path in folder.glob(pattern)}
        packed = {path.name.removesuffix(".gz"): path for path in folder.glob(f"{pattern}.gz")}
        paths += [path for _, path in sorted((packed | plain).items())]
    return tuple(path for path in paths if path.is_file())


def _in_package(package: str, files: Sequence[str]) -> tuple[Path, ...]:
    try:
        members = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    names = {name for pattern in files for name in (Path(pattern).name, f"{Path(pattern).name}.gz")}
    return tuple(path for member in members if member.name in names and (path := Path(str(member.locate()))).is_file())
