"""What editors send with requests and commands of our own, and what they get; docs/editors.md has it as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from thresher.client import ThresherError
from thresher.lsp.solving import Settings

SOLVE = "thresher/solve"
CANDIDATE = "thresher/candidate"
EVENT = "thresher/event"
SOLVE_COMMAND = "thresher.solve"
CANCEL_COMMAND = "thresher.cancel"

_REQUEST_FAILED = -32803
"""LSPErrorCodes.RequestFailed."""
_START = "Start one in a terminal: thresher serve"


@dataclass(frozen=True, slots=True)
class SolveParams:
    """What is to be solved: the function at a line, counted from 0.

    `feedback` None: solved from the start; else a round, with these words. `apply`: edit the file when solved.
    """

    uri: str
    line: int
    feedback: str | None = None
    apply: bool = True
    token: str | int | None = None


@dataclass(frozen=True, slots=True)
class CandidateParams:
    """A candidate of an earlier solve."""

    solve: str
    index: int


def read_solve(given: Any) -> SolveParams:
    """Raises JsonRpcInvalidParams, which names the key."""
    params = _Params(given)
    feedback: str | None = params.take("feedback", str, None)
    return SolveParams(
        uri=params.section("textDocument").take("uri", str),
        line=params.section("position").take("line", int),
        feedback=feedback,
        apply=params.take("apply", bool, True),
        token=params.take("workDoneToken", str | int, None),
    )


def read_candidate(given: Any) -> CandidateParams:
    """Raises JsonRpcInvalidParams, which names the key."""
    params = _Params(given)
    return CandidateParams(params.take("id", str), params.take("candidate", int))


def read_settings(given: Any) -> tuple[Settings, bool]:
    """The settings among the initialization options, and whether the editor wants events.

    Raises JsonRpcInvalidParams, which names the key.
    """
    usual = Settings()
    if not given:  # an empty table of Lua comes as an empty list
        return usual, False
    params = _Params(given)
    settings = Settings(
        model=params.take("model", str, usual.model),
        k=params.take("k", int, usual.k),
        seconds=params.take("seconds", int | float, usual.seconds),
        inline_completion=params.take("inlineCompletion", bool, usual.inline_completion),
    )
    events: bool = params.take("events", bool, False)
    params.done()
    if settings.k < 1 or settings.seconds <= 0:
        raise JsonRpcInvalidParams("initializationOptions: k and seconds must be more than 0")
    return settings, events


def failed(message: str, reason: str) -> JsonRpcException:
    """The error of a request that cannot be done."""
    return JsonRpcException(message, _REQUEST_FAILED, {"reason": reason})


def failed_call(error: ThresherError) -> JsonRpcException:
    """The error of a call to the server, in words for a person at a keyboard."""
    reason = error.reason
    if reason == "NO_SERVER":
        message = f"Thresher: {error.message}. {_START}"
    elif error.code.name == "UNAVAILABLE" and not reason:
        message, reason = f"Thresher: the server does not answer. {_START}", "NO_SERVER"
    else:
        message = f"Thresher: {error.message}" + (f" ({error.advice})" if error.advice else "")
    return JsonRpcException(message, _REQUEST_FAILED, {"reason": reason, "code": error.code.name})


class _Params:
    """A mapping as JSON has it: a dict, or the named tuple that pygls makes of what it does not know."""

    def __init__(self, given: Any, name: str = "params") -> None:
        fields = given._asdict() if hasattr(given, "_asdict") else given
        if not isinstance(fields, Mapping):
            raise JsonRpcInvalidParams(f"{name}: an object is needed")
        self._left: dict[str, Any] = dict(fields)  # pyright: ignore[reportUnknownArgumentType]
        self._name = name

    def take(self, key: str, kind: Any, *default: Any) -> Any:
        """A value of that type; the default where it is absent or null."""
        value = self._left.pop(key, None)
        if value is None and default:
            return default[0]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise JsonRpcInvalidParams(f"{self._name}.{key}: {value!r} is not what is needed there")
        return value

    def section(self, key: str) -> "_Params":
        """The mapping under a key."""
        return _Params(self._left.pop(key, None), f"{self._name}.{key}")

    def done(self) -> None:
        """Refuses what is left."""
        for key in self._left:
            raise JsonRpcInvalidParams(f"{self._name}.{key}: unknown")
