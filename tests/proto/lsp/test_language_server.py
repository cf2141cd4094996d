"""`thresher lsp` as an editor sees it: a process that speaks the protocol, with a gRPC server that plays its part."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.rpc import code_pb2
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from support.editor import Editor, editor, played, report, until
from support.fake_server import FakeServer, rich_error
from thresher.lsp.connection import Connection
from thresher.lsp.examples import doctests
from thresher.lsp.functions import Source
from thresher.lsp.problem import Task
from thresher.lsp.solving import Settings, solve
from thresher.v1 import info_service_pb2, verdict_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

STUB = '''def double(n):
    """Twice n.

    >>> double(2)
    4
    >>> double(-1)
    -2
    """
    ...


print("done")
'''
GOOD = "def double(n: int) -> int:\n    # shift\n    return n << 1\n"
BAD = "def double(n):\n    return n * n\n"
FAILED = "not so: _thresher_examples('double(-1)\\n') == '-2\\n' (got '1\\n')"


class Server(FakeServer):
    """A fake that can say of its model that it fills in."""

    infill = False

    def ListModels(self, request: Any, context: Any) -> Any:
        return info_service_pb2.ListModelsResponse(
            models=[info_service_pb2.Model(name="models/fake", chat=True, infill=self.infill)]
        )

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        reply = super().GetServerInfo(request, context)
        reply.default_model = "models/fake"
        return reply


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with Server(tmp_path_factory.mktemp("s") / "s.sock") as fake:
        yield fake  # type: ignore[misc]


@pytest.fixture
def server(running: Server) -> Server:
    """The server, as new."""
    running.events = lambda: played((BAD, report(1, 2, FAILED)), (GOOD, report(2, 2)))
    running.error, running.hang, running.infill = None, False, False
    running.report = verdict_pb2.ExecutionReport(verdict="VERDICT_PASSED", tests_passed=2, tests_total=2)
    running.specs.clear()
    running.programs.clear()
    running.cancelled.clear()
    return running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(running: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Editor]:
    async with editor(tmp_path_factory.mktemp("files"), running.address, k=4, events=True) as one:
        yield one


@pytest.fixture
def vi(shared: Editor, server: Server) -> Editor:
    """The editor, with nothing seen yet."""
    shared.events.clear()
    shared.edits.clear()
    shared.client.messages.clear()
    shared.client.diagnostics.clear()
    return shared


async def test_a_stub_with_doctests_is_solved_and_only_its_body_changes(vi: Editor, server: Server) -> None:
    uri = vi.open("double.py", STUB)
    (action,) = await vi.actions(uri, 3)
    assert action.title == "Solve with Thresher"
    assert action.command is not None
    result = await vi.solve(uri, 3, workDoneToken="mine")
    assert (result.outcome, result.applied, result.function, result.tests) == ("solved", True, "double", 2)
    assert vi.texts[uri] == STUB.replace("    ...\n", "    # shift\n    return n << 1\n")
    (spec,) = server.specs
    assert spec.sampling.k == 4
    assert "def double(n):" in spec.problem.chat.messages[0].content
    assert "assert double(2) == 4" in spec.problem.chat.messages[0].content
    # What was written into the file has passed there, too.
    (program,) = server.programs
    assert program.code == "def double(n):\n" + vi.texts[uri].split("\n", 1)[1].partition("\n\n\nprint")[0] + "\n"
    first, *reports, last = vi.reports("mine")
    assert (first.kind, first.cancellable) == ("begin", True)
    assert last.kind == "end"
    assert any("2 programs" in (one.message or "") for one in reports) or len(reports) >= 1
    assert [one.kind for one in vi.events] == ["started", *["candidate"] * 4, "ended"]
    assert vi.events[0].workDoneToken == "mine"
    assert vi.client.messages == []


async def test_the_command_starts_a_solve_and_reports_by_a_progress_of_its_own(vi: Editor, server: Server) -> None:
    uri = vi.open("command.py", STUB)
    (action,) = await vi.actions(uri, 0)
    assert action.command is not None
    params = types.ExecuteCommandParams(action.command.command, arguments=action.command.arguments)
    started: Any = await vi.client.workspace_execute_command_async(params)
    await until(lambda: vi.edits)
    assert "return n << 1" in vi.texts[uri]
    await until(lambda: [one.kind for one in vi.reports(started["id"])][-1:] == ["end"])


async def test_nothing_is_offered_where_there_is_nothing_to_decide(vi: Editor) -> None:
    uri = vi.open("none.py", "def f(x):\n    ...\n\n\ndef g(x):\n    return x\n\n\nassert g(1) == 1\n")
    assert await vi.actions(uri, 0) == []
    assert await vi.actions(uri, 4) == []
    assert await vi.actions(uri, 3) == []
    assert await vi.actions(vi.open("wanted.py", STUB), 0, only=["quickfix"]) == []
    assert len(await vi.actions(vi.open("wanted.py", STUB), 0, only=["refactor"])) == 1
    with pytest.raises(JsonRpcException, match="f has no tests; write a doctest, an assert below it, or test_none"):
        await vi.solve(uri, 0)
    with pytest.raises(JsonRpcException, match="no function at line 4"):
        await vi.solve(uri, 3)


async def test_what_failed_becomes_diagnostics_until_the_function_changes(vi: Editor, server: Server) -> None:
    server.events = lambda: played((BAD, report(1, 2, FAILED)), ("x = 1\n", report(0, 2, "")))
    uri = vi.open("failing.py", STUB)
    result = await vi.solve(uri, 0)
    assert (result.outcome, result.applied) == ("exhausted", False)
    assert result.message == "no program passed: 2 tried, the best passed 1 of 2 tests"
    assert vi.texts[uri] == STUB
    await until(lambda: len(vi.client.diagnostics.get(uri, [])) == 2)
    second = vi.client.diagnostics[uri][1]
    assert second.message == "double(-1) gives 1, expected -2 (one program fails this test of double)"
    assert second.range.start == types.Position(5, 0)
    vi.type(uri, 0, 0, "# a line\n")  # it moves with its test
    await until(lambda: vi.client.diagnostics[uri][1].range.start == types.Position(6, 0))
    vi.type(uri, 9, 4, "return 1", end=(9, 7))
    await until(lambda: not vi.client.diagnostics[uri])


async def test_a_round_tells_what_failed_and_what_the_user_says(vi: Editor, server: Server) -> None:
    server.events = lambda: played((BAD, report(1, 2, FAILED)))
    server.report = report(1, 2, FAILED)
    uri = vi.open("rounds.py", STUB)
    await vi.solve(uri, 0)
    titles = [action.title for action in await vi.actions(uri, 0)]
    assert titles == ["Solve with Thresher", "Solve with Thresher, told what failed"]
    server.specs.clear()
    await vi.solve(uri, 0, feedback="Use a shift.")
    first, program, said = server.specs[0].problem.chat.messages
    assert (first.role, program.role, said.role) == ("user", "assistant", "user")
    assert "return n * n" in program.content
    assert "- double(-1) gives 1, expected -2" in said.content
    assert "Use a shift." in said.content


async def test_a_written_function_is_mended_from_what_it_is(vi: Editor, server: Server) -> None:
    text = STUB.replace("    ...\n", "    return n * n\n")
    uri = vi.open("mend.py", text)
    with pytest.raises(JsonRpcException, match="double passes its tests; say in words what should be different"):
        await vi.solve(uri, 0, feedback="", workDoneToken="nothing")
    # Whoever watches the progress alone is told the same.
    assert vi.reports("nothing")[-1].message == "double passes its tests; say in words what should be different"
    server.report = report(1, 2, FAILED)
    result = await vi.solve(uri, 0, feedback="")
    assert server.specs[0].problem.chat.messages[1].content.endswith("    return n * n\n```")
    assert result.outcome == "not_in_place"  # this server says of everything that it fails


async def test_a_test_that_is_added_to_a_solved_function_opens_a_round(vi: Editor, server: Server) -> None:
    uri = vi.open("added.py", STUB)
    await vi.solve(uri, 0)
    assert await vi.actions(uri, 0) == []
    vi.type(uri, 7, 0, "    >>> double(0.5)\n    1.0\n")
    assert [action.title for action in await vi.actions(uri, 0)] == ["Solve with Thresher, told what failed"]
    server.report = report(2, 3, "TypeError: unsupported operand type(s) for <<: 'float' and 'int'")
    server.specs.clear()
    await vi.solve(uri, 0, feedback="")
    _, program, said = server.specs[0].problem.chat.messages
    assert "return n << 1" in program.content
    assert "- double(0.5): TypeError: unsupported operand" in said.content


async def test_an_edit_of_the_function_ends_its_solve_and_others_go_on(vi: Editor, server: Server) -> None:
    server.hang = True
    uri = vi.open("edited.py", STUB)
    asked = asyncio.ensure_future(vi.solve(uri, 0))
    await until(lambda: server.specs)
    vi.type(uri, 11, 0, "print('below')\n")
    vi.type(uri, 0, 0, "import math\n\n")
    await asyncio.sleep(0.2)
    assert not server.cancelled.is_set()
    vi.type(uri, 10, 7, ".")
    result = await asked
    assert (result.outcome, result.message, result.applied) == ("cancelled", "stopped: the function was edited", False)
    assert await asyncio.to_thread(server.cancelled.wait, 60)


@pytest.mark.parametrize("how", ["request", "progress", "close", "again", "command"])
async def test_a_solve_is_cancelled(vi: Editor, server: Server, how: str) -> None:
    server.hang = True
    uri = vi.open(f"cancel_{how}.py", STUB)
    params = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 0}, "workDoneToken": f"t-{how}"}
    vi.expect(f"t-{how}")
    asked = asyncio.ensure_future(vi.client.protocol.send_request_async("thresher/solve", params, msg_id=f"m-{how}"))
    await until(lambda: server.specs)
    again: Any = None
    if how == "request":
        vi.client.protocol.notify(types.CANCEL_REQUEST, types.CancelParams(f"m-{how}"))
        with pytest.raises(JsonRpcException) as caught:
            await asked
        assert caught.value.code == -32800
    else:
        if how == "progress":
            vi.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams("t-progress"))
        elif how == "close":
            vi.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
        elif how == "again":
            again = asyncio.ensure_future(vi.solve(uri, 0))
        else:
            await vi.client.workspace_execute_command_async(types.ExecuteCommandParams("thresher.cancel"))
        assert (await asked).outcome == "cancelled"
    assert await asyncio.to_thread(server.cancelled.wait, 60)
    await until(lambda: vi.reports(f"t-{how}")[-1].kind == "end")
    last = vi.reports(f"t-{how}")[-1]
    assert (last.kind, last.message.partition(":")[0]) == ("end", "stopped")
    if again is not None:
        await vi.client.workspace_execute_command_async(types.ExecuteCommandParams("thresher.cancel"))
        assert (await again).outcome == "cancelled"


async def test_candidates_can_be_asked_for_afterwards(vi: Editor, server: Server) -> None:
    uri = vi.open("candidates.py", STUB)
    result = await vi.solve(uri, 0, apply=False)
    assert (result.applied, vi.edits) == (False, [])
    assert [one.verdict for one in result.candidates] == ["wrong_answer", "passed"]
    assert result.candidates[0].message == "double(-1) gives 1, expected -2"
    wanted = {"id": result.id, "candidate": 0}
    found = await vi.client.protocol.send_request_async("thresher/candidate", wanted)
    assert found.program == BAD
    assert found.edit.documentChanges[0].edits[0].newText == "    return n * n\n"
    with pytest.raises(JsonRpcException, match="no longer known"):
        await vi.client.protocol.send_request_async("thresher/candidate", {"id": "x", "candidate": 0})


async def test_a_program_that_cannot_stand_there_is_told_so_and_asked_for_again(vi: Editor, server: Server) -> None:
    stranger = "async def double(n):\n    return 2 * n\n"
    rounds = [played((BAD, report(1, 2, FAILED)), (stranger, report(2, 2))), played((GOOD, report(2, 2)))]
    server.events = lambda: rounds.pop(0)
    uri = vi.open("again.py", STUB)
    result = await vi.solve(uri, 0, workDoneToken="again")
    assert (result.outcome, result.candidate, result.applied) == ("solved", 2, True)
    assert result.message == (
        "solved by program 2; an earlier one passed, but not in this file: the program's double is asynchronous, "
        "the file's is an ordinary function"
    )
    assert "return n << 1" in vi.texts[uri]
    assert [(one.index, one.verdict) for one in result.candidates] == [
        (0, "wrong_answer"),
        (1, "passed"),
        (2, "passed"),
    ]
    first, second = server.specs
    assert (first.sampling.k, second.sampling.k) == (4, 2)  # both rounds together draw what was asked for
    assert second.budget.wall_time.ToMilliseconds() < first.budget.wall_time.ToMilliseconds()
    task, program, said = second.problem.chat.messages
    assert task == first.problem.chat.messages[0]
    assert "async def double" in program.content
    assert "the program's double is asynchronous" in said.content
    assert any("asking for another" in (one.message or "") for one in vi.reports("again"))
    # Those of both rounds can be asked for.
    wanted = {"id": result.id, "candidate": 1}
    assert (await vi.client.protocol.send_request_async("thresher/candidate", wanted)).program == stranger


async def test_programs_that_pass_alone_only_are_not_applied(vi: Editor, server: Server) -> None:
    server.report = report(1, 2, FAILED)
    uri = vi.open("alone.py", STUB)
    result = await vi.solve(uri, 0)
    assert (result.outcome, result.edit) == ("not_in_place", None)
    assert result.message == (
        "2 programs passed on their own, but not in this file: double(-1) gives 1, expected -2 "
        "(4 of 4 samples, 4 programs, 4 judged: 2 wrong answer, 2 passed)"
    )
    assert [spec.sampling.k for spec in server.specs] == [4, 2]  # there was nothing left to draw after these
    assert vi.texts[uri] == STUB


class Silent:
    """A watcher to whom nothing matters."""

    def waiting(self) -> None: ...

    def changed(self, *_: Any) -> None: ...

    def again(self) -> None: ...


async def test_nothing_is_asked_for_again_when_the_time_is_up(server: Server) -> None:
    server.report = report(1, 2, FAILED)
    source = Source(STUB)
    assert source.tree is not None
    function = source.at(0)
    assert function is not None
    task = Task.of(source, source.tree, function, doctests(function, "double").tests)
    connection = Connection(server.address)
    try:
        ended = await solve(task, connection, Settings(k=16, seconds=0.5), Silent())
    finally:
        await connection.close()
    assert ended.outcome == "not_in_place"
    assert len(server.specs) == 1


async def test_a_method_is_filled_in_where_the_model_can(vi: Editor, server: Server) -> None:
    text = "class Box:\n    def __init__(self):\n        self.n = 1\n\n    def get(self):\n        pass\n\n\n"
    text += "assert Box().get() == 1\n"
    uri = vi.open("method.py", text)
    server.infill = True
    whole = text.partition("\n\n\nassert")[0].replace("pass", "return self.n") + "\n"
    server.events = lambda: played((whole, report(1, 1)))
    result = await vi.solve(uri, 5)
    assert result.outcome == "solved"
    assert vi.texts[uri] == text.replace("pass", "return self.n")
    prompt = server.specs[0].problem.infill
    assert prompt.prefix.endswith("    def get(self):\n")
    server.infill = False
    vi.type(uri, 5, 8, "pass", end=(5, 21))
    await vi.solve(uri, 5)
    assert "Write the body of `Box.get`" in server.specs[1].problem.chat.messages[0].content


async def test_tests_beside_the_file_decide_and_take_its_diagnostics(vi: Editor, server: Server) -> None:
    tests = "from beside import half\n\n\ndef test_half():\n    assert half(4) == 2\n"
    (vi.folder / "test_beside.py").write_text(tests)
    uri = vi.open("beside.py", "def half(n):\n    raise NotImplementedError\n")
    server.events = lambda: played(("def half(n): return n\n", report(0, 1, "not so: half(4) == 2 (got 4)")))
    result = await vi.solve(uri, 1)
    assert [test.snippet.code for test in server.specs[0].problem.tests] == ["assert half(4) == 2\n"]
    target = uri.replace("beside.py", "test_beside.py")
    assert (result.failures[0].uri, result.failures[0].line) == (target, 4)
    await until(lambda: vi.client.diagnostics.get(target))
    assert vi.client.diagnostics[target][0].message.startswith("not so: half(4) == 2 (got 4)")
    vi.type(uri, 1, 4, "return n / 2", end=(1, 29))
    await until(lambda: not vi.client.diagnostics[target])


async def test_inline_completion_shows_what_passes_the_doctests(vi: Editor, server: Server) -> None:
    server.infill = True
    text = STUB.replace("    ...\n", "    return \n")
    uri = vi.open("inline.py", text)
    line = text.split("\n").index("    return ")
    prefix, suffix = text.partition("    return ")[0] + "    return ", "\n"

    def drawn(middle: str, passed: int) -> Any:
        return lambda: played((f"{prefix}{middle}{suffix}", report(passed, 2, FAILED)))

    server.events = drawn("n + n", 2)
    assert await vi.complete(uri, line, 11, automatic=True) == ["n + n"]
    prompt = server.specs[0].problem.infill
    assert (prompt.prefix, prompt.suffix) == (prefix, suffix)
    server.events = drawn("n * n", 1)
    assert await vi.complete(uri, line, 11) == []
    vi.type(uri, line, 0, "    ", end=(line, 11))  # an empty line at the end of the function, where it is written next
    prefix, suffix = text.partition("    return ")[0] + "    ", "\n"
    server.events = drawn("return 2 * n", 2)
    assert await vi.complete(uri, line, 4) == ["return 2 * n"]
    server.infill = False
    assert await vi.complete(uri, line, 4) == []
    assert await vi.complete(uri, 11, 0) == []


async def test_errors_say_what_to_do(vi: Editor, server: Server) -> None:
    server.error = rich_error(code_pb2.RESOURCE_EXHAUSTED, "QUEUE_FULL", "256 solves are waiting")
    uri = vi.open("errors.py", STUB)
    with pytest.raises(JsonRpcException, match=r"256 solves are waiting \(too many solves are waiting; try again"):
        await vi.solve(uri, 0)
    with pytest.raises(JsonRpcException, match="position: an object is needed"):
        await vi.client.protocol.send_request_async("thresher/solve", {"textDocument": {"uri": uri}})
    broken = vi.open("broken.py", "def f(:\n")
    with pytest.raises(JsonRpcException, match="mend its syntax first"):
        await vi.solve(broken, 0)


async def test_without_a_server_the_command_that_starts_one_is_named(tmp_path: Path) -> None:
    async with editor(tmp_path, None) as one:
        uri = one.open("alone.py", STUB)
        with pytest.raises(
            JsonRpcException, match=r"none runs here\. Start one in a terminal: thresher serve"
        ) as caught:
            await one.solve(uri, 0)
        assert caught.value.code == -32803
        (action,) = await one.actions(uri, 0)
        assert action.command is not None
        params = types.ExecuteCommandParams(action.command.command, arguments=action.command.arguments)
        await one.client.workspace_execute_command_async(params)
        await until(lambda: one.client.messages)
        assert "thresher serve" in one.client.messages[0].message
        assert await one.complete(uri, 8, 4) == []


async def test_a_server_that_has_gone_is_missed_like_one_that_never_was(tmp_path: Path) -> None:
    with Server(tmp_path / "s.sock") as gone:
        address = gone.address
    async with editor(tmp_path, address) as one:
        with pytest.raises(JsonRpcException, match="the server does not answer") as caught:
            await one.solve(one.open("gone.py", STUB), 0)
    assert caught.value.data["reason"] == "NO_SERVER"
