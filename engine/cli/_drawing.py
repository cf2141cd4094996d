"""The options of `thresher solve` that say how to draw, put into a problem document."""

from pathlib import Path
from typing import Any

from thresher.client import ProblemError

from engine.cli._document import override, read_document, read_text

_DOCUMENTS = (".json", ".yaml", ".yml")
_CONSTRAINTS = ("regex", "ebnf", "json_schema")
_TEMPERATURES = ("temperature", "temperatures")
_WITHOUT_EFFECT = {
    "independent": ("distinct_programs", "length_penalty"),
    "distinct": ("greedy_first", "length_penalty"),
    "beam": (*_TEMPERATURES, "top_p", "top_k", "min_p", "seed", "greedy_first", "distinct_programs"),
}
_OPTIONS = {
    "problem.chat": "--prompt",
    "problem.tests": "--test",
    "problem.entry_point": "--entry-point",
    "problem.variants": "--variant",
    "sampling.mode": "--mode",
    "sampling.k": "--k",
    "sampling.temperature": "--temperature",
    "sampling.temperatures": "--temperatures",
    "sampling.top_p": "--top-p",
    "sampling.distinct_programs": "--distinct-programs",
    "sampling.length_penalty": "--length-penalty",
    "sampling.prune": "--prune",
    "sampling.regex": "--regex",
    "sampling.ebnf": "--ebnf",
    "sampling.json_schema": "--json-schema",
    "sampling.seed": "--seed",
    "sampling.max_new_tokens": "--max-new-tokens",
    "sampling.width": "--width",
    "return_policy": "--policy",
    "policy": "--policy",
    "model": "--model",
    "priority": "--priority",
    "budget.wall_time": "--timeout",
    "budget.wall_seconds": "--timeout",
    "budget.rows": "--max-rows",
    "budget.generated_tokens": "--max-tokens",
    "budget.executions": "--max-executions",
    "cascade.prior_attempts": "--attempt",
    "cascade.attempts_in_prompt": "--attempts-in-prompt",
}
"""The options of `thresher solve` by the field of a SolveSpec, or the key of a problem document, that each sets."""


def options_beside(file: Path | None) -> dict[str, str]:
    """The option that sets a field, for messages. What a problem file holds itself is not named by an option."""
    return {field: option for field, option in _OPTIONS.items() if file is None or not field.startswith("problem.")}


def set_mode(document: dict[str, Any], mode: str | None) -> None:
    """How to draw; what the file has and that mode leaves without effect goes."""
    if mode is not None:
        _instead(document, _WITHOUT_EFFECT.get(mode, ()), mode=mode)


def set_temperatures(document: dict[str, Any], temperature: float | None, several: str | None) -> None:
    """`--temperature` and `--temperatures`; either takes the place of both in the file. Raises ProblemError."""
    if several is not None and temperature is not None:
        raise ProblemError("", "give either --temperature or --temperatures")
    if several is not None:
        try:
            numbers = [float(word) for word in several.split(",")]
        except ValueError as error:
            raise ProblemError(
                "", f"--temperatures: {several!r} is no list of numbers; write it like 0.2,0.8"
            ) from error
        _instead(document, _TEMPERATURES, temperatures=numbers)
    elif temperature is not None:
        _instead(document, _TEMPERATURES, temperature=temperature)


def set_constraint(document: dict[str, Any], regex: str | None, ebnf: Path | None, json_schema: Path | None) -> None:
    """What every text must match, instead of what the file says. Raises ProblemError."""
    given: dict[str, Any] = {
        "regex": regex,
        "ebnf": None if ebnf is None else read_text(ebnf),
        "json_schema": None if json_schema is None else read_text(json_schema),
    }
    given = {kind: text for kind, text in given.items() if text is not None}
    if len(given) > 1:
        raise ProblemError("", "give only one of --regex, --ebnf and --json-schema")
    if given:
        _instead(document, _CONSTRAINTS, **given)


def add_attempts(document: dict[str, Any], files: list[Path]) -> None:
    """Programs of others, after those of the file."""
    if not files:
        return
    cascade = document.setdefault("cascade", {})
    present = cascade.setdefault("prior_attempts", []) if isinstance(cascade, dict) else None
    if isinstance(present, list):  # anything else is refused, with its name, where the document is read
        present += [read_text(file) for file in files]


def add_variants(document: dict[str, Any], files: list[Path]) -> None:
    """More prompts after those of the file: problem documents with a prompt alone, or tasks in words."""
    found = [read_document(file) if file.suffix in _DOCUMENTS else read_text(file) for file in files]
    present = document.setdefault("variants", []) if found else None
    if isinstance(present, list):  # anything else is refused, with its name, where the document is read
        document["variants"] = [*present, *found]


def open_end(document: dict[str, Any], k: int | None) -> None:
    """As many samples as the budget pays for, whatever k the file has. Raises ProblemError where there is no budget."""
    if k is not None:
        raise ProblemError("", "give either --k or --open-end")
    if not document.get("budget"):
        raise ProblemError(
            "", "--open-end needs a budget; give --timeout, --max-rows, --max-tokens or --max-executions"
        )
    sampling = document.get("sampling")
    if isinstance(sampling, dict):
        document["sampling"] = {name: value for name, value in sampling.items() if name != "k"}


def _instead(document: dict[str, Any], names: tuple[str, ...], **options: object) -> None:
    sampling = document.get("sampling")
    if isinstance(sampling, dict):
        document["sampling"] = {name: value for name, value in sampling.items() if name not in names}
    override(document, "sampling", **options)
