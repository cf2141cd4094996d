"""Thresher's Python client: `Client` and `AsyncClient`, problem files, and where the local server is.

    from thresher.client import Client, solve_spec

    with Client() as client:
        for event in client.solve(solve_spec({"prompt": "Write add(a, b).", "tests": ["assert add(1, 2) == 3"]})):
            ...

Needs grpcio and protobuf only. Names are loaded when they are used, so that `thresher.client.runtime` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thresher.client.aio import AsyncClient, AsyncSolveStream
    from thresher.client.document import Problem
    from thresher.client.errors import ThresherError
    from thresher.client.execute_aio import AsyncExecuteStream
    from thresher.client.execute_sync import ExecuteStream
    from thresher.client.plain import to_plain
    from thresher.client.problems import ProblemError, load_document, parse_document, program, solve_spec
    from thresher.client.sync import Client, SolveStream
    from thresher.client.tls import Tls

__all__ = [
    "AsyncClient",
    "AsyncExecuteStream",
    "AsyncSolveStream",
    "Client",
    "ExecuteStream",
    "Problem",
    "ProblemError",
    "SolveStream",
    "ThresherError",
    "Tls",
    "load_document",
    "parse_document",
    "program",
    "solve_spec",
    "to_plain",
]

_HOME = {
    "AsyncClient": "aio",
    "AsyncExecuteStream": "execute_aio",
    "AsyncSolveStream": "aio",
    "Client": "sync",
    "ExecuteStream": "execute_sync",
    "Problem": "document",
    "ProblemError": "problems",
    "SolveStream": "sync",
    "ThresherError": "errors",
    "Tls": "tls",
    "load_document": "problems",
    "parse_document": "problems",
    "program": "problems",
    "solve_spec": "problems",
    "to_plain": "plain",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
