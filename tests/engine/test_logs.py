"""What a log line carries, and what it never does."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from engine.config import LogFormat, LogLevel
from engine.logs import WITHHELD, bind_call, configure_logs, get_logger

SECRET = "def s3cret(): return 42"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs(LogLevel.INFO, LogFormat.JSON, stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


Lines = Callable[[], list[dict[str, Any]]]


@pytest.mark.parametrize("key", sorted(WITHHELD))
def test_programs_and_prompts_are_withheld_at_info(lines: Lines, key: str) -> None:
    get_logger("engine.x").info("judged", **{key: SECRET})
    get_logger("engine.x").error("failed", **{key: [SECRET]})
    for line in lines():
        assert "s3cret" not in json.dumps(line)
        assert line[key].startswith("<withheld")


@pytest.mark.parametrize("level", [LogLevel.DEBUG, LogLevel.WARNING])
def test_the_level_is_that_of_our_lines_and_grpc_s_debug_lines_stay_out(lines: Lines, level: LogLevel) -> None:
    stream = io.StringIO()
    configure_logs(level, LogFormat.JSON, stream)
    for name in ("engine.x", "grpc._cython.cygrpc", "grpc", "asyncio"):
        logging.getLogger(name).debug("detail")
        logging.getLogger(name).warning("warning")
    told = [(line["logger"], line["event"]) for line in map(json.loads, stream.getvalue().splitlines())]
    ours = [("engine.x", "detail")] if level is LogLevel.DEBUG else []
    theirs = [(name, "warning") for name in ("engine.x", "grpc._cython.cygrpc", "grpc", "asyncio")]
    assert sorted(told) == sorted(ours + theirs)


def test_tracebacks_show_no_locals(lines: Lines) -> None:
    def fail(program: str) -> None:
        raise RuntimeError("went wrong")

    try:
        fail(SECRET)
    except RuntimeError:
        get_logger("engine.x").exception("failed")
    (line,) = lines()
    assert "s3cret" not in json.dumps(line)
    assert line["exception"][0]["exc_type"] == "RuntimeError"
    assert line["exception"][0]["frames"][-1]["name"] == "fail"


def test_console_tracebacks_show_no_locals() -> None:
    stream = io.StringIO()
    configure_logs(LogLevel.INFO, LogFormat.CONSOLE, stream)
    try:
        program = SECRET
        raise RuntimeError("went wrong")
    except RuntimeError:
        get_logger("engine.x").exception("failed", code=program)
    assert "went wrong" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


async def test_lines_carry_the_ids_of_their_own_call(lines: Lines) -> None:
    async def call(number: int) -> None:
        bind_call(request_id=f"r{number}", problem_id="p" if number else "")
        await asyncio.sleep(0)
        get_logger("engine.x").info("done", number=number)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(call(number))
    get_logger("engine.x").info("outside")
    found = lines()
    assert [line.get("request_id") for line in found] == ["r0", "r1", "r2", None]
    assert "problem_id" not in found[0]
    assert found[1]["problem_id"] == "p"


def test_lines_of_libraries_look_the_same(lines: Lines) -> None:
    logging.getLogger("some.library").warning("careful: %s", "x")
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("careful: x", "warning", "some.library")


def test_levels(lines: Lines) -> None:
    get_logger("engine.x").debug("hidden", code=SECRET)
    get_logger("engine.x").info("shown")
    assert [line["event"] for line in lines()] == ["shown"]
