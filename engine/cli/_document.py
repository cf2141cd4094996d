"""Puts a problem document together from a file and from options."""

import sys
from pathlib import Path
from typing import Any

from thresher.client import ProblemError, parse_document
from thresher.client.plain import enum_words
from thresher.v1 import problem_pb2

LANGUAGES = tuple(enum_words(problem_pb2.Language.DESCRIPTOR))
"""The words for languages, as problem files and --language take them."""
_ENDINGS = {
    ".py": "python",
    **dict.fromkeys((".cpp", ".cc", ".cxx", ".c++"), "cpp"),
    **dict.fromkeys((".js", ".mjs", ".cjs"), "javascript"),
}
_USUAL = "python"


def read_text(path: Path) -> str:
    """The text of a file; of standard input for `-`. Raises ProblemError where it cannot be read."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError("", f"cannot read {path}: {error}") from error


def read_document(path: Path) -> dict[str, Any]:
    """The document in a JSON or YAML file; a Python file stands for one snippet test."""
    text = read_text(path)
    if path.suffix == ".py":
        return {"tests": [text]}
    try:
        return parse_document(text, json_only=path.suffix == ".json")
    except ProblemError as error:
        raise ProblemError(error.field, f"{error.description} (in {path})") from error


def add_tests(document: dict[str, Any], tests: list[str]) -> None:
    """Adds snippet tests after those of the file."""
    present = document.setdefault("tests", [])
    if tests and isinstance(present, list):  # anything else is refused, with its name, where the document is read
        document["tests"] = [*present, *tests]


def override(document: dict[str, Any], section: str, **options: object) -> None:
    """Sets keys of a section (of the document itself for ""); an option that was not given (None) changes nothing."""
    given = {name: value for name, value in options.items() if value is not None}
    if not section:
        document.update(given)
    elif given and isinstance(document.setdefault(section, {}), dict):
        document[section] = {**document[section], **given}


def language_of(path: Path, document: dict[str, Any]) -> str:
    """The language of a program by its file's ending, else as the document says, else Python.

    Raises ProblemError where the two contradict each other, and for an ending that tells nothing.
    """
    said, ending = document.get("language"), path.suffix.lower()
    shown = _ENDINGS.get(ending)
    if shown is not None and said not in (None, shown):
        raise ProblemError("language", f"the problem file says {said}, and {path} looks like {shown}; give --language")
    if shown is None and said is None and ending:
        raise ProblemError("", f"{path}: the ending {ending} names no language; give --language {'|'.join(LANGUAGES)}")
    return shown or said or _USUAL
