"""Thresher's Python client: a solve in one call, `Client` and `AsyncClient`, problem files, and the local server.

    from thresher.client import solve

    result = solve("Write add(a, b).", ["assert add(1, 2) == 3"])
    print(result.code)

docs/client.md has more examples. Needs grpcio, protobuf and PyYAML only. Names are loaded when they are used, so that
`thresher.client.runtime` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thresher.client.account import Cost
    from thresher.client.aio import AsyncClient, AsyncSolveStream
    from thresher.client.dialogue import Turn
    from thresher.client.document import Problem
    from thresher.client.errors import ThresherError
    from thresher.client.execute_aio import AsyncExecuteStream
    from thresher.client.execute_sync import ExecuteStream
    from thresher.client.local import LocalServer, local_server
    from thresher.client.plain import to_plain
    from thresher.client.problems import ProblemError, load_document, parse_document, program, solve_spec
    from thresher.client.progress import Attempt
    from thresher.client.refine_aio import AsyncRefineSession, AsyncTurnStream
    from thresher.client.refine_sync import RefineSession, TurnStream
    from thresher.client.result import Result
    from thresher.client.sync import Client, SolveStream
    from thresher.client.tls import Tls
    from thresher.client.whole import execute, execute_async, refine, refine_async, solve, solve_async

__all__ = [
    "AsyncClient",
    "AsyncExecuteStream",
    "AsyncRefineSession",
    "AsyncSolveStream",
    "AsyncTurnStream",
    "Attempt",
    "Client",
    "Cost",
    "ExecuteStream",
    "LocalServer",
    "Problem",
    "ProblemError",
    "RefineSession",
    "Result",
    "SolveStream",
    "ThresherError",
    "Tls",
    "Turn",
    "TurnStream",
    "execute",
    "execute_async",
    "load_document",
    "local_server",
    "parse_document",
    "program",
    "refine",
    "refine_async",
    "solve",
    "solve_async",
    "solve_spec",
    "to_plain",
]

_HOME = {
    "AsyncClient": "aio",
    "AsyncExecuteStream": "execute_aio",
    "AsyncRefineSession": "refine_aio",
    "AsyncSolveStream": "aio",
    "AsyncTurnStream": "refine_aio",
    "Attempt": "progress",
    "Client": "sync",
    "Cost": "account",
    "ExecuteStream": "execute_sync",
    "LocalServer": "local",
    "Problem": "document",
    "ProblemError": "problems",
    "RefineSession": "refine_sync",
    "Result": "result",
    "SolveStream": "sync",
    "ThresherError": "errors",
    "Tls": "tls",
    "Turn": "dialogue",
    "TurnStream": "refine_sync",
    "execute": "whole",
    "execute_async": "whole",
    "load_document": "problems",
    "local_server": "local",
    "parse_document": "problems",
    "program": "problems",
    "refine": "whole",
    "refine_async": "whole",
    "solve": "whole",
    "solve_async": "whole",
    "solve_spec": "problems",
    "to_plain": "plain",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
