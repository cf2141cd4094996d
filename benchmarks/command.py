"""`thresher bench`: what this machine reaches."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.record import provenance, write

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measure what this machine reaches.")


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]  # keeps `decode` a command of a group
    pass


@app.command()
def decode(
    model: Annotated[str, typer.Option(help="A model of `thresher models list`, or a path.")] = (
        "qwen2.5-coder-0.5b-instruct"
    ),
    arithmetic: Annotated[str, typer.Option(help="int8, bfloat16, float32, or auto for this machine's best.")] = "auto",
    k: Annotated[list[int] | None, typer.Option("-k", help="Samples at once; may be repeated. 1, 16 and 64.")] = None,
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
