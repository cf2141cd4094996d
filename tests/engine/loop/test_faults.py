"""A fault of the GPU ends the engine's process; the front lives, tells its solves, and starts another."""

import asyncio
import socket
import subprocess
import sys

import torch

from engine.core.distribution import Distribution
from engine.core.types import CoreEvent, Filters, Mode, SolveEnded, Step
from engine.loop.client import EngineClient, thread_starter
from engine.loop.messages import Completion, Submit
from tests.support.scripted_engine import Script, serve_script

FAULT = "CUDA error: an illegal memory access was encountered"


class FaultyScript(Script):
    """Its third step meets a fault, once."""

    faults = 0

    def run(self, step: Step) -> list[list[Distribution]]:
        if self.steps == 2 and not self.faults:
            self.faults += 1
            raise torch.AcceleratorError(FAULT)
        return super().run(step)


def submission() -> Submit:
    return Submit(
        solve=0,
        prompts=(Completion("long", part_of_program=False),),
        k=2,
        mode=Mode.INDEPENDENT,
        filters=(Filters(),),
        length_penalty=1.0,
        seed=1,
        max_new_tokens=8,
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


async def test_the_front_outlives_a_fault_in_a_step() -> None:
    script = FaultyScript({"long": {"z" * 400: 1.0}})
    changed = asyncio.Event()
    client = EngineClient(thread_starter(serve_script(script)), on_report=lambda _: None, on_change=changed.set)
    await client.start()
    try:
        told: list[list[CoreEvent] | None] = []
        gone = asyncio.Event()

        def sink(events: list[CoreEvent] | None) -> None:
            told.append(events)
            if events is None or any(isinstance(event, SolveEnded) for event in events):
                gone.set()

        await client.submit(submission(), sink)
        await asyncio.wait_for(gone.wait(), 20)
        assert told[-1] is None, "the solve of the engine that has died"
        while client.facts is None:
            changed.clear()
            await asyncio.wait_for(changed.wait(), 20)
        assert (client.starts, script.faults) == (2, 1)
        told.clear()
        gone.clear()
        await client.submit(submission(), sink)
        await asyncio.wait_for(gone.wait(), 20)
        assert told[-1] is not None
        assert isinstance(told[-1][-1], SolveEnded)
    finally:
        await client.close()


CHILD = """
import atexit, sys, threading, time
import torch
from engine.loop import process

def serve(connection, config):
    # What frees memory on a GPU after a fault may never come back.
    atexit.register(time.sleep, 1000)
    threading.Thread(target=time.sleep, args=(1000,)).start()
    raise torch.AcceleratorError(sys.argv[3])

process.serve = serve
process.msgspec.json.decode = lambda text, type: None
sys.exit(process.main())
"""


def test_the_process_leaves_at_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(theirs.fileno()), "{}", FAULT],
            capture_output=True,
            text=True,
            pass_fds=(theirs.fileno(),),
            timeout=120,
        )
    assert done.returncode == 1
    assert FAULT in done.stderr, "the log says why"
