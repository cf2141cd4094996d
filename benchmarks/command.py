"""`thresher bench`: what this machine reaches, the experiments of the field, and loads on a server."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.experiments.commands.apps import apps
from benchmarks.experiments.commands.contests import contests
from benchmarks.experiments.commands.curve import curve
from benchmarks.experiments.commands.edited import edited
from benchmarks.experiments.commands.ensemble import ensemble
from benchmarks.experiments.commands.give_up import give_up
from benchmarks.experiments.commands.humaneval import humaneval
from benchmarks.experiments.commands.mathqa import mathqa
from benchmarks.experiments.commands.mbpp import mbpp
from benchmarks.experiments.commands.overfit import overfit
from benchmarks.experiments.commands.prediction import prediction
from benchmarks.experiments.commands.prompt_tests import prompt_tests
from benchmarks.experiments.commands.repair import repair
from benchmarks.experiments.commands.report import report
from benchmarks.experiments.commands.selection import selection
from benchmarks.experiments.commands.sizes import sizes
from benchmarks.experiments.commands.sweep import sweep
from benchmarks.experiments.commands.ways import ways
from benchmarks.load.command import load
from benchmarks.load.sessions import trace
from benchmarks.plan.command import plan
from benchmarks.record import provenance, write

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run the experiments of the program-synthesis papers, and measure what this machine reaches.",
    epilog="What each experiment does and how to read its result: docs/experiments.md; loads: docs/load.md.",
)
_POSSIBLE = 1.05
"""A share of the ceiling above this is a fault of the measurement."""
_MBPP = (mbpp, edited, prompt_tests, ensemble)
_OTHER_SETS = (humaneval, apps, contests, mathqa, prediction)
_ANY_SET = (curve, sweep, sizes, ways, repair, give_up, overfit, selection)
for command in (*_MBPP, *_OTHER_SETS, *_ANY_SET, report, load, trace, plan):
    app.command()(command)


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    # Its own options say what they are: `thresher bench peers --help`.
    add_help_option=False,
)
def peers(context: typer.Context) -> None:
    """The work of `decode` through other people's engines, in turns with ours (docs/benchmarks.md)."""
    from benchmarks.peers.__main__ import main

    main(context.args)


@app.command()
def decode(
    model: Annotated[str, typer.Option(help="A model of `thresher models list`, or a path.")] = (
        "qwen2.5-coder-0.5b-instruct"
    ),
    arithmetic: Annotated[str, typer.Option(help="int8, bfloat16, float32, or auto for this machine's best.")] = "auto",
    k: Annotated[
        list[int] | None, typer.Option("--k", "-k", help="Samples at once; may be repeated. 1, 16, 64.")
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each sample.")] = 128,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also what results that no batch can change cost: the same with torch's.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Also say where a step's time goes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the result to this JSON file.")] = None,
) -> None:
    """Decode speed without the front: one prompt, k samples that part at once, T 0.8, top-p 0.95.

    Each line has the rates, and the time of the matrix products alone, ours and oneDNN's, measured in the same run: the
    shorter of the two is the ceiling. With --strict also what a step costs more (or, below 0, less) than with torch's
    kernels, which choose their order of adding by the number of rows.
    """
    from benchmarks.ceiling import ceilings
    from benchmarks.decode import decode as draw
    from benchmarks.decode import serve
    from benchmarks.stopwatch import Stopwatch
    from engine.runner.arithmetic import best_arithmetic

    chosen = best_arithmetic() if arithmetic == "auto" else arithmetic
    if chosen not in ("int8", "bfloat16", "float32"):
        raise typer.BadParameter(f"{arithmetic!r} is not int8, bfloat16, float32 or auto", param_hint="--arithmetic")
    if strict and chosen == "int8":
        raise typer.BadParameter("int8 is always strict; choose another one", param_hint="--strict")
    served = serve(model, chosen, strict=strict or None)
    lines: list[dict[str, Any]] = []
    counts = k or [1, 16, 64]
    for count in counts:
        draw(served, count, min(8, new_tokens), seed=1)
        line = draw(served, count, new_tokens, seed=1)
        line["products_ms"] = ceilings(served, count, count)
        line["share_of_ceiling"] = round(min(line["products_ms"].values()) / line["step_ms"], 3)
        line["prefill_products_ms"] = ceilings(served, len(served.prompt), 1)
        line["prefill_share_of_ceiling"] = round(min(line["prefill_products_ms"].values()) / line["prefill_ms"], 3)
        if profile:
            line["profile_ms"] = draw(served, count, min(33, new_tokens), seed=2, watch=Stopwatch())["profile_ms"]
        lines.append(line)
        typer.echo(json.dumps(line), err=True)
        if max(line["share_of_ceiling"], line["prefill_share_of_ceiling"]) > _POSSIBLE:
            typer.echo("thresher: faster than its own products: other work ran meanwhile; this line is void", err=True)
    load_seconds = served.load_seconds
    if strict:
        del served
        served = serve(model, chosen, strict=False)
        for line, count in zip(lines, counts, strict=True):
            draw(served, count, min(8, new_tokens), seed=1)
            other = draw(served, count, new_tokens, seed=1)
            line["not_strict"] = {name: other[name] for name in ("tokens_per_second", "step_ms", "prefill_ms")}
            line["cost_of_strict"] = round(line["step_ms"] / other["step_ms"] - 1, 3)
            typer.echo(json.dumps(line), err=True)
    result = {
        "experiment": "decode",
        "provenance": provenance(["thresher", *sys.argv[1:]]),
        "model": model,
        "arithmetic": chosen,
        "load_seconds": round(load_seconds, 2),
        "runs": lines,
    }
    if out is not None:
        write(out, result)
    typer.echo(json.dumps(result, indent=2))
