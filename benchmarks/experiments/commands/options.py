"""The options that all experiments share, and what they come to."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from benchmarks.experiments.experiment import Draw, Experiment, Plan
    from benchmarks.experiments.generators import Generator
    from benchmarks.experiments.problems import Problems
    from benchmarks.experiments.sources import SourceMaker

_OPTIONS = {
    "sampling.k": "--samples",
    "sampling.temperature": "--temperature",
    "sampling.top_p": "--top-p",
    "sampling.max_new_tokens": "--max-new-tokens",
    "sampling.seed": "--seed",
    "problem.limits.cpu_time": "--cpu-seconds",
    "limits.cpu_seconds": "--cpu-seconds",
    "model": "--model",
}
"""The options by the field of a request, or the key of a problem document, that each sets."""
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Fields are options of every command that `experiment_command` makes; what they mean is their help."""

    data: Annotated[
        Path | None, typer.Option(help="Folder with the problem sets. Default: THRESHER_DATA, the cache, the hub.")
    ] = None
    split: Annotated[str | None, typer.Option(help="A split of the set, or all. Default: the set's test split.")] = None
    problems: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None
    ids: Annotated[str | None, typer.Option(help="Only these problems, by id: 11,12 or 11-20.")] = None
    k: Annotated[str | None, typer.Option("--k", "-k", help="The ks of pass@k, with commas.")] = None
    samples: Annotated[int | None, typer.Option(min=1, help="Samples a problem, n. Default: the largest k.")] = None
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy. Default: the experiment's.")] = None
    top_p: Annotated[float | None, typer.Option(min=0, max=1, help="Default: the experiment's.")] = None
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of each sample. Default: 512.")] = None
    seed: Annotated[int | None, typer.Option(min=0, help="Of all random numbers. Default: 0.")] = None
    cpu_seconds: Annotated[float, typer.Option(min=0.01, help="CPU time limit of each test.")] = 3.0
    generator: Annotated[str, typer.Option(help="Where samples come from: server, reference, synthetic or replay.")] = (
        "server"
    )
    server: Annotated[
        str | None,
        typer.Option(help="Address of a running server (unix:/path, host:port). Default: one is started for the run."),
    ] = None
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token of a server on TCP.")] = None
    model: Annotated[str, typer.Option(help="A model's name, or the path of its file. Default: the server's.")] = ""
    arithmetic: Annotated[
        str, typer.Option(help="Of a server that is started here: int8, bfloat16, float32 or auto.")
    ] = "auto"
    recorded: Annotated[Path | None, typer.Option(help="The recording that --generator replay replays.")] = None
    recorded_arm: Annotated[str, typer.Option(help="Which arm of a recorded run of ours to replay.")] = ""
    recorded_imports: Annotated[
        str, typer.Option(help="Modules that recorded programs find imported, as in their own harness: math,typing.")
    ] = ""
    only_recorded: Annotated[
        bool, typer.Option("--only-recorded", help="Only the problems that the recording has.")
    ] = False
    p: Annotated[
        float | None, typer.Option("--p", help="Probability that a sample of --generator synthetic passes.")
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(help="The result: FILE.json, with FILE.md, FILE.html and FILE.jsonl, from which a run goes on."),
    ] = None
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Problems worked on at the same time. Default: 1 with a model.")
    ] = None

    def chosen_generator(self, *, stop: Sequence[str] = ()) -> "Generator":
        """Where samples come from; `stop` is where recorded completions are cut. Raises CannotRun."""
        from thresher.client import ProblemError

        from benchmarks.experiments.errors import CannotRun
        from benchmarks.experiments.generators import Generator, Kind
        from engine.cli._connection import read_token

        try:
            kind = Kind(self.generator)
        except ValueError:
            kinds = ", ".join(kind.value for kind in Kind)
            raise CannotRun(f"--generator: {self.generator!r} is none of {kinds}") from None
        if self.token_file is not None and self.server is None:
            raise CannotRun("--token-file goes with --server")
        if self.only_recorded and kind is not Kind.REPLAY:
            raise CannotRun("--only-recorded goes with --generator replay")
        try:
            token = read_token(self.token_file)
        except ProblemError as error:
            raise CannotRun(str(error)) from error
        return Generator(
            kind=kind,
            server=self.server,
            token=token,
            model=self.model,
            arithmetic=self.arithmetic,
            recorded=self.recorded,
            recorded_arm=self.recorded_arm,
            recorded_imports=tuple(self.recorded_imports.split(",")) if self.recorded_imports else (),
            p=self.p,
            stop=tuple(stop),
        )

    def chosen_problems(self, name: str, split: str, generator: "Generator") -> "Problems":
        """The problems of a set that the run is about; `split` is the experiment's own. Raises CannotRun."""
        from benchmarks.experiments.problems import load_problems
        from benchmarks.experiments.replay import Replay

        found = load_problems(name, self.data).of_split(self.split or split)
        if self.ids is not None:
            found = found.of_ids(self.ids)
        recording = generator.programs() if self.only_recorded else None
        if isinstance(recording, Replay):
            found = found.only(recording.has, "those that the recording has")
        return found if self.problems is None else found.first(self.problems)

    def chosen_ks(self, usual: Sequence[int], generator: "Generator", problems: "Problems") -> tuple[int, list[int]]:
        """The number of samples n, and the ks. Raises CannotRun for a k above n, and for one below 1.

        By default the references are drawn once, and a recording as often as it can be.
        """
        from benchmarks.experiments.errors import CannotRun
        from benchmarks.experiments.generators import Kind
        from benchmarks.experiments.replay import Replay

        ks = sorted(set(numbers(self.k, "--k"))) if self.k is not None else list(usual)
        n = self.samples
        if n is None:
            n = max(ks)
            if self.k is None and generator.kind is Kind.REFERENCE:
                n = 1
            elif self.k is None and generator.kind is Kind.REPLAY:
                recording = generator.programs()
                assert isinstance(recording, Replay)
                n = recording.fewest(record.id for record in problems.records) or 1
        if self.k is None:
            ks = [k for k in ks if k <= n] or [n]
        if max(ks) > n:
            raise CannotRun(
                f"--k: pass@{max(ks)} is not defined for {n} samples a problem; draw more (--samples {max(ks)}), or "
                "ask for a smaller k"
            )
        return n, ks

    def drawn(
        self, generator: "Generator", n: int, usual: Mapping[str, float], ending: Mapping[str, Any], **fixed: float
    ) -> "Draw":
        """How samples are drawn: as the options say, else as `usual` does; `fixed` is not left to the options.

        `ending` are other keys of `sampling`. Raises CannotRun: where no model draws there is nothing to sample from,
        and an option that says how is refused.
        """
        from benchmarks.experiments.experiment import Draw
        from benchmarks.experiments.generators import Kind

        options = {"temperature": self.temperature, "top_p": self.top_p, "max_new_tokens": self.max_new_tokens}
        given = {name: value for name, value in options.items() if value is not None} | fixed
        seed = self.seed or 0
        if generator.kind is Kind.SERVER:
            return Draw(samples=n, seed=seed, sampling={"max_new_tokens": 512, **usual, **given, **ending})
        if generator.kind is Kind.SYNTHETIC:
            only_for_models(generator, **{name: value for name, value in given.items() if name != "temperature"})
            return Draw(samples=n, seed=seed, sampling=given)
        only_for_models(generator, **given, seed=self.seed)
        return Draw(samples=n)

    def greedy(self, generator: "Generator", ending: Mapping[str, Any]) -> "Draw":
        """One greedy text. Raises CannotRun where no model draws."""
        from benchmarks.experiments.experiment import Draw

        only_for_models(generator, greedy=True)
        sampling = {"temperature": 0.0, "max_new_tokens": self.max_new_tokens or 512, **ending}
        return Draw(samples=1, seed=self.seed or 0, sampling=sampling)

    def limits(self) -> dict[str, Any]:
        """The limits of each test, as a problem document has them."""
        return {"cpu_seconds": self.cpu_seconds}

    def described_limits(self) -> dict[str, Any]:
        """For the protocol: all limits in force and which one decides."""
        from executor import Limits

        limits = Limits(cpu_seconds=self.cpu_seconds)
        return {
            "of": "each test",
            "decides": "CPU time; wall time only ends what does not use its CPU",
            "cpu_seconds": limits.cpu_seconds,
            "wall_seconds": limits.effective_wall_seconds,
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
            "processes": limits.processes,
        }

    def chosen_out(self, experiment: "Experiment", plan: "Plan", generator: "SourceMaker") -> Path:
        """The result's file: the one named, else one whose name holds the protocol's fingerprint."""
        from benchmarks.experiments.experiment import fingerprint

        if self.out is not None:
            return self.out
        short = fingerprint(plan.protocol(generator.asked()))[:12]
        return Path("thresher-bench") / f"{experiment.name}-{short}.json"

    def conduct(self, experiment: "Experiment", plan: "Plan", generator: "SourceMaker") -> dict[str, Any]:
        """Run the plan, write its files and say what came of it. Returns the result document."""
        from benchmarks.experiments.conduct import conduct

        def work(out: Path, command: list[str]) -> dict[str, Any]:
            return conduct(experiment, plan, generator, out, command, at_once=self.at_once)

        return self.conduct_by(work, experiment, plan, generator)

    def conduct_by(
        self,
        work: Callable[[Path, list[str]], dict[str, Any]],
        experiment: "Experiment",
        plan: "Plan",
        generator: "SourceMaker",
    ) -> dict[str, Any]:
        """The same where `work` runs the plan: given the result's file and the command, it returns the document."""
        from benchmarks.report.markdown import headline

        out = self.chosen_out(experiment, plan, generator)
        command = ["thresher", *sys.argv[1:]]
        try:
            result = work(out, command)
        except KeyboardInterrupt:
            ledger = out.with_suffix(".jsonl")
            typer.echo(f"interrupted; the same command goes on from {ledger}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        typer.echo(headline(experiment.page(result)))
        written = ", ".join(str(out.with_suffix(ending)) for ending in (".json", ".md", ".html"))
        typer.echo(f"written: {written}", err=True)
        return result


def only_for_models(generator: "Generator", **given: object) -> None:
    """Refuses options that say something to a model where there is none; None stands for one that was not given.

    Raises CannotRun.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.generators import Kind

    for name, value in given.items():
        if value is not None and generator.kind is not Kind.SERVER:
            option = name.replace("_", "-")
            raise CannotRun(f"--{option} has no meaning for --generator {generator.kind.value}; leave it out")


def experiment_command(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates `command(run, **own)` so that typer reads each field of RunOptions as an option, after its own.

    `without` names fields that the command has no use for, or an option of its own for. What can be foreseen to fail
    ends with exit code 2, a failure of server or sandbox with 3, both told in words.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        run_hints = get_type_hints(RunOptions, include_extras=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "run"
        ]
        shared = [
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=run_hints[one.name]
            )
            for one in fields(RunOptions)
            if one.name not in without
        ]

        @functools.wraps(command)
        def made(**values: Any) -> None:
            run = RunOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
            with_errors_told(lambda: command(run, **values))

        made.__signature__ = inspect.Signature([*own, *shared])  # pyright: ignore[reportAttributeAccessIssue]
        made.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
        return made

    return decorate


def with_errors_told(work: Callable[[], None]) -> None:
    """Runs a command; what it raises on purpose is told in words, with the exit code of its kind."""
    from thresher.client import ProblemError, ThresherError
    from thresher.client.errors import with_option

    from benchmarks.data.errors import DataError
    from benchmarks.experiments.errors import CannotRun, RunFailed
    from executor import ExecutorError

    try:
        work()
    except (CannotRun, DataError, ProblemError) as error:
        typer.echo(f"thresher bench: {with_option(str(error), _OPTIONS)}", err=True)
        raise typer.Exit(EXIT_USAGE) from error
    except ThresherError as error:
        told = str(error).replace(error.message, with_option(error.message, _OPTIONS))
        typer.echo(f"thresher bench: {told}", err=True)
        raise typer.Exit(EXIT_FAILED) from error
    except (RunFailed, ExecutorError) as error:
        typer.echo(f"thresher bench: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error


def numbers(text: str, option: str) -> list[int]:
    """The whole numbers above 0 in `1,10,100`. Raises CannotRun."""
    from benchmarks.experiments.errors import CannotRun

    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise CannotRun(f"{option}: {text!r} is not a list of whole numbers above 0, such as 1,10")
    return found
