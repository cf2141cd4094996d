"""What the front and an engine process say to each other: one message each way per step, length-prefixed msgpack.

A frame is the length of its body as a big-endian uint32, then the body.
"""

import struct

import msgspec

from engine.core.types import CoreEvent, EndReason, Filters

LENGTH = struct.Struct(">I")
LARGEST_FRAME = 256 << 20
"""Bytes; a longer frame means that the two ends have lost each other."""


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that an engine process is told at its start. `threads` None: as many as there are cores for this process."""

    name: str
    path: str
    arithmetic: str
    threads: int | None
    kv_bytes: int
    page_tokens: int
    rows: int
    step_seconds: float
    waiting: int


class Turn(msgspec.Struct, frozen=True):
    """One chat turn."""

    role: str
    content: str


class Infill(msgspec.Struct, frozen=True):
    """What stands around the text to be drawn, and the path of its file (empty: none)."""

    prefix: str
    suffix: str
    path: str


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag="submit"):
    """A solve to draw for. `prompt` is raw text, chat turns, or what stands around a hole; None in `max_new_tokens` is
    the default.

    `end_at_program`: stop a sample where its program is complete. `part_of_program`: the program is prompt and
    completion. `delta_seconds`: how often the text of running branches is wanted; None for never.
    """

    solve: int
    prompt: str | tuple[Turn, ...] | Infill
    k: int
    filters: Filters
    seed: int
    max_new_tokens: int | None
    stop: tuple[str, ...]
    end_at_program: bool
    part_of_program: bool
    entry_point: str | None
    greedy_first: bool
    width: int | None
    max_rows: int | None
    max_tokens: int | None
    interactive: bool
    delta_seconds: float | None


class End(msgspec.Struct, frozen=True, tag="end"):
    """The intent to end a solve."""

    solve: int
    reason: EndReason


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """What an engine process does before it is ready: each part may take long on a first start."""

    part: str


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded. After `Loading`, the first message of an engine process."""

    name: str
    context_length: int
    chat: bool
    infill: bool
    dtype: str
    device: str
    pages: int
    page_size: int
    load_seconds: float
    versions: dict[str, str]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The model cannot be served; trying again would not help."""

    message: str


class Admitted(msgspec.Struct, frozen=True, tag="admitted"):
    """A submitted solve is queued behind `ahead` others."""

    solve: int
    prompt_tokens: int
    ahead: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A submitted solve cannot be taken. `kind` is one of prompt_too_long, bad_field, unsupported, queue_full."""

    solve: int
    kind: str
    field: str
    detail: str


class StepReport(msgspec.Struct, frozen=True, kw_only=True, tag="step"):
    """What a step has brought. `rows` and `seconds` are 0 where nothing was computed; `idle_seconds` went before it."""

    events: list[CoreEvent]
    rows: int
    prefill_tokens: int
    seconds: float
    overhead_seconds: float
    idle_seconds: float
    waiting: int
    running: int
    branches: int
    kv_usage: float
    pages_shared: int
    preemptions: int


ToEngine = Submit | End
FromEngine = Loading | Ready | Failed | Admitted | Refused | StepReport

encoder = msgspec.msgpack.Encoder()
to_engine = msgspec.msgpack.Decoder(ToEngine)
from_engine = msgspec.msgpack.Decoder(FromEngine)


def frame(message: ToEngine | FromEngine) -> bytes:
    """A message ready to send."""
    body = encoder.encode(message)
    return LENGTH.pack(len(body)) + body
