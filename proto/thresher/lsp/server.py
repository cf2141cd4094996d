"""The language server: which requests it answers, and how."""

import asyncio
from importlib.metadata import version
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from thresher.client import ThresherError
from thresher.lsp.connection import Connection
from thresher.lsp.documents import Document
from thresher.lsp.inline import fill, hole_at, readable
from thresher.lsp.jobs import CLOSED, STOPPED
from thresher.lsp.params import (
    CANCEL_COMMAND,
    CANDIDATE,
    SOLVE,
    SOLVE_COMMAND,
    failed_call,
    read_candidate,
    read_settings,
    read_solve,
)
from thresher.lsp.progress import WorkDone
from thresher.lsp.session import Session

_DEBOUNCE_SECONDS = 0.2
"""How long an automatic inline completion waits for the next keystroke, which takes its place."""
_KIND = types.CodeActionKind.RefactorRewrite


def make_server(connection: Connection) -> LanguageServer:
    """A language server that asks the server of `connection`."""
    server = LanguageServer("thresher", version("thresher"), max_workers=2)
    session = Session(server, connection)
    _add_documents(server, session)
    _add_solving(server, session)
    _add_inline_completion(server, session)
    return server


def _add_documents(server: LanguageServer, session: Session) -> None:
    """What an editor tells of itself and its files."""

    @server.feature(types.INITIALIZE)
    async def initialize(params: types.InitializeParams) -> None:
        session.settings, session.events = read_settings(params.initialization_options)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        if any(job.uri == uri for job in session.jobs.live):
            session.jobs.changed(uri, Document.of(server, uri).source, params.content_changes)
        for one in [uri, *session.diagnostics.about(uri)]:
            session.diagnostics.refresh(one)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    async def closed(params: types.DidCloseTextDocumentParams) -> None:
        session.jobs.end(CLOSED, uri=params.text_document.uri)

    @server.feature(types.WINDOW_WORK_DONE_PROGRESS_CANCEL)
    async def stopped(params: types.WorkDoneProgressCancelParams) -> None:
        session.jobs.end(STOPPED, token=params.token)

    @server.feature(types.SHUTDOWN)
    async def shutdown(_params: None) -> None:
        session.jobs.end(STOPPED)
        await session.connection.close()


def _add_solving(server: LanguageServer, session: Session) -> None:
    """Code actions, the commands behind them, and the requests of our own."""
    running: set[asyncio.Task[None]] = set()

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=[_KIND]))
    async def actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        only = params.context.only
        if only is not None and not any(one == _KIND or _KIND.startswith(f"{one}.") for one in only):
            return []
        document = Document.of(server, params.text_document.uri)
        function = document.source.at(params.range.start.line)
        found = None if function is None else document.tests(server, function)
        if function is None or found is None or not found.tests:
            return []
        where = {
            "textDocument": {"uri": document.uri},
            "position": {"line": function.node.lineno - 1, "character": 0},
        }
        offered: list[types.CodeAction] = []
        if function.stub:
            offered.append(_action("Solve with Thresher", where))
        if session.can_go_on(document, function, found):
            offered.append(_action("Solve with Thresher, told what failed", where | {"feedback": ""}))
        return offered

    @server.feature(SOLVE)
    async def solve(given: Any) -> dict[str, Any]:
        params = read_solve(given)
        try:
            return await session.run(params, session.next_id(), WorkDone(server, params.token))
        except ThresherError as error:
            raise failed_call(error) from error

    @server.feature(CANDIDATE)
    async def candidate(given: Any) -> dict[str, Any]:
        return session.candidate(read_candidate(given))

    @server.command(SOLVE_COMMAND)
    async def start(given: Any) -> dict[str, Any]:
        params, id = read_solve(given), session.next_id()

        async def run() -> None:
            try:
                await session.run(params, id, await WorkDone.created(server, id))
            except (ThresherError, JsonRpcException) as error:
                # Nobody waits for the result of a command, so the person has to be told.
                shown = failed_call(error) if isinstance(error, ThresherError) else error
                server.window_show_message(types.ShowMessageParams(types.MessageType.Error, shown.message))

        # An editor cannot cancel a command (pygls runs it in a generator): it only starts the work.
        task = asyncio.create_task(run())
        running.add(task)
        task.add_done_callback(running.discard)
        return {"id": id}

    @server.command(CANCEL_COMMAND)
    async def cancel() -> None:
        session.jobs.end(STOPPED)


def _action(title: str, argument: dict[str, Any]) -> types.CodeAction:
    return types.CodeAction(title, kind=_KIND, command=types.Command(title, SOLVE_COMMAND, arguments=[argument]))


def _add_inline_completion(server: LanguageServer, session: Session) -> None:
    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def complete(params: types.InlineCompletionParams) -> types.InlineCompletionList | None:
        if not session.settings.inline_completion:
            return None
        document = Document.of(server, params.text_document.uri)
        here = server.workspace.get_text_document(document.uri).position_from_client_units(params.position)
        source = readable(document.source, here.line)
        function = source.at(here.line)
        found = None if function is None else document.tests(server, function, source)
        if function is None or found is None or not found.tests:
            return None
        if params.context.trigger_kind is types.InlineCompletionTriggerKind.Automatic:
            await asyncio.sleep(_DEBOUNCE_SECONDS)
        try:
            at = hole_at(document, source, function, found, here.line, here.character)
            text = await fill(session.connection, session.settings, at)
        except ThresherError:
            # It was not asked for: an editor without a server shows nothing.
            return None
        if text is None:
            return None
        written = text.replace("\n", "\r\n") if document.crlf else text
        return types.InlineCompletionList([types.InlineCompletionItem(written)])
