"""What the language server does for one editor: solves, applies, remembers, and tells how it goes."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from thresher.client import ThresherError
from thresher.client.progress import Attempt
from thresher.lsp import telling
from thresher.lsp.connection import Connection
from thresher.lsp.diagnostics import Diagnostics, Key
from thresher.lsp.documents import Document
from thresher.lsp.found import Found
from thresher.lsp.functions import Function
from thresher.lsp.jobs import EDITED, STOPPED, Job, Jobs
from thresher.lsp.params import EVENT, CandidateParams, SolveParams, failed, failed_call
from thresher.lsp.problem import Task
from thresher.lsp.progress import WorkDone
from thresher.lsp.rounds import Round
from thresher.lsp.solving import Course, Ended, Settings, failing, solve
from thresher.lsp.splice import SpliceError, new_text
from thresher.v1 import solve_pb2

_REMEMBERED = 32
"""Solves whose candidates can still be asked for."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, as the file stood then."""

    document: Document
    function: Function
    found: Found

    @property
    def key(self) -> Key:
        return self.document.uri, self.function.path

    @property
    def text(self) -> str:
        """The function's lines."""
        return self.document.source.text_of(self.function)


@dataclass(frozen=True, slots=True)
class _Best:
    """The lines of the best program for a function so far, and the codes of the tests that it is known to pass."""

    text: str
    passes: frozenset[str]


class Session:
    """One editor's. `events` says whether it wants `thresher/event`."""

    def __init__(self, server: LanguageServer, connection: Connection) -> None:
        self.server = server
        self.connection = connection
        self.settings = Settings()
        self.events = False
        self.jobs = Jobs()
        self.diagnostics = Diagnostics(server)
        self._ids = itertools.count(1)
        self._candidates: OrderedDict[str, tuple[Key, list[Attempt]]] = OrderedDict()
        self._best: dict[Key, _Best] = {}

    def next_id(self) -> str:
        """A name for the next solve."""
        return f"thresher-{next(self._ids)}"

    def can_go_on(self, document: Document, function: Function, found: Found) -> bool:
        """Whether a round has something to tell: the best program so far fails, or the function or its tests are
        not those any more that it passed with."""
        best = self._best.get((document.uri, function.path))
        if best is None:
            return False
        text = best.text if function.stub else document.source.text_of(function)
        return (text, _codes(found)) != (best.text, best.passes)

    async def run(self, params: SolveParams, id: str, work: WorkDone) -> dict[str, Any]:
        """Solves, applies the program where that is wanted, and says how it went.

        Raises JsonRpcException and ThresherError; CancelledError where the request itself is cancelled.
        """
        asked = self._asked(params)
        left_out = len(asked.found.left_out)
        job = Job(id, *asked.key, asked.text, asked.function.first - 1, work.token)
        watcher = _Watcher(self, id, work)
        job.task = asyncio.create_task(self._solve(params, asked, watcher))
        self.jobs.add(job)
        work.begin(f"Thresher: {asked.function.dotted}")
        told = {"uri": params.uri, "function": asked.function.dotted, "tests": len(asked.found.tests)}
        self.tell(id, "started", **told, workDoneToken=work.token)
        message = "failed"
        try:
            result = await self._awaited(job, params, asked, watcher)
            if left_out:
                result["message"] += f" ({left_out} of its tests could not be used)"
            message = result["message"]
        except asyncio.CancelledError:
            message = f"stopped: {STOPPED}"
            raise
        except (JsonRpcException, ThresherError) as error:
            shown = failed_call(error) if isinstance(error, ThresherError) else error
            message = shown.message.removeprefix("Thresher: ")
            raise
        finally:
            if job in self.jobs.live:
                self.jobs.remove(job)
            work.end(message)
            self.tell(id, "ended", message=message)
        return {"id": id, "function": asked.function.dotted, **result, **telling.tests(asked.found, params.uri)}

    def candidate(self, params: CandidateParams) -> dict[str, Any]:
        """A program of an earlier solve, and the edit that would put it into its function's place as the file is now.

        Raises JsonRpcException where there is none.
        """
        key, tried = self._candidates.get(params.solve, (("", ()), []))
        one = next((one for one in tried if one.index == params.index and one.code), None)
        if one is None:
            raise failed("Thresher: this program is no longer known; solve again", "NO_CANDIDATE")
        edit, reason = None, ""
        document = Document.of(self.server, key[0])
        function = document.source.find(key[1])
        if function is None:
            reason = f"{'.'.join(key[1])} is no longer in the file"
        else:
            try:
                edit = document.replacing(function, new_text(document.source, function, one.code))
            except SpliceError as error:
                reason = str(error)
        return {"program": one.code, "edit": edit, "reason": reason}

    def tell(self, id: str, kind: str, **more: Any) -> None:
        """Sends an event to an editor that wants them."""
        if self.events:
            self.server.protocol.notify(EVENT, {"id": id, "kind": kind, **more})

    def _asked(self, params: SolveParams) -> _Asked:
        try:
            document = Document.of(self.server, params.uri)
        except (OSError, UnicodeDecodeError) as error:
            raise failed(f"Thresher: the file cannot be read: {error}", "NO_FILE") from error
        if document.source.tree is None:
            raise failed("Thresher: the file is no Python as it stands; mend its syntax first", "NOT_PYTHON")
        function = document.source.at(params.line)
        if function is None:
            raise failed(f"Thresher: there is no function at line {params.line + 1}", "NO_FUNCTION")
        found = document.tests(self.server, function)
        if not found.tests:
            raise failed(_no_tests(document, function, found), "NO_TESTS")
        return _Asked(document, function, found)

    async def _solve(self, params: SolveParams, asked: _Asked, watcher: "_Watcher") -> Ended:
        task = asked.document.task(asked.function, asked.found)
        feedback = None if params.feedback is None else await self._round(task, asked, params.feedback)
        return await solve(task, self.connection, self.settings, watcher, feedback)

    async def _round(self, task: Task, asked: _Asked, words: str) -> Round:
        """What the next round starts from: the function as it stands, or for a stub the best earlier program."""
        best = self._best.get(asked.key)
        text = asked.text if not asked.function.stub else best.text if best is not None else ""
        failures = await failing(task, self.connection, text) if text else []
        if not failures and not words.strip():
            known = "passes its tests" if text else "has no earlier program"
            message = f"Thresher: {asked.function.dotted} {known}; say in words what should be different"
            raise failed(message, "NOTHING_TO_MEND")
        return Round(text, tuple(failure.message for failure in failures), words)

    async def _awaited(self, job: Job, params: SolveParams, asked: _Asked, watcher: "_Watcher") -> dict[str, Any]:
        """The result, once the job has ended or was ended."""
        assert job.task is not None
        try:
            await asyncio.wait([job.task])
        except asyncio.CancelledError:
            job.task.cancel()
            await asyncio.wait([job.task])
            raise
        finally:
            self._remember(job, watcher.tried)
        if job.task.cancelled():
            return telling.stopped(job.reason, watcher.tried)
        ended = job.task.result()
        # From here on an edit of the function is ours, or it is the user's and then ours does not fit any more.
        self.jobs.remove(job)
        now = Document.of(self.server, params.uri)
        function = now.source.find(asked.function.path)
        if function is None or now.source.text_of(function) != asked.text:
            return telling.stopped(EDITED, watcher.tried)
        if ended.text:
            self._best[asked.key] = _Best(ended.text, _codes(asked.found) if ended.solved else frozenset())
        self.diagnostics.set(asked.key, asked.text, ended.failures)
        result = telling.ended(ended, params.uri)
        edit = now.replacing(function, ended.text) if ended.solved else None
        applied = edit is not None and params.apply and await self._apply(edit, asked.function)
        if edit is not None and params.apply and not applied:
            result["message"] += ", but the editor did not take the edit"
        return {**result, "edit": edit, "applied": applied}

    async def _apply(self, edit: types.WorkspaceEdit, function: Function) -> bool:
        params = types.ApplyWorkspaceEditParams(edit, label=f"Thresher: {function.dotted}")
        return (await self.server.workspace_apply_edit_async(params)).applied

    def _remember(self, job: Job, tried: Iterable[Attempt]) -> None:
        self._candidates[job.id] = (job.uri, job.path), list(tried)
        while len(self._candidates) > _REMEMBERED:
            self._candidates.popitem(last=False)


