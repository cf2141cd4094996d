"""What the executor's process and its client say to each other. One union each way."""

import msgspec

from executor.config import ExecutorConfig, ExecutorStats, SandboxInfo
from executor.types import Program
from executor.verdict import Report, TestReport


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """The first message: start with this."""

    config: ExecutorConfig
    stats_seconds: float


class RunProgram(msgspec.Struct, frozen=True, tag="run"):
    """Run a program; `tests` asks for each test's report as it comes."""

    id: int
    program: Program
    group: str
    tests: bool


class CancelRun(msgspec.Struct, frozen=True, tag="cancel"):
    """End one run."""

    id: int


class CancelGroup(msgspec.Struct, frozen=True, tag="cancel_group"):
    """End all runs of a group; answered by Cancelled with this id when their jails are gone."""

    id: int
    group: str


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End everything and exit."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Started."""

    info: SandboxInfo
    stats: ExecutorStats


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The start or one run failed: `kind` is the class name of the error. id 0: the start."""

    id: int
    kind: str
    text: str


class TestDone(msgspec.Struct, frozen=True, tag="test"):
    """One test of a run is settled."""

    id: int
    report: TestReport


class RunDone(msgspec.Struct, frozen=True, tag="done"):
    """A run is over."""

    id: int
    report: Report


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """A run was ended, or (id of a CancelGroup) a whole group."""

    id: int


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Sent every `stats_seconds`, and after each run."""

    stats: ExecutorStats


ToExecutor = Configure | RunProgram | CancelRun | CancelGroup | Shutdown
FromExecutor = Ready | Failed | TestDone | RunDone | Cancelled | Stats
