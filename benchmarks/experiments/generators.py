"""Which source a command line asks for."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Plan
from benchmarks.experiments.sources import Programs, ProgramsSource, Source


class Kind(StrEnum):
    """Where samples come from."""

    SERVER = "server"
    """A model behind a server."""
    REFERENCE = "reference"
    """The set's own solutions."""
    SYNTHETIC = "synthetic"
    """References that fail at random."""
    REPLAY = "replay"
    """A recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """What was asked for. server: address of a running one. stop: where recorded completions are cut."""

    kind: Kind = Kind.SERVER
    server: str | None = None
    token: str | None = None
    model: str = ""
    arithmetic: str = "auto"
    recorded: Path | None = None
    recorded_arm: str = ""
    recorded_imports: tuple[str, ...] = ()
    p: float | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises CannotRun for what does not go together: nothing is ignored."""
        drawn = self.kind is Kind.SERVER
        given = {
            "--model": (bool(self.model), drawn),
            "--arithmetic": (self.arithmetic != "auto", drawn and self.server is None),
            "--recorded": (self.recorded is not None, self.kind is Kind.REPLAY),
            "--recorded-arm": (bool(self.recorded_arm), self.kind is Kind.REPLAY),
            "--recorded-imports": (bool(self.recorded_imports), self.kind is Kind.REPLAY),
            "--p": (self.p is not None, self.kind is Kind.SYNTHETIC),
        }
        for name, (there, wanted) in given.items():
            if there and not wanted:
                beside = " with a server that runs already" if drawn else ""
                raise CannotRun(f"{name} has no meaning for --generator {self.kind.value}{beside}; leave it out")
        if self.kind is Kind.REPLAY and self.recorded is None:
            raise CannotRun("--generator replay needs --recorded FILE")
        if self.kind is Kind.SYNTHETIC and self.p is None:
            raise CannotRun("--generator synthetic needs --p, the probability that a sample passes")

    def asked(self) -> dict[str, Any]:
        """For the protocol; what a source finds out about itself is kept beside it. Raises CannotRun, as `programs`."""
        if self.kind is not Kind.SERVER:
            judge = "a server" if self.server else "our executor in this process"
            return {"kind": self.kind.value, **self.programs().described(), "judge": judge}
        model = self._model("")
        return {
            "kind": self.kind.value,
            "server": "a running one" if self.server else "started for this run",
            "model": Path(model).name if model else "the server's default",  # of a path on this machine
            "arithmetic": "the server's" if self.server else self.arithmetic,
        }

    def check(self, plan: Plan) -> None:
        """Raises CannotRun where an arm names a model that is not to be had. Starts nothing."""
        if self.kind is not Kind.SERVER:
            if any(arm.model for arm in plan.arms):
                raise CannotRun(
                    f"--generator {self.kind.value} draws from no model, and this experiment is about models"
                )
            return
        if self.server is not None:
            return  # the server says which models it has
        from engine.models.catalogue import resolve
        from engine.models.errors import UnknownModel

        for arm in plan.arms:
            try:
                resolve(self._model(arm.model))
            except UnknownModel as error:
                raise CannotRun(f"--model: {error}") from error

    def open(self, model: str = "") -> Source:
        """A source for the arms of one model; empty for the one asked for."""
        if self.kind is Kind.SERVER:
            from benchmarks.experiments.served import ServerSource

            if self.server is not None:
                return ServerSource(self.server, token=self.token, model=model or self.model)
            return ServerSource(None, flags=("--model", self._model(model), "--arithmetic", self.arithmetic))
        from benchmarks.experiments.judging import ExecutorJudge, ServerJudge

        judge = ExecutorJudge() if self.server is None else ServerJudge(self.server, self.token)
        return ProgramsSource(self.programs(), judge)

    def programs(self) -> Programs:
        """The samples that need no model. Raises CannotRun where there are none."""
        from benchmarks.experiments.programs import References, Synthetic
        from benchmarks.experiments.replay import Replay

        if self.kind is Kind.REPLAY and self.recorded is not None:
            return Replay(self.recorded, stop=self.stop, arm=self.recorded_arm, imports=self.recorded_imports)
        if self.kind is Kind.SYNTHETIC and self.p is not None:
            return Synthetic(self.p)
        return References()

    def _model(self, model: str) -> str:
        from engine.models.catalogue import DEFAULT_MODEL

        return model or self.model or ("" if self.server is not None else DEFAULT_MODEL)
