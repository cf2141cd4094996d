"""What the front and an engine process say to each other, in length-prefixed msgpack.

One message each way per step, one more from the engine where solves have ended before a step, and those about turns
where models share a device. A frame is the length of its body as a big-endian uint32, then the body.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchRedrawn,
    BranchSetBack,
    BranchStarted,
    BranchText,
    CoreEvent,
    EndReason,
    Filters,
    FirstToken,
    Mode,
    SamplesFinished,
    SolveEnded,
    SolveStarted,
    WidthChosen,
    WidthHeld,
)

LENGTH = struct.Struct(">I")
LARGEST_FRAME = 256 << 20
"""Bytes; a longer frame means that the two ends have lost each other."""


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that an engine process is told at its start. None: as many threads as there are cores for this process, and
    what suits the device of memory, the size of a page, rows and seconds of a step. `shared`: its steps and those of
    other engines take turns."""

    name: str
    path: str
    device: str
    arithmetic: str
    strict: bool
    threads: int | None
    kv_bytes: int | None
    page_tokens: int | None
    rows: int | None
    step_seconds: float | None
    waiting: int
    drafting: bool
    shared: bool = False
    suffix_kv_bits: int = 16


class Turn(msgspec.Struct, frozen=True):
    """One chat turn."""

    role: str
    content: str


class Completion(msgspec.Struct, frozen=True, tag="completion"):
    """Raw text to go on with. `part_of_program`: the program is this text and its completion."""

    text: str
    part_of_program: bool


class Infill(msgspec.Struct, frozen=True, tag="infill"):
    """What stands around the text to be drawn, and the path of its file (empty: none)."""

    prefix: str
    suffix: str
    path: str


Prompt = Completion | tuple[Turn, ...] | Infill


class Constraint(msgspec.Struct, frozen=True):
    """What the text of every sample must match."""

    kind: Literal["regex", "ebnf", "json_schema"]
    text: str


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag="submit"):
    """A solve to draw for. Which sample continues which prompt, by which filters: see CoreRequest.

    `max_new_tokens`: None for the default. `end_at_program`: stop a sample where its program is complete. `prune`: give
    a sample up once it cannot become a valid program. `delta_seconds`: how often the text of running branches is
    wanted; None for never. `seconds_left`: until the deadline, if there is one. `likenesses`: texts like those that
    will be drawn, for drafts. `difficulty`: see CoreRequest.
    """

    solve: int
    prompts: tuple[Prompt, ...]
    k: int
    mode: Mode
    filters: tuple[Filters, ...]
    length_penalty: float
    seed: int
    max_new_tokens: int | None
    stop: tuple[str, ...]
    end_at_program: bool
    entry_point: str | None
    prune: bool
    constraint: Constraint | None
    greedy_first: bool
    width: int | None
    at_once: int | None = None
    max_rows: int | None
    max_tokens: int | None
    interactive: bool
    delta_seconds: float | None
    client: str
    seconds_left: float | None
    first_pass: bool
    judges: int
    likenesses: tuple[str, ...] = ()
    difficulty: float | None = None


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """A finished branch was judged; `passed` is None if its program could not be."""

    solve: int
    branch: int
    passed: bool | None


class Slow(msgspec.Struct, frozen=True, tag="slow"):
    """The verdict on a finished branch takes long: drawing waits for it no more."""

    solve: int
    branch: int


class End(msgspec.Struct, frozen=True, tag="end"):
    """The intent to end a solve."""

    solve: int
    reason: EndReason


class TurnGranted(msgspec.Struct, frozen=True, tag="turn_granted"):
    """The device is this engine's for one step, or, `keep`, for one after the other until it is asked for."""

    keep: bool


class TurnAsked(msgspec.Struct, frozen=True, tag="turn_asked"):
    """Others wait for the device: the turn is to be given back before the next step."""


class TurnWanted(msgspec.Struct, frozen=True, tag="turn_wanted"):
    """This engine has work, and waits for its turn; `interactive`: somebody waits for some of it.

    It is said once, and again where `interactive` changes; what follows is one `TurnGranted`, whatever becomes of the
    work meanwhile.
    """

    interactive: bool


