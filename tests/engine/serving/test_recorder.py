"""The flight recorder of a server: what it keeps, what callers see of it, that it is bounded, and the page of it."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from pydantic import ByteSize
from thresher.client import AsyncClient, ThresherError
from thresher.v1 import problem_pb2, solve_pb2

from engine.cli._recording import Recorded, read_recording
from engine.cli._replay import page_of, picture_of
from engine.config_base import ConfigError
from engine.config_recorder import RecorderSettings
from engine.serving.recorder import Recorder, Recording
from engine.serving.stopping import Stopping
from engine.solving.events import Accepted, BranchDelta, SolveEvent
from engine.solving.flight import DecisionKind
from engine.solving.spec import CompletionPrompt, SolveSpec
from tests.support.event_order import EventOrderChecker
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.served import serving, until

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROGRAMS = {
    "hard": {f"def f(x):\n    return x + {n}  # FAIL\n": 3.0 for n in range(12)}
    | {"def f(x):\n    return 1  # PASS\n": 1},
    "hopeless": {f"def f(x):\n    return {n} * '{'x' * 40}'  # FAIL\n": 1.0 for n in range(40)},
    "endless": {f"x = '{'z' * 2000}'\n": 1.0, f"y = '{'z' * 2000}'\n": 1.0},
}


def asked(name: str, *, k: int = 24, **more: Any) -> solve_pb2.SolveSpec:
    problem = problem_pb2.Problem(
        problem_id="p/1",
        completion=problem_pb2.CompletionPrompt(text=name),
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f(1) == 1"))],
    )
    sampling = solve_pb2.SamplingParams(k=k, seed=3, max_new_tokens=60)
    return solve_pb2.SolveSpec(problem=problem, sampling=sampling, **more)


@asynccontextmanager
async def server(
    folder: Path | None, *, pages: int = 4000, step: float = 0.0, **settings: int
) -> AsyncGenerator[AsyncClient]:
    """A front, a solver and a scheduler, with a client; what it has recorded is there once it has ended."""
    script = Script(PROGRAMS, pages=pages, step_seconds=step)
    solver: Any = scripted_solver(script, FakeExecutor(0.002), rows=16, waiting=8)
    await solver.start()
    recorder = {"folder": folder, **settings}
    try:
        async with serving(solver, recorder=recorder) as served, AsyncClient(f"unix:{served.folder}/s") as client:
            yield client
            await until(lambda: not solver.load().solves_running and not solver.load().solves_waiting)
    finally:
        await solver.close()


def files(folder: Path) -> list[Path]:
    """What is in the folder."""
    return sorted(folder.iterdir())


def recordings(folder: Path) -> list[Recorded]:
    """All of them, the oldest first."""
    return [read_recording(path) for path in files(folder)]


def kinds(recorded: Recorded) -> list[str]:
    return [decision["kind"] for decision in recorded.decisions]


async def seen(client: AsyncClient, spec: solve_pb2.SolveSpec) -> list[solve_pb2.SolveEvent]:
    """The events of a solve, which keep the contract."""
    checker = EventOrderChecker(spec)
    events: list[solve_pb2.SolveEvent] = []
    async for event in client.solve(spec, timeout=60):
        checker.see(event)
        events.append(event)
    return events


async def test_a_recording_has_all_events_and_the_decisions_with_their_reasons(tmp_path: Path) -> None:
    folder = tmp_path / "flight"
    async with server(folder) as client:
        told = await seen(client, asked("hard"))
    assert {event.WhichOneof("event") for event in told}.isdisjoint({"branch_started", "branch_delta", "test_finished"})
    (recorded,) = recordings(folder)
    assert recorded.problem == {"id": "p/1", "tests": 1, "k": 24} and recorded.left_out == 0
    assert {"branch_started", "branch_ended", "test_finished"} <= {one.WhichOneof("event") for one in recorded.events}
    assert recorded.events[-1].summary.outcome == told[-1].summary.outcome
    assert all(one.candidate_judged.candidate.code for one in recorded.events if one.HasField("candidate_judged"))
    assert kinds(recorded)[0] == "admitted" and "ended" in kinds(recorded)
    widths = [one for one in recorded.decisions if one["kind"] == "width"]
    assert widths and all(one["width"] > 0 and "passes with a chance of" in one["reason"] for one in widths)
    moments = [one["seconds"] for one in recorded.decisions]
    assert moments == sorted(moments)


async def test_what_a_caller_asks_for_it_gets_with_a_recorder_as_without(tmp_path: Path) -> None:
    spec = asked("hard", events=solve_pb2.EventOptions(branches=True, failing_code=True))
    kept = []
    for folder in (tmp_path / "flight", None):
        async with server(folder) as client:
            events = await seen(client, spec)
        # Which of the late ones still run when the first one passes is a matter of time.
        kept.append({event.WhichOneof("event") for event in events} - {"samples_joined"})
        assert all(one.candidate_judged.candidate.code for one in events if one.HasField("candidate_judged"))
    assert kept[0] == kept[1]


async def test_branches_that_lose_their_pages_are_in_the_decisions(tmp_path: Path) -> None:
    async with server(tmp_path, pages=24) as client:
        events = await seen(client, asked("hopeless"))
    assert events[-1].HasField("summary")
    (recorded,) = recordings(tmp_path)
    started = {one.branch_started.branch for one in recorded.events if one.HasField("branch_started")}
    back = [one for one in recorded.decisions if one["kind"] == DecisionKind.SET_BACK]
    again = [one for one in recorded.decisions if one["kind"] == DecisionKind.REDRAWN]
    assert back and {one["branch"] for one in back} <= started
    assert {one["branch"] for one in again} <= {one["branch"] for one in back}


async def test_a_solve_whose_caller_leaves_is_recorded_up_to_there(tmp_path: Path) -> None:
    async with server(tmp_path, step=0.1) as client, client.solve(asked("endless"), timeout=60) as stream:
        async for event in stream:
            if event.HasField("accepted"):
                break
    (recorded,) = recordings(tmp_path)
    assert recorded.events[0].HasField("accepted") and not recorded.events[-1].HasField("summary")


async def test_it_keeps_the_last_solves_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "flight"
    async with server(folder, solves=2) as client:
        for number in range(4):
            await seen(client, asked("hard", request_id=f"r/{number}"))
        with pytest.raises(ThresherError):
            await seen(client, asked("hard", k=100_000))
    names = [path.name for path in files(folder)]
    assert [name.partition("-")[2] for name in names] == ["r_2.jsonl", "r_3.jsonl"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(folder)} == {0o600}


async def test_one_solve_cannot_take_all_the_room(tmp_path: Path) -> None:
    async with server(tmp_path, max_bytes=1 << 16) as client:
        for number in range(2):
            await seen(client, asked("hopeless", k=60, request_id=f"r{number}"))
    for path in files(tmp_path):
        recorded = read_recording(path)
        assert recorded.left_out > 0 and recorded.events[-1].HasField("summary")
        longest = max(len(line) for line in path.read_bytes().splitlines())
        assert path.stat().st_size < (1 << 14) + 3 * longest


async def test_many_solves_at_once_hold_no_more_than_the_room_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in memory until each has ended and the disk has taken it."""
    spec = SolveSpec(request_id="r", prompt=CompletionPrompt("p", part_of_program=False), tests=())
    settings = RecorderSettings(folder=tmp_path, max_bytes=ByteSize(1 << 16))
    recorder, gate, held = Recorder(settings, tmp_path), asyncio.Event(), list[int]()
    monkeypatch.setattr(recorder, "_write", lambda recording: held.append(len(recording.text())))  # type: ignore

    async def told(_: SolveSpec, *, deadline: float | None, cut: Any) -> AsyncGenerator[SolveEvent]:
        yield SolveEvent(1, 0.0, Accepted(request_id="r", model="m", queue_depth=0, prompt_tokens=1, seed=1))
        for number in range(100):
            yield SolveEvent(2 + number, 0.0, BranchDelta(branch=0, text="x" * 1000, tokens=1))
        await gate.wait()

    async def recorded() -> None:
        async for _ in recorder.solve(SimpleNamespace(solve=told), spec, deadline=None):  # type: ignore[arg-type]
            pass

    for solves in (12, 4):  # what was written makes room again
        held.clear()
        gate.clear()
        running = [asyncio.create_task(recorded()) for _ in range(solves)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*running)
        await recorder.close()
        assert len(held) == solves and (1 << 15) < sum(held) < (1 << 16) + solves * 2000


