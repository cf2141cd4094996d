"""The engine: inbox -> step -> outbox, until the front goes away.

Runs in a process or thread of its own. A reader thread fills the inbox, so that an intent posted during a step is there
at its end; everything else happens in one thread.
"""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

from engine.core.limits import DeadlineTooClose, NeverFits, QueueIsFull
from engine.core.scheduler import Scheduler
from engine.core.types import CoreEvent, CoreRequest, FinishReason, Mask, Prompt, Runner, SolveEnded
from engine.loop.device_turn import DeviceTurn
from engine.loop.messages import (
    LARGEST_FRAME,
    LENGTH,
    Admitted,
    Completion,
    End,
    FromEngine,
    Infill,
    Refused,
    Slow,
    StepReport,
    Submit,
    ToEngine,
    TurnAsked,
    TurnGranted,
    Verdict,
    enveloped,
    frame,
    to_engine,
)
from engine.loop.messages import Prompt as AskedPrompt
from engine.loop.steps import Steps
from engine.text.chat import ChatTemplateError
from engine.text.constraint import Constraint, Grammars, NotInstalled
from engine.text.infill import NoPlaceForPath
from engine.text.model_text import ModelText
from engine.text.stops import ProgramEnd, StopRules
from engine.text.tokenizer import UnencodableText

DEFAULT_NEW_TOKENS = 512


class TextStopper:
    """The core's view of the text rules of one branch."""

    __slots__ = ("_rules",)

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules

    def push(self, token: int) -> FinishReason | None:
        """Take the next token; the reason if the text ends with it."""
        stop = self._rules.push(token)
        return None if stop is None else FinishReason(stop.reason.value)

    def fork(self) -> "TextStopper":
        """An independent copy."""
        return TextStopper(self._rules.fork())

    @property
    def text(self) -> str:
        """The text that belongs to the sample so far."""
        return self._rules.text

    @property
    def mask(self) -> Mask | None:
        """The tokens that may come next; None for all."""
        return self._rules.mask