class _Watcher:
    """Turns what happens in a solve into progress and events."""

    def __init__(self, session: Session, id: str, work: WorkDone) -> None:
        self._session = session
        self._id = id
        self._work = work
        self.tried: list[Attempt] = []

    def waiting(self) -> None:
        """The server is loading its model."""
        self._work.report("the server is loading its model", now=True)
        self._session.tell(self._id, "waiting", message="the server is loading its model")

    def changed(self, course: Course, event: solve_pb2.SolveEvent, tried: Attempt | None) -> None:
        """An event came."""
        if event.HasField("accepted"):
            model = event.accepted.model.removeprefix("models/")
            self._work.report(f"drawing from {model}", course.percentage, now=True)
        if tried is not None:
            if tried not in self.tried:
                self.tried.append(tried)
            self._work.report(course.line(), course.percentage)
            self._session.tell(self._id, "candidate", candidate=telling.candidate(tried))

    def again(self) -> None:
        """Another program is asked for."""
        self._work.report("a program passed, but not in this file; asking for another", now=True)


def _codes(found: Found) -> frozenset[str]:
    return frozenset(test.code for test in found.tests)


def _no_tests(document: Document, function: Function, found: Found) -> str:
    if found.left_out:
        one = found.left_out[0]
        return f"Thresher: no test of {function.dotted} can be used: {one.name}: {one.reason}"
    beside = f"test_{document.path.rpartition('/')[2]}"
    return f"Thresher: {function.dotted} has no tests; write a doctest, an assert below it, or {beside} beside the file"