async def test_a_full_disk_ends_no_solve_and_does_not_fill_with_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, *how: Any, **more: Any) -> Any:
        os.close(handle)
        return open("/dev/full", *how, **more)

    async with server(tmp_path) as client:
        monkeypatch.setattr("engine.serving.recorder.os.fdopen", full)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                assert (await seen(client, asked("hard")))[-1].HasField("summary")
            await until(lambda: sum(line["event"] == "a recording was not written" for line in logs) == 3)
    assert not files(tmp_path)


@pytest.mark.parametrize("solves", [1, 3])
async def test_a_disk_that_hangs_holds_up_no_end_and_is_told(
    solves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of the server nor that of its process; the answers do not wait for it at all."""
    free, hanging = threading.Event(), list[Path]()

    def hang(self: Recorder, recording: Recording) -> None:
        hanging.append(tmp_path / recording.name)
        free.wait()

    monkeypatch.setattr(Recorder, "_write", hang)
    monkeypatch.setattr("engine.serving.recorder._LONGEST_CLOSE", 0.2)
    tasks = len(asyncio.all_tasks())
    try:
        with structlog.testing.capture_logs() as logs:
            async with asyncio.timeout(30), server(tmp_path) as client:
                for _ in range(solves):
                    assert (await seen(client, asked("hard")))[-1].HasField("summary")
        assert len(hanging) == 1, "the others wait for their turn, and hold no thread"
        (told,) = [line for line in logs if line["event"].startswith("recordings are lost")]
        assert (told["file"], told["recordings"]) == (str(hanging[0]), solves)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "recorder")
    finally:
        free.set()


async def test_a_server_that_stops_waits_for_a_slow_disk_beyond_what_grpc_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is free again when the solver closes, which comes after gRPC's end."""
    free, write = threading.Event(), Recorder._write  # pyright: ignore[reportPrivateUsage]

    def slow(self: Recorder, recording: Recording) -> None:
        free.wait()
        write(self, recording)

    monkeypatch.setattr(Recorder, "_write", slow)
    monkeypatch.setattr("engine.serving.stopping._GRPC_SECONDS", 10.0)
    solver: Any = scripted_solver(Script(PROGRAMS, pages=4000), FakeExecutor(0.002), rows=16, waiting=8)
    await solver.start()
    close = solver.close

    async def closing() -> None:
        free.set()
        await close()

    monkeypatch.setattr(solver, "close", closing)
    try:
        async with serving(solver, recorder={"folder": tmp_path}) as served:
            async with AsyncClient(f"unix:{served.folder}/s") as client:
                assert (await seen(client, asked("hard", k=1)))[-1].HasField("summary")
            stopping = Stopping(served.front, solver)
            await stopping.close()
            assert stopping.clean and not (served.folder / "thresher" / "server.json").exists()
    finally:
        free.set()
    assert [recorded.events[-1].HasField("summary") for recorded in recordings(tmp_path)] == [True]


async def test_a_disk_that_comes_back_after_the_wait_gets_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.serving.recorder._LONGEST_CLOSE", 0.1)
    spec = SolveSpec(request_id="r", prompt=CompletionPrompt("p", part_of_program=False), tests=())
    recorder, free = Recorder(RecorderSettings(folder=tmp_path), tmp_path), threading.Event()
    opened: Any = os.open
    others = threading.enumerate()  # one of a test before may be at its end

    def hang(*asked: Any) -> int:
        free.wait()
        return opened(*asked)

    async def told(_: SolveSpec, *, deadline: float | None, cut: Any) -> AsyncGenerator[SolveEvent]:
        yield SolveEvent(1, 0.0, Accepted(request_id="r", model="m", queue_depth=0, prompt_tokens=1, seed=1))

    try:
        with monkeypatch.context() as patched:
            patched.setattr("engine.serving.recorder.os.open", hang)
            async for _ in recorder.solve(SimpleNamespace(solve=told), spec, deadline=None):  # type: ignore[arg-type]
                pass
            await recorder.close()
            (writer,) = [one for one in threading.enumerate() if one.name == "recorder" and one not in others]
            free.set()
            await asyncio.to_thread(writer.join)
    finally:
        free.set()
    (recorded,) = recordings(tmp_path)
    assert [event.WhichOneof("event") for event in recorded.events] == ["accepted"]


async def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "2026-11-results.jsonl").write_text("mine")
    async with server(tmp_path, solves=1) as client:
        for _ in range(2):
            await seen(client, asked("hard"))
    assert len(files(tmp_path)) == 2 and (tmp_path / "2026-11-results.jsonl").read_text() == "mine"


async def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with server(None) as client:
        await seen(client, asked("hard"))
    assert not files(tmp_path)


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"recorder\.folder"):
        async with server(tmp_path / "file" / "flight"):
            pass


async def test_the_page_knows_the_decisions(tmp_path: Path) -> None:
    async with server(tmp_path) as client:
        await seen(client, asked("hard"))
    (recorded,) = recordings(tmp_path)
    picture = picture_of(recorded)
    assert [one.kind for one in picture.decisions] == kinds(recorded)
    page = page_of(picture)
    assert json.dumps(picture.decisions[0].reason) in page


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
async def test_a_browser_draws_the_decisions_with_their_reasons(tmp_path: Path) -> None:
    async with server(tmp_path / "flight") as client:
        await seen(client, asked("hard"))
    picture = picture_of(recordings(tmp_path / "flight")[0])
    page = tmp_path / "page.html"
    page.write_text(page_of(picture))
    words = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'browser'}",
        "--dump-dom",
    ]
    done = await asyncio.to_thread(
        subprocess.run, [*words, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    lane = done.stdout.partition('id="lane"')[2].partition("</svg>")[0]
    assert "admitted after" in lane and "passes with a chance of" in lane
    assert lane.count("<title>") >= len({one.kind for one in picture.decisions})
