"""Puts a problem document together from a file and from options."""

import sys
from pathlib import Path
from typing import Any

from thresher.client import ProblemError, parse_document


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