class TurnOver(msgspec.Struct, frozen=True, kw_only=True, tag="turn_over"):
    """The turn is given back. The last step in it took `seconds`, 0 if there was none. `more`: as TurnWanted."""

    seconds: float
    more: bool
    interactive: bool


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """What an engine process does before it is ready: each part may take long on a first start."""

    model: str
    part: str


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """A part is there. `how`: where it came from, in words; empty where there is one way only."""

    model: str
    part: str
    seconds: float
    how: str = ""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded. After `Loading` and `Loaded`, the first message of an engine process.

    `deterministic`: what a sample draws does not depend on what else is drawn, bit for bit. `resident_bytes`: of this
    process in memory; `pool_bytes`: of keys and values, which are not there yet (0 on a GPU: they lie elsewhere).
    """

    name: str
    context_length: int
    chat: bool
    infill: bool
    dtype: str
    device: str
    deterministic: bool
    pages: int
    page_size: int
    load_seconds: float
    versions: dict[str, str]
    resident_bytes: int = 0
    pool_bytes: int = 0


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


class _Started(msgspec.Struct, frozen=True, tag="branch_started"):
    event: BranchStarted


class _Text(msgspec.Struct, frozen=True, tag="branch_text"):
    event: BranchText


class _Finished(msgspec.Struct, frozen=True, tag="branch_finished"):
    event: BranchFinished


class _Samples(msgspec.Struct, frozen=True, tag="samples_finished"):
    event: SamplesFinished


class _Pruned(msgspec.Struct, frozen=True, tag="branch_pruned"):
    event: BranchPruned


class _Cut(msgspec.Struct, frozen=True, tag="branch_cut"):
    event: BranchCut


class _SolveStarted(msgspec.Struct, frozen=True, tag="solve_started"):
    event: SolveStarted


class _FirstToken(msgspec.Struct, frozen=True, tag="first_token"):
    event: FirstToken


class _Width(msgspec.Struct, frozen=True, tag="width_chosen"):
    event: WidthChosen


class _Held(msgspec.Struct, frozen=True, tag="width_held"):
    event: WidthHeld


class _SetBack(msgspec.Struct, frozen=True, tag="branch_set_back"):
    event: BranchSetBack


class _Redrawn(msgspec.Struct, frozen=True, tag="branch_redrawn"):
    event: BranchRedrawn


class _SolveEnded(msgspec.Struct, frozen=True, tag="solve_ended"):
    event: SolveEnded


Enveloped = (
    _Started
    | _Text
    | _Finished
    | _Samples
    | _Pruned
    | _Cut
    | _SolveStarted
    | _FirstToken
    | _Width
    | _Held
    | _SetBack
    | _Redrawn
    | _SolveEnded
)
"""An event under the name of its kind. The core's own types are plain dataclasses, so that it needs no msgspec, which
cannot tell one dataclass from another."""

_ENVELOPES: dict[type[CoreEvent], Callable[[Any], Enveloped]] = {
    BranchStarted: _Started,
    BranchText: _Text,
    BranchFinished: _Finished,
    SamplesFinished: _Samples,
    BranchPruned: _Pruned,
    BranchCut: _Cut,
    SolveStarted: _SolveStarted,
    FirstToken: _FirstToken,
    WidthChosen: _Width,
    WidthHeld: _Held,
    BranchSetBack: _SetBack,
    BranchRedrawn: _Redrawn,
    SolveEnded: _SolveEnded,
}


def enveloped(events: Iterable[CoreEvent]) -> list[Enveloped]:
    """Events ready to travel, in their order."""
    return [_ENVELOPES[type(event)](event) for event in events]


class StepReport(msgspec.Struct, frozen=True, kw_only=True, tag="step"):
    """What a step has brought, or what was told before it: the ends of solves do not wait for it.

    `rows` and `seconds` are 0 where nothing was computed; `idle_seconds` without work and `turn_seconds` of waiting for
    the device went before it. `token_gaps`: pairs of seconds and tokens, see Scheduler.
    """

    told: list[Enveloped]
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
    turn_seconds: float = 0.0
    token_gaps: list[tuple[float, int]] = []

    @property
    def events(self) -> list[CoreEvent]:
        """What has happened, in its order."""
        return [one.event for one in self.told]


ToEngine = Submit | Verdict | Slow | End | TurnGranted | TurnAsked
FromEngine = Loading | Loaded | Ready | Failed | Admitted | Refused | StepReport | TurnWanted | TurnOver

encoder = msgspec.msgpack.Encoder()
to_engine = msgspec.msgpack.Decoder(ToEngine)
from_engine = msgspec.msgpack.Decoder(FromEngine)


def frame(message: ToEngine | FromEngine) -> bytes:
    """A message ready to send."""
    body = encoder.encode(message)
    return LENGTH.pack(len(body)) + body
