"""The frame's interface: tasks, arms, a plan, and what an experiment makes of their outcomes."""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.data import Record
from benchmarks.experiments.outcome import Outcome
from benchmarks.report.page import Page
from executor import Program, Report

if TYPE_CHECKING:
    from benchmarks.experiments.judging import Judged

PROMPT_KEYS = ("prompt", "chat", "completion", "infill", "variants")
"""The keys of a problem document that the model sees."""

Outcomes = Mapping[str, Sequence[Outcome]]
"""By the name of the arm, in the order of its tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem as it is asked: a problem document (docs/problem-files.md) without `sampling`, `policy` and `model`.

    The document says what the model is told, which tests decide, and with `hidden` which are held out. run_all: run all
    tests of a program though one has failed; where a server draws it does so anyway. make: makes of a sample's code
    what the executor runs, where a document cannot say that (EvalPlus's calls, MathQA); no server is asked then.
    make_held_out: the same for the tests that are held out, run where a program passed. made_by: what they do, for the
    protocol. read: makes what is kept of the executor's report, where that is more than verdicts; goes with make.
    refuses: says why a program is wrong whatever its tests say (a predicted
    value that calls the function), empty where it is not; refuses_what: that, for the protocol.
    """

    record: Record
    document: Mapping[str, Any]
    run_all: bool = False
    make: Callable[[str], Program] | None = None
    make_held_out: Callable[[str], Program] | None = None
    made_by: str = ""
    read: Callable[[Report], "Judged"] | None = None
    refuses: Callable[[str], str] | None = None
    refuses_what: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError where the protocol would not tell how programs are made, or which are refused."""
        if (self.make is None) != (not self.made_by):
            raise ValueError(f"task {self.record.id}: make and made_by go together")
        if self.make is None and (self.make_held_out is not None or self.read is not None):
            raise ValueError(f"task {self.record.id}: make_held_out and read go with make")
        if (self.refuses is None) != (not self.refuses_what):
            raise ValueError(f"task {self.record.id}: refuses and refuses_what go together")

    @property
    def id(self) -> str:
        """The problem's."""
        return self.record.id

    def refused(self, code: str) -> str:
        """Why a program is wrong whatever its tests say; empty where they decide."""
        return "" if self.refuses is None else self.refuses(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How the samples of each task are drawn: k of a problem file's `sampling`, a seed, and its other keys.

    rows: a budget of decode rows for each task, which may end the draw before all samples are there; 0 for none.
    """

    samples: int
    seed: int = 0
    rows: int = 0
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def independent(self) -> bool:
        """Whether each sample is a complete draw from one and the same distribution, whatever the others are."""
        mixed = self.sampling.get("greedy_first", False) or self.sampling.get("temperatures")
        pruned = self.sampling.get("prune", "none") != "none" or self.sampling.get("distinct_programs", False)
        whole = not mixed and not pruned and not self.rows
        return self.sampling.get("mode", "independent") == "independent" and whole

    def seed_of(self, task_id: str) -> int:
        """A seed of its own for each problem, so that problems do not share their random numbers; arms do."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{task_id}".encode()).digest()[:7])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One condition of an experiment: the same draw for each of its tasks. model: empty for the one asked for."""

    name: str
    tasks: tuple[Task, ...]
    draw: Draw
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is to be done. data: what `Problems.described` says of each set. settings: what else a score needs."""

    experiment: str
    data: tuple[dict[str, Any], ...]
    arms: tuple[Arm, ...]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        """Raises ValueError for arms that cannot be told apart or have nothing to do."""
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms: {names} are not all different")
        for arm in self.arms:
            ids = {task.id for task in arm.tasks}
            if not ids or len(ids) < len(arm.tasks):
                raise ValueError(f"arm {arm.name!r}: needs tasks with different ids, found {len(arm.tasks)} tasks")

    def protocol(self, generator: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides the scores, as JSON values; `generator` is where the samples come from."""
        return {
            "experiment": self.experiment,
            "data": list(self.data),
            "generator": dict(generator),
            "arms": [_described(arm) for arm in self.arms],
            **self.settings,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What an experiment's module gives as EXPERIMENT.

    scores(protocol, outcomes): JSON values, every score of the result. page(result): the report, from a result document
    alone, so that it can be made again from the file.
    """

    name: str
    title: str
    scores: Callable[[Mapping[str, Any], Outcomes], dict[str, Any]]
    page: Callable[[Mapping[str, Any]], Page]


def find(name: str) -> Experiment:
    """The experiment in benchmarks.experiments.<name>. Raises ValueError where there is none."""
    module = f"benchmarks.experiments.{name.replace('-', '_')}"
    try:
        return importlib.import_module(module).EXPERIMENT
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"experiment {name!r}: {module} gives no EXPERIMENT") from error


def fingerprint(values: Any) -> str:
    """SHA-256 of JSON values, keys in order, as 64 hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _described(arm: Arm) -> dict[str, Any]:
    prompts = [{key: task.document[key] for key in PROMPT_KEYS if key in task.document} for task in arm.tasks]
    judged = [
        {"id": task.id, "run_all": task.run_all, "made_by": task.made_by, "refuses": task.refuses_what}
        | {key: value for key, value in task.document.items() if key not in (*PROMPT_KEYS, "problem_id")}
        for task in arm.tasks
    ]
    return {
        "name": arm.name,
        **({"model": arm.model.rpartition("/")[2]} if arm.model else {}),  # of a path on this machine
        "problems": len(arm.tasks),
        "samples": arm.draw.samples,
        "seed": arm.draw.seed,
        "sampling": dict(arm.draw.sampling),
        **({"budget_rows": arm.draw.rows} if arm.draw.rows else {}),
        "prompts_sha256": fingerprint(prompts),
        "tests_sha256": fingerprint(judged),
    }
