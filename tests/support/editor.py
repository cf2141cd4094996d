"""An editor without a window: a client of `thresher lsp` over its standard input and output."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.uris import from_fs_path
from pytest_lsp import LanguageClient, make_test_lsp_client
from support.fake_server import Event
from thresher.v1 import solve_pb2, verdict_pb2


def capabilities(*, progress: bool = True) -> types.ClientCapabilities:
    """What an editor such as Neovim says of itself."""
    return types.ClientCapabilities(
        window=types.WindowClientCapabilities(work_done_progress=progress),
        workspace=types.WorkspaceClientCapabilities(
            apply_edit=True, workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=True)
        ),
        text_document=types.TextDocumentClientCapabilities(
            inline_completion=types.InlineCompletionClientCapabilities()
        ),
    )


class Editor:
    """Open files, requests, and what came of them."""

    def __init__(self, client: LanguageClient, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.events: list[Any] = []
        self.edits: list[types.ApplyWorkspaceEditParams] = []
        self.progress_tokens: list[Any] = []

        @client.feature("thresher/event")
        def on_event(params: Any) -> None:
            self.events.append(params)

        @client.feature(types.WORKSPACE_APPLY_EDIT)
        def on_edit(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            self.edits.append(params)
            self.apply(params.edit)
            return types.ApplyWorkspaceEditResult(applied=True)

    def open(self, name: str, text: str) -> str:
        """Opens a file that is not on disk; its uri."""
        uri = from_fs_path(str(self.folder / name))
        assert uri is not None
        self.texts[uri], self.versions[uri] = text, 1
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "python", 1, text))
        )
        return uri

    def type(self, uri: str, line: int, character: int, text: str, *, end: tuple[int, int] | None = None) -> None:
        """Puts text in the place of what is there from a position to `end`."""
        lines = self.texts[uri].split("\n")
        last, column = end or (line, character)
        before = "\n".join([*lines[:line], lines[line][:character]])
        after = "\n".join([lines[last][column:], *lines[last + 1 :]])
        self.texts[uri] = before + text + after
        self.versions[uri] += 1
        where = types.Range(types.Position(line, character), types.Position(last, column))
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.versions[uri], uri),
                [types.TextDocumentContentChangePartial(where, text)],
            )
        )

    def apply(self, edit: Any) -> None:
        """Applies an edit as an editor does: not where the file has another version."""
        (change,) = edit.document_changes
        assert change.text_document.version == self.versions[change.text_document.uri]
        for one in change.edits:
            start, end = one.range.start, one.range.end
            self.type(
                change.text_document.uri, start.line, start.character, one.new_text, end=(end.line, end.character)
            )

    def expect(self, token: Any) -> None:
        """Makes a progress token known, as an editor does that sends one along."""
        self.client.progress_reports.setdefault(token, [])

    async def solve(self, uri: str, line: int, **more: Any) -> Any:
        """The request of our own."""
        params = {"textDocument": {"uri": uri}, "position": {"line": line, "character": 0}, **more}
        self.expect(more.get("workDoneToken"))
        return await self.client.protocol.send_request_async("thresher/solve", params)

    async def actions(self, uri: str, line: int, only: list[str] | None = None) -> list[types.CodeAction]:
        """The code actions at a line."""
        where = types.Range(types.Position(line, 0), types.Position(line, 0))
        context = types.CodeActionContext([], only=only)
        params = types.CodeActionParams(types.TextDocumentIdentifier(uri), where, context)
        protocol, id = self.client.protocol, f"actions-{len(self.client.protocol._request_futures)}-{line}"
        answer = asyncio.wrap_future(protocol.send_request(types.TEXT_DOCUMENT_CODE_ACTION, params, msg_id=id))
        # lsprotocol reads an action that has a command as a command.
        protocol._result_types[id] = None
        found = json.loads(json.dumps(await answer, default=lambda one: one._asdict()))
        return [types.CodeAction(one["title"], command=types.Command(**one["command"])) for one in found or []]

    async def complete(self, uri: str, line: int, character: int, *, automatic: bool = False) -> list[str]:
        """The texts of an inline completion."""
        kind = types.InlineCompletionTriggerKind
        context = types.InlineCompletionContext(kind.Automatic if automatic else kind.Invoked)
        params = types.InlineCompletionParams(
            context, types.TextDocumentIdentifier(uri), types.Position(line, character)
        )
        found = await self.client.text_document_inline_completion_async(params)
        items = found.items if isinstance(found, types.InlineCompletionList) else found or []
        return [str(item.insert_text) for item in items]

    def reports(self, token: Any) -> list[Any]:
        """What was reported under a progress token."""
        return [report.value if hasattr(report, "value") else report for report in self.client.progress_reports[token]]


@asynccontextmanager
async def editor(folder: Path, address: str | None, **options: Any) -> AsyncGenerator[Editor]:
    """A language server process and its editor. `options` are initialization options; no server without an address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("THRESHER_")}
    environ = kept | {"XDG_RUNTIME_DIR": str(folder)} | ({"THRESHER_ADDRESS": address} if address else {})
    client = make_test_lsp_client()
    await client.start_io(sys.executable, "-m", "thresher.lsp", env=environ)
    try:
        one = Editor(client, folder)
        await client.initialize_session(
            types.InitializeParams(capabilities=capabilities(), initialization_options=options or None)
        )
        yield one
        await client.shutdown_session()
    finally:
        if client._server is not None and client._server.returncode is None:
            client._server.kill()
        await client.stop()


async def until(holds: Any, seconds: float = 60) -> None:
    """Waits until `holds()`; TimeoutError where it does not."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


def report(passed: int, total: int, message: str = "") -> verdict_pb2.ExecutionReport:
    """A report of a program that passed the first `passed` tests and failed the next."""
    good = passed == total
    made = verdict_pb2.ExecutionReport(
        verdict="VERDICT_PASSED" if good else "VERDICT_WRONG_ANSWER",
        tests_passed=passed,
        tests_run=passed + (not good),
        tests_total=total,
    )
    made.results.extend(verdict_pb2.TestResult(test_index=n, verdict="VERDICT_PASSED") for n in range(passed))
    if not good:
        made.results.add(test_index=passed, verdict="VERDICT_WRONG_ANSWER", message=message)
    return made


def played(*programs: tuple[str, verdict_pb2.ExecutionReport], outcome: str = "") -> list[Event]:
    """The events of a solve that draws these programs."""
    candidates = [
        solve_pb2.Candidate(index=index, code=code, samples=[index], report=one)
        for index, (code, one) in enumerate(programs)
    ]
    passed = [one for one in candidates if one.report.verdict == verdict_pb2.VERDICT_PASSED]
    events = [Event(accepted=solve_pb2.Accepted(request_id="r", model="models/fake", seed=1))]
    for one in candidates:
        events.append(
            Event(
                candidate_finished=solve_pb2.CandidateFinished(index=one.index, branch=one.index, samples=[one.index])
            )
        )
        events.append(Event(candidate_judged=solve_pb2.CandidateJudged(candidate=one)))
    word = outcome or ("SOLVED" if passed else "EXHAUSTED")
    return [*events, Event(summary=solve_pb2.Summary(outcome=f"SOLVE_OUTCOME_{word}", candidates=passed))]
