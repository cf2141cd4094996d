"""A scripted human for the dialog of Austin, Odena et al. 2021 (arXiv 2108.07732): a sentence on what failed.

The paper's people read the task, its tests and the program, and typed a sentence; no transcripts were published. This
one is a list of rules that look at no more than a person sees who ran the tests: the verdict, the test that failed with
what was expected and what came, and the text of the problem. They never see a reference solution nor a hidden test, and
know nothing of the program but what it did. Same failure, same words.
"""

import ast
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.experiments.repair_failure import Failure, pointed_at

_NAME = re.compile(r"name '(\w+)' is not defined")
_MODULE = re.compile(r"No module named '([\w.]+)'")
_ARGUMENTS = re.compile(r"positional argument|unexpected keyword|required keyword")
_ERROR = re.compile(r"(\w+(?:Error|Exception|Iteration))\b")


def say(failure: Failure, text: str, before: Sequence[Failure]) -> str:
    """A sentence on a failure. `text` is the problem's; `before` are the failures of earlier rounds, oldest first."""
    call = pointed_at(failure.test)[0] or failure.test or "the first test"
    wanted = failure.expected
    if any((one.test, one.got, one.message) == (failure.test, failure.got, failure.message) for one in before):
        return (
            f"This makes the same mistake again: forget that program, read the task once more ({_one_line(text)}), and "
            f"find another way, so that {call} gives {wanted or 'what the test says'}."
        )
    match failure.verdict:
        case "compile_error":
            return f"That is not valid Python ({_one_line(failure.message)}): write the whole function again."
        case "time_limit":
            return f"It does not come to an end at {call}: look for a loop that never stops, or for a faster way."
        case "memory_limit" | "output_limit":
            return f"It needs far too much at {call}: find a way that keeps and prints less."
        case "runtime_error":
            return _on_an_error(failure, call, wanted)
        case _:
            return _on_a_value(failure, call, wanted)


def _on_an_error(failure: Failure, call: str, wanted: str) -> str:
    told = f"{failure.message}\n{failure.traceback}"
    if name := _NAME.search(told):
        return f"You use {name[1]} without defining or importing it."
    if module := _MODULE.search(told):
        return f"There is no {module[1]} here: use Python's standard library only."
    if _ARGUMENTS.search(told):
        return f"The function does not take the arguments that it is given: it is called as {call}."
    error = _ERROR.search(told)
    must = f", where it must give {wanted}" if wanted else ""
    return f"It ends with {_a(error[1]) if error else 'an error'} at {call}{must}."


def _on_a_value(failure: Failure, call: str, wanted: str) -> str:
    plain = f"{call} must give {wanted}, but your function gives {failure.got}."
    if not wanted:
        return f"This test fails: {failure.test or _one_line(failure.message)}."
    if not failure.got:
        return f"{call} must give {wanted}, and it does not."
    try:
        right, given = ast.literal_eval(wanted), ast.literal_eval(failure.got)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return plain
    if given is None:
        return f"{call} gives nothing: return {wanted}, and do not print it."
    return _on_two_values(right, given, call, wanted, failure.got) or plain


def _on_two_values(right: Any, given: Any, call: str, wanted: str, got: str) -> str:
    """What a person notices at two values that differ; empty where nothing stands out."""
    numbers = {type(right), type(given)} == {int, float} and right != given
    if type(right) is not type(given) and not numbers:
        kind, other = type(right).__name__, type(given).__name__
        same = isinstance(right, list | tuple) and isinstance(given, list | tuple) and list(right) == list(given)
        but = "with the same elements, not" if same else "not"
        return f"{call} must give {_a(kind)}, {wanted}, {but} {_a(other)}, {got}."
    match right, given:
        case bool(), bool():
            return f"{call} must be {wanted}: your condition is wrong for this input."
        case int() | float(), int() | float():
            if right == -given:
                return f"The sign is wrong: {call} must give {wanted}, not {got}."
            if abs(right - given) == 1:
                return f"It is off by one: {call} must give {wanted}, not {got}."
        case list() | tuple(), list() | tuple():
            left: Sequence[object] = list(right)
            came: Sequence[object] = list(given)
            if Counter(map(repr, left)) == Counter(map(repr, came)):
                return f"The elements are right and their order is wrong: {call} must give {wanted}, not {got}."
            if len(left) != len(came):
                much = "many" if len(came) > len(left) else "few"
                return f"There are too {much} elements: {call} must give {wanted}, not {got}."
        case str(), str():
            if right.lower() == given.lower():
                return f"Upper and lower case are wrong: {call} must give {wanted}, not {got}."
            if right.split() == given.split():
                return f"Only the spaces are wrong: {call} must give {wanted}, not {got}."
        case _:
            pass
    return ""


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiouAEIO" else f"a {kind}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