class _Refusal(Exception):
    def __init__(self, kind: str, field: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.field = field
        self.detail = detail


class Engine:
    """One model on one device. `context_length` bounds prompt and new tokens together; `shared`: other engines compute
    on the device, too, and their steps and this one's take turns."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        runner: Runner,
        text: ModelText,
        context_length: int,
        shared: bool = False,
    ) -> None:
        self._scheduler = scheduler
        # Engines that take turns on a device do not leave a step on it when they give it away.
        self._steps = Steps(scheduler, runner, ahead=not shared)
        self._text = text
        self._context_length = context_length
        self._grammars = Grammars(text.tokenizer)
        self._inbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        self._deltas: dict[int, tuple[float, float]] = {}  # solve -> (interval, when last sent)
        self._shared = shared
        self._turn = DeviceTurn(lambda _: None, shared=False)
        self._idle_seconds = self._turn_seconds = 0.0  # not reported yet: without work, and waiting for the turn
        self._open = True

    def serve(self, connection: socket.socket) -> None:
        """Work until the other end closes the connection."""
        reader = threading.Thread(target=self._read, args=(connection,), name="engine-inbox", daemon=True)
        reader.start()
        self._turn = DeviceTurn(lambda message: connection.sendall(frame(message)), shared=self._shared)
        try:
            while self._open:
                self._take_messages(connection)
                if self._idle:
                    continue
                if self._turn.mine:
                    self._step(connection)
                elif events := self._scheduler.apply_intents():
                    self._report(connection, events)
        except ConnectionError:
            return  # the front is gone; nobody is left to tell

    def _read(self, connection: socket.socket) -> None:
        # However reading ends, the loop must hear of it: an engine that nobody talks to would hold its model for ever.
        try:
            with connection.makefile("rb") as stream:
                while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                    (length,) = LENGTH.unpack(head)
                    if length > LARGEST_FRAME:
                        raise ValueError(f"a frame of {length} bytes: the front and the engine have lost each other")
                    self._inbox.put(to_engine.decode(stream.read(length)))
        except ConnectionError:
            pass  # the front has died: the same as closing
        finally:
            self._inbox.put(None)

    @property
    def _idle(self) -> bool:
        return self._scheduler.idle and not self._steps.flying

    def _take_messages(self, connection: socket.socket) -> None:
        """Handle what has come in; wait for it if there is nothing to do, or another engine's step is computed."""
        idle = self._idle
        if idle:
            self._turn.give_back(more=False, interactive=False)
        else:
            self._turn.want(interactive=self._scheduler.has(interactive=True))
        if idle or not self._turn.mine:
            began = time.monotonic()
            message = self._inbox.get()
            waited = time.monotonic() - began
            self._idle_seconds += waited if idle else 0.0
            self._turn_seconds += 0.0 if idle else waited
            self._handle(connection, message)
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._handle(connection, message)

    def _handle(self, connection: socket.socket, message: ToEngine | None) -> None:
        match message:
            case None:
                self._open = False
            case End():
                self._scheduler.end(message.solve, message.reason)
            case Verdict():
                self._scheduler.judge(message.solve, message.branch, passed=message.passed)
            case Slow():
                self._scheduler.wait_no_more(message.solve, message.branch)
            case TurnGranted():
                self._turn.take(message)
            case TurnAsked():
                self._turn.give_back(more=not self._scheduler.idle, interactive=self._scheduler.has(interactive=True))
            case Submit():
                answer: FromEngine
                try:
                    answer = self._submit(message)
                except _Refusal as refusal:
                    answer = Refused(message.solve, refusal.kind, refusal.field, refusal.detail)
                connection.sendall(frame(answer))

    def _submit(self, message: Submit) -> Admitted:
        prompts = [self._encode(prompt) for prompt in message.prompts]
        longest = max(map(len, prompts))
        room = self._context_length - longest
        if room < 1:
            raise _Refusal(
                "prompt_too_long",
                "problem.prompt",
                f"{longest} tokens leave no room in the model's context of {self._context_length}; shorten it",
            )
        new_tokens = min(DEFAULT_NEW_TOKENS, room) if message.max_new_tokens is None else message.max_new_tokens
        if new_tokens > room:
            raise _Refusal(
                "bad_field",
                "sampling.max_new_tokens",
                f"{new_tokens} do not fit: the prompt has {longest} tokens and the context {self._context_length}; "
                f"ask for at most {room}",
            )
        constraint = self._constraint(message)
        request = CoreRequest(
            solve=message.solve,
            prompts=tuple(
                Prompt(tokens, TextStopper(self._rules(message, prompt, constraint)))
                for tokens, prompt in zip(prompts, message.prompts, strict=True)
            ),
            k=message.k,
            filters=message.filters,
            seed=message.seed,
            max_new_tokens=new_tokens,
            mode=message.mode,
            length_penalty=message.length_penalty,
            greedy_first=message.greedy_first,
            width=message.width,
            at_once=message.at_once,
            max_rows=message.max_rows,
            max_tokens=message.max_tokens,
            interactive=message.interactive,
            client=message.client,
            deadline=None if message.seconds_left is None else self._scheduler.now + message.seconds_left,
            first_pass=message.first_pass,
            judges=message.judges,
            likenesses=tuple(self._likenesses(message)),
            difficulty=message.difficulty,
        )
        try:
            ahead = self._scheduler.submit(request)
        except NeverFits as error:
            raise _Refusal(
                "bad_field", "sampling.max_new_tokens", f"{error}; ask for less or give kv_bytes more"
            ) from error
        except QueueIsFull as error:
            raise _Refusal("queue_full", "", str(error)) from error
        except DeadlineTooClose as error:
            raise _Refusal("deadline", "", str(error)) from error
        if message.delta_seconds is not None:
            self._deltas[message.solve] = (message.delta_seconds, 0.0)
        return Admitted(message.solve, sum(map(len, prompts)), ahead)

    def _likenesses(self, message: Submit) -> Iterator[list[int]]:
        for text in message.likenesses:
            # What this model could not write it need not guess.
            with contextlib.suppress(UnencodableText):
                yield self._text.tokenizer.encode(text, special=False)

    def _encode(self, prompt: AskedPrompt) -> list[int]:
        try:
            tokens = self._tokens(prompt)
        except (ChatTemplateError, UnencodableText) as error:
            raise _Refusal("bad_field", "problem.prompt", str(error)) from error
        except NoPlaceForPath as error:
            raise _Refusal("unsupported", "problem.infill.path", str(error)) from error
        if not tokens:
            raise _Refusal("bad_field", "problem.prompt", "the prompt is empty")
        return tokens

    def _tokens(self, prompt: AskedPrompt) -> list[int]:
        tokenizer, template, infill = self._text.tokenizer, self._text.template, self._text.infill
        match prompt:
            case Completion():
                return [*tokenizer.start_ids, *tokenizer.encode(prompt.text, special=False)]
            case Infill():
                if infill is None:
                    raise _Refusal("unsupported", "problem.infill", "this model was not trained to fill in the middle")
                return infill.encode(tokenizer, prompt.prefix, prompt.suffix, prompt.path)
            case turns if template is not None:
                messages = [{"role": turn.role, "content": turn.content} for turn in turns]
                return tokenizer.encode(template.render(messages), special=True)
            case turns if any(turn.role == "assistant" for turn in turns):
                raise _Refusal(
                    "unsupported",
                    "problem.chat",
                    "this model has no chat template, so that it cannot tell who said what; send a completion, or a "
                    "chat without turns of the assistant",
                )
            case turns:
                raw = "".join(f"{turn.content.rstrip()}\n\n" for turn in turns)
                return [*tokenizer.start_ids, *tokenizer.encode(raw, special=False)]

    def _constraint(self, message: Submit) -> Constraint | None:
        if message.constraint is None:
            return None
        field = f"sampling.{message.constraint.kind}"
        try:
            return self._grammars.compile(message.constraint.kind, message.constraint.text)
        except NotInstalled as error:
            raise _Refusal("unsupported", field, str(error)) from error
        except ValueError as error:
            raise _Refusal("bad_field", field, str(error)) from error

    def _rules(self, message: Submit, prompt: AskedPrompt, constraint: Constraint | None) -> StopRules:
        program, before, suffix = ProgramEnd.NONE, "", ""
        match prompt:
            case _ if constraint is not None or not message.end_at_program:
                pass  # a constrained text ends where its grammar does
            case Completion():
                program = ProgramEnd.COMPLETION if prompt.part_of_program else ProgramEnd.NONE
                before = prompt.text if prompt.part_of_program else ""
            case Infill():
                program, before, suffix = ProgramEnd.INFILL, prompt.prefix, prompt.suffix
            case _:
                program = ProgramEnd.CHAT
        if message.prune and program is ProgramEnd.NONE:
            raise _Refusal(
                "bad_field",
                "sampling.prune",
                "where the program is must be known: leave out keep_after_program, and say part_of_program of a "
                "completion, or do not prune",
            )
        return StopRules(
            self._text.tokenizer,
            stop=message.stop,
            program=program,
            entry_point=message.entry_point,
            prompt=before,
            suffix=suffix,
            prune=message.prune,
            constraint=None if constraint is None else constraint.fork(),
        )

    def _step(self, connection: socket.socket) -> None:
        began, flying = time.monotonic(), self._steps.flying
        scheduler = self._scheduler
        events = scheduler.apply_intents()
        events += self._steps.start()
        if not self._steps.flying:
            self._report(connection, events)
            return
        if any(isinstance(event, SolveEnded) for event in events):
            # Whoever waits for the last row of a solve to be gone need not wait for a step of the others.
            self._report(connection, events)
            events = []
        computed = self._steps.wait()
        self._turn.ran(computed.seconds, interactive=scheduler.has(interactive=True))
        events += self._steps.take(computed)
        events += self._texts()
        # What the device has waited for: nothing before a step that was in flight, nothing after one that another is.
        overhead = 0.0 if flying else computed.done - computed.seconds - began
        overhead += 0.0 if self._steps.flying else time.monotonic() - computed.done
        self._report(
            connection,
            events,
            rows=scheduler.rows_computed,
            token_gaps=scheduler.token_gaps,
            prefill_tokens=computed.plan.prefill_tokens,
            seconds=computed.seconds,
            overhead_seconds=overhead,
        )

    def _report(
        self,
        connection: socket.socket,
        events: list[CoreEvent],
        *,
        rows: int = 0,
        token_gaps: list[tuple[float, int]] | None = None,
        prefill_tokens: int = 0,
        seconds: float = 0.0,
        overhead_seconds: float = 0.0,
    ) -> None:
        scheduler = self._scheduler
        for event in events:
            if isinstance(event, SolveEnded):
                self._deltas.pop(event.solve, None)
        report = StepReport(
            told=enveloped(events),
            rows=rows,
            prefill_tokens=prefill_tokens,
            seconds=seconds,
            overhead_seconds=overhead_seconds,
            idle_seconds=self._idle_seconds,
            turn_seconds=self._turn_seconds,
            waiting=scheduler.waiting,
            running=scheduler.running,
            branches=scheduler.branches,
            kv_usage=1 - (scheduler.pool.free + scheduler.pool.idle) / scheduler.pool.capacity,
            pages_shared=scheduler.pool.shared,
            token_gaps=token_gaps or [],
        )
        self._idle_seconds = self._turn_seconds = 0.0
        connection.sendall(frame(report))

    def _texts(self) -> list[CoreEvent]:
        now = time.monotonic()
        due = {solve for solve, (interval, last) in self._deltas.items() if now - last >= interval}
        for solve in due:
            self._deltas[solve] = (self._deltas[solve][0], now)
        return self._scheduler.texts(due) if due else []
