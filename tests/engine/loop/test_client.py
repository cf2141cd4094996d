"""Engines that die, hang up, or answer with nonsense: nobody waits for ever."""

import asyncio
import socket
import threading

import pytest

from engine.core.types import EndReason, Filters, Mode
from engine.loop.client import EngineClient, EngineDown, thread_starter
from engine.loop.messages import LENGTH, Completion, StepReport, Submit
from tests.support.scripted_engine import Script, serve_script


def submission() -> Submit:
    return Submit(
        solve=0,
        prompts=(Completion("long", part_of_program=False),),
        k=2,
        mode=Mode.INDEPENDENT,
        filters=(Filters(),),
        length_penalty=1.0,
        seed=1,
        max_new_tokens=None,
        stop=(),
        end_at_program=False,
        entry_point=None,
        prune=False,
        constraint=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=True,
        delta_seconds=None,
        client="",
        seconds_left=None,
        first_pass=False,
        judges=1,
    )


def script() -> Script:
    return Script({"long": {"z" * 400: 1.0}}, step_seconds=0.005)


async def until(condition: object, seconds: float = 30.0) -> None:
    assert callable(condition)
    for _ in range(int(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def test_a_fault_in_a_watcher_does_not_leave_solves_hanging() -> None:
    reports: list[StepReport] = []

    def watch(report: StepReport) -> None:
        reports.append(report)
        if len(reports) == 3:
            raise RuntimeError("scripted fault of a watcher")

    client = EngineClient(thread_starter(serve_script(script())), on_report=watch, on_change=lambda: None)
    await client.start()
    told: list[object] = []
    await client.submit(submission(), told.append)
    await until(lambda: None in told)
    await until(lambda: client.facts is not None and client.starts == 2)
    await client.close()


async def test_nonsense_from_the_engine_ends_its_solves() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(LENGTH.pack(3) + b"\xff\xff\xff")
        connection.recv(1)

    client = EngineClient(thread_starter(serve), on_report=lambda _: None, on_change=lambda: None)
    with pytest.raises(EngineDown):
        await client.start()
    await client.close()


async def test_closing_while_it_starts_wakes_whoever_waits() -> None:
    held = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        held.set()

    client = EngineClient(thread_starter(serve), on_report=lambda _: None, on_change=lambda: None)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(EngineDown):
        await starting
    assert held.is_set()


async def test_ending_a_solve_that_is_unknown_does_nothing() -> None:
    client = EngineClient(thread_starter(serve_script(script())), on_report=lambda _: None, on_change=lambda: None)
    await client.start()
    client.end(99, EndReason.CANCELLED)
    await client.close()


def test_an_engine_whose_front_was_killed_ends() -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve_script(script()), args=(theirs,), daemon=True)
    thread.start()
    ours.recv(1)
    # Closing with unread data in our buffer makes the other end see a reset connection.
    ours.close()
    thread.join(30)
    assert not thread.is_alive()
