"""Results and events as plain data for editors; docs/editors.md has the tables."""

from collections.abc import Iterable
from typing import Any

from thresher.client.progress import Attempt
from thresher.lsp.failures import Failure
from thresher.lsp.found import Found, Place
from thresher.lsp.solving import Ended


def candidate(tried: Attempt) -> dict[str, Any]:
    """One program; its verdict is empty until it has one."""
    return {
        "index": tried.index,
        "samples": tried.samples,
        "verdict": tried.verdict,
        "passed": tried.passed,
        "total": tried.total,
        "message": tried.message,
    }


def failure(one: Failure, uri: str) -> dict[str, Any]:
    """A test that programs failed."""
    return {"message": one.message, "programs": one.programs, "test": one.test.shown, **_place(one.test.place, uri)}


def ended(result: Ended, uri: str) -> dict[str, Any]:
    """How a solve ended."""
    return {
        "outcome": result.outcome,
        "message": result.message,
        "program": result.program if result.solved else None,
        "candidate": result.index,
        "candidates": [candidate(tried) for tried in result.tried],
        "failures": [failure(one, uri) for one in result.failures],
    }


def stopped(reason: str, tried: Iterable[Attempt]) -> dict[str, Any]:
    """The same for a solve that was ended early."""
    return {
        "outcome": "cancelled",
        "message": f"stopped: {reason}",
        "program": None,
        "candidate": None,
        "candidates": [candidate(one) for one in tried],
        "failures": [],
        "applied": False,
        "edit": None,
    }


def tests(found: Found, uri: str) -> dict[str, Any]:
    """How many tests decide, and which could not be used."""
    left_out = [{"name": one.name, "reason": one.reason, **_place(one.place, uri)} for one in found.left_out]
    return {"tests": len(found.tests), "leftOut": left_out}


def _place(place: Place, uri: str) -> dict[str, Any]:
    return {"uri": place.uri or uri, "line": place.first}
