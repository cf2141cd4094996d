"""What went wrong with a call, in words and in fields that a program can switch on."""

import re
from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

_TOKEN = "give the server's token: by THRESHER_TOKEN, its file by --token-file, or in Python by token="
_ADVICE_BY_REASON = {
    "NO_SERVER": "start one: `thresher serve` (in Python `local_server()`); or name one by --address, THRESHER_ADDRESS",
    "STARTING": "the server is loading its model; wait a moment",
    "DRAINING": "the server is shutting down; use another one or wait for its restart",
    "SANDBOX_UNAVAILABLE": "run `thresher doctor` on the server's machine",
    "QUEUE_FULL": "too many solves are waiting; try again, or use another server",
    "MODEL_NOT_FOUND": "`Client.models()` lists what this server has",
    "TOKEN_MISSING": _TOKEN,
    "TOKEN_WRONG": _TOKEN,
    "TOKEN_EXPIRED": "ask the server's operator for a new one (`thresher token add`)",
    "TOKEN_REVOKED": "ask the server's operator for a new one (`thresher token add`)",
    "SCOPE_MISSING": "ask the server's operator for a token with that scope (`thresher token add --scope`)",
    "QUOTA": "that is all that the server's operator allows this token",
    "PROMPT_TOO_LONG": "shorten the prompt or lower max_new_tokens",
}
_ADVICE_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: "is the server running, and is this its address? `thresher doctor` looks for it",
    grpc.StatusCode.UNAUTHENTICATED: _TOKEN,
    grpc.StatusCode.PERMISSION_DENIED: "this token has no right to that",
    grpc.StatusCode.DEADLINE_EXCEEDED: "allow more time",
}


class ThresherError(Exception):
    """A call failed.

    Attributes:
        code: the gRPC status.
        reason: the server's UPPER_SNAKE_CASE word for it; empty where it gave none.
        message: what happened, in one sentence.
        details: plain data, with the keys that apply: `violations` (list of {"field", "description"}),
            `retry_after_seconds` (float), `metadata` (str -> str), `resource` ({"type", "name"}).
        advice: what to do about it; empty where there is nothing to say.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        self.advice = _advice(code, reason, self.details) if advice is None else advice

    def __str__(self) -> str:
        name = f"{self.code.name}/{self.reason}" if self.reason else self.code.name
        return f"{name}: {self.message}" + (f" ({self.advice})" if self.advice else "")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server asks to be tried again."""
        return self.details.get("retry_after_seconds")


def no_server(message: str) -> ThresherError:
    """The error of a client that finds no server to ask."""
    return ThresherError(grpc.StatusCode.UNAVAILABLE, "NO_SERVER", message)


def no_summary() -> ThresherError:
    """The error of a stream that ends with OK and yet without its last event."""
    message = "the stream ended well but without a summary"
    return ThresherError(grpc.StatusCode.INTERNAL, "NO_SUMMARY", message, advice="the server breaks its contract")


def not_ready(target: str, timeout: float, status: str) -> ThresherError:
    """The error of a wait for a server that did not come up."""
    message = f"the server at {target} did not serve within {timeout:g} s ({status})"
    advice = "if it still loads a model, allow more; else look at its log"
    return ThresherError(grpc.StatusCode.DEADLINE_EXCEEDED, "NOT_READY", message, advice=advice)


def waiting_words(error: ThresherError) -> str:
    """What a client does that a server refused with STARTING: `waiting for the server to load qwen`."""
    model = error.details.get("metadata", {}).get("model")
    return f"waiting for the server to {f'load {model}' if model else 'start'}"


def from_rpc(error: grpc.RpcError) -> ThresherError:
    """Turns the error of a sync or async call into ours, with the details that the server attached to it."""
    # Both kinds of call carry these, but the base class that they share declares none of them.
    call: Any = error
    code: grpc.StatusCode = call.code()
    message: str = call.details() or code.name
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # Something between us and the server rewrote the status; its details belong to another error then.
        status = None
    reason = ""
    details: dict[str, Any] = {}
    for packed in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        resource = error_details_pb2.ResourceInfo()
        if packed.Unpack(info):
            reason = info.reason
            if info.metadata:
                details["metadata"] = dict(info.metadata)
        elif packed.Unpack(request):
            details["violations"] = [{"field": v.field, "description": v.description} for v in request.field_violations]
        elif packed.Unpack(retry):
            details["retry_after_seconds"] = retry.retry_delay.ToTimedelta().total_seconds()
        elif packed.Unpack(resource):
            details["resource"] = {"type": resource.resource_type, "name": resource.resource_name}
    return ThresherError(code, reason, message, details)


def with_option(message: str, options: Mapping[str, str]) -> str:
    """A refusal that begins with a field of the request, after the option of a command line that sets this field:
    `--k (spec.sampling.k): 0 is too small`. `options` are by field, without `spec.` and without indices."""
    place, colon, rest = message.partition(":")
    field = re.sub(r"^spec\.|\[\d+\]", "", place)
    while field and field not in options:
        field = field.rpartition(".")[0]
    return f"{options[field]} ({place}):{rest}" if colon and field else message


def _advice(code: grpc.StatusCode, reason: str, details: Mapping[str, Any]) -> str:
    advice = _ADVICE_BY_REASON.get(reason) or ("" if reason else _ADVICE_BY_CODE.get(code, ""))
    if "retry_after_seconds" in details:
        wait = f"try again in {details['retry_after_seconds']:.1f} s"
        advice = f"{advice}; {wait}" if advice else wait
    return advice
