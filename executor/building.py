"""Compiling and running programs of other languages than Python: the orders to a jail, and what comes of them."""

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from executor.answers import decoded
from executor.jail import Jail
from executor.languages import Language, resolved
from executor.settle import Outcome, exit_code, last_line, limit_outcome, script_outcome
from executor.trial import Allowance, Facts, Trial
from executor.types import Limits, StdioTest
from executor.verdict import Verdict

_MFD_EXEC = 0x10
_MOST_SHOWN = 300
_ALLOWANCE = Allowance(stack_bytes=64 << 20)


class Rooms(Protocol):
    """What is needed of the run that a program belongs to."""

    async def lease(self, room: str = ...) -> Jail:
        """A fresh jail of a room."""
        ...

    def release(self, jail: Jail) -> None:
        """End a jail that is needed no more."""
        ...

    async def jail(self) -> Jail:
        """The candidate's jail, which was given `ForeignProgram.prepare` when it was fresh."""
        ...

    def new_trial(
        self, jail: Jail, limits: Limits, on_frame: Callable[[bytes], None], allowance: Allowance = ...
    ) -> Trial:
        """A trial in a jail."""
        ...


class ForeignProgram:
    """One program in another language, compiled once for all its tests."""

    def __init__(self, language: Language, code: str, rooms: Rooms) -> None:
        self.language = language
        self.compile_seconds = 0.0
        """CPU time that compiling took."""
        self._files = [(language.source, code), *language.files]
        self._rooms = rooms
        self._artifact: int | None = None
        self._refused: tuple[Facts, Outcome] | None = None
        self._checked = not language.check

    def close(self) -> None:
        """Let go of what the compiler made."""
        if self._artifact is not None:
            os.close(self._artifact)
            self._artifact = None

    def prepare(self, jail: Jail) -> None:
        """Tell a fresh jail what to run."""
        if self._artifact is None:
            jail.send(("command", self._files, resolved(self.language.run)))
        else:
            jail.send(("command", [], resolved(self.language.run)), (self._artifact,))

    async def run(self, test: StdioTest, limits: Limits) -> tuple[Facts, Outcome | None]:
        """Run one test. No outcome: the program ended well, and its output decides."""
        if self._refused is not None:
            facts, failure = self._refused
            return replace(facts, cpu_seconds=0.0, wall_seconds=0.0), failure
        if self.language.compile and self._artifact is None:
            facts, failure = await self._compile()
            if failure is not None:
                return facts, failure
        facts, outcome = await self._command(await self._rooms.jail(), limits, list(test.argv), test.stdin)
        if outcome is not None and outcome.verdict is Verdict.RUNTIME_ERROR and not self._checked:
            failure = await self._check()
            if failure is not None:
                self._refused = facts, failure
                return facts, failure
        self._checked = True
        return facts, outcome

    async def _command(self, jail: Jail, limits: Limits, argv: list[str], stdin: bytes) -> tuple[Facts, Outcome | None]:
        said: list[object] = []
        allowance = self.language.allowance
        trial = self._rooms.new_trial(jail, limits, lambda content: said.append(decoded(content)), allowance)
        trial.start("command", (argv,), stdin)
        facts = await trial.done
        match said:
            case [("unstarted", str(text)), *_]:
                return facts, Outcome(Verdict.SANDBOX_FAILURE, f"the program could not be started: {text}")
            case _:
                return facts, limit_outcome(facts, limits) or self._outcome(facts)

    def _outcome(self, facts: Facts) -> Outcome | None:
        outcome = script_outcome(facts)
        if outcome is None or outcome.verdict is not Verdict.RUNTIME_ERROR:
            return outcome
        sign = next((sign for sign in self.language.memory_signs if sign in facts.stderr), None)
        if sign is not None:
            return Outcome(Verdict.MEMORY_LIMIT, sign.decode())
        said = _first_error(facts.stderr)
        if (code := exit_code(facts)) is not None and said:
            return Outcome(Verdict.RUNTIME_ERROR, f"exit status {code}: {said}")
        return outcome

    async def _check(self) -> Outcome | None:
        """A compile error, if the language's own check says that this is no program."""
        jail = await self._rooms.lease(self.language.room)
        jail.send(("command", self._files, resolved(self.language.check)))
        facts, outcome = await self._command(jail, self.language.compile_limits, [], b"")
        self._rooms.release(jail)
        if outcome is None or outcome.verdict is not Verdict.RUNTIME_ERROR:
            return None
        return Outcome(Verdict.COMPILE_ERROR, _first_error(facts.stderr) or outcome.message)

    async def _compile(self) -> tuple[Facts, Outcome | None]:
        """Compile, in a jail in which the compiler is seen."""
        jail = await self._rooms.lease(self.language.name)
        made = os.memfd_create("thresher-compiled", os.MFD_CLOEXEC)
        try:
            jail.send(("command", self._files, resolved(self.language.compile)), (made,))
            said: list[object] = []
            limits = self.language.compile_limits
            trial = self._rooms.new_trial(jail, limits, lambda content: said.append(decoded(content)), _ALLOWANCE)
            trial.start("build", ())
            facts = await trial.done
            self.compile_seconds += facts.cpu_seconds
            failure = _compile_failure(facts, limits)
            if failure is None and ("built",) not in said:
                failure = Outcome(Verdict.SANDBOX_FAILURE, f"the compiler left nothing: {last_line(facts.stderr)}")
            if failure is None:
                self._artifact = _executable(made)
            elif failure.verdict is not Verdict.SANDBOX_FAILURE:
                self._refused = facts, failure
        finally:
            os.close(made)
        self._rooms.release(jail)
        return facts, failure


def _executable(made: int) -> int:
    """A descriptor of a copy that nobody can write to; the jail's own file is charged to the jail, and open there."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        copy = os.memfd_create("thresher-artifact", flags | _MFD_EXEC)
    except OSError:  # kernels before 6.3 know no such flag, and need none
        copy = os.memfd_create("thresher-artifact", flags)
    try:
        offset, size = 0, os.fstat(made).st_size
        while offset < size:
            offset += os.sendfile(copy, made, offset, size - offset)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
        # The kernel executes no file that is open for writing anywhere.
        return os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(copy)


def _compile_failure(facts: Facts, limits: Limits) -> Outcome | None:
    limit = limit_outcome(facts, limits)
    if limit is not None and limit.verdict is Verdict.SANDBOX_FAILURE:
        return limit
    if limit is not None:
        return Outcome(Verdict.COMPILE_ERROR, f"the compiler was stopped: {limit.message}")
    if exit_code(facts) == 0:
        return None
    return Outcome(Verdict.COMPILE_ERROR, _first_error(facts.stderr) or "the compiler failed without a word")


def _first_error(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    found = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
    return found.strip()[:_MOST_SHOWN]
