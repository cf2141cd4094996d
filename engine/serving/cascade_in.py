"""CascadeContext: what cheaper tiers know, from proto to domain, checked."""

from thresher.v1 import solve_pb2, verdict_pb2

from engine.config import LimitSettings
from engine.serving import fields
from engine.serving.report_in import report_in
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.spec import Cascade, ChatPrompt, HeldTest, PriorAttempt, Prompt
from executor.types import Program
from executor.verdict import Verdict

_SPENT = "spend it yourself: take it off budget.wall_time before you ask; leave it out"


def cascade_in(
    message: solve_pb2.CascadeContext,
    path: str,
    prompts: tuple[Prompt, ...],
    tests: tuple[HeldTest, ...],
    limits: LimitSettings,
) -> Cascade:
    """The context of a request with these prompts and tests."""
    fields.refuse_present(message, {"time_spent": _SPENT}, path)
    fields.count(len(message.prior_attempts), f"{path}.prior_attempts", most=limits.max_prior_attempts, least=0)
    positions = [position for position, held in enumerate(tests) if not held.hidden]
    visible = Program(code="", tests=tuple(tests[position].test for position in positions))
    if message.attempts_in_prompt:
        _check_prompts(message, path, prompts)
    return Cascade(
        attempts=tuple(
            _attempt_in(attempt, f"{path}.prior_attempts[{index}]", visible, positions, limits)
            for index, attempt in enumerate(message.prior_attempts)
        ),
        in_prompt=message.attempts_in_prompt,
        tier=fields.count(message.tier, f"{path}.tier", least=0, most=255),
        upstream_model=fields.label(message.upstream_model, f"{path}.upstream_model").removeprefix("models/"),
        difficulty=(
            fields.number(message.difficulty, f"{path}.difficulty", least=0, most=1)
            if message.HasField("difficulty")
            else None
        ),
    )


def _check_prompts(message: solve_pb2.CascadeContext, path: str, prompts: tuple[Prompt, ...]) -> None:
    place = f"{path}.attempts_in_prompt"
    if not message.prior_attempts:
        raise InvalidRequest(place, "there are no prior_attempts that could be shown")
    if not any(isinstance(prompt, ChatPrompt) for prompt in prompts):
        raise Unsupported(place, "attempts can be shown in a chat only; send problem.chat, or leave it out")


def _attempt_in(
    message: solve_pb2.PriorAttempt, path: str, visible: Program, positions: list[int], limits: LimitSettings
) -> PriorAttempt:
    code = fields.text(message.code, f"{path}.code", most_bytes=limits.max_program_bytes)
    logprob = None
    if message.HasField("mean_logprob"):
        logprob = fields.number(message.mean_logprob, f"{path}.mean_logprob", least=-1e6, most=0)
    if not message.HasField("report"):
        return PriorAttempt(code=code, mean_logprob=logprob)
    if message.report.verdict == verdict_pb2.VERDICT_PASSED:
        # A pass decides the solve: it is believed to nobody but the sandbox here.
        return PriorAttempt(code=code, mean_logprob=logprob)
    try:
        report = report_in(message.report, visible, positions)
    except ValueError as error:
        field, _, told = str(error).partition(": ")
        raise InvalidRequest(f"{path}.report.{field}", told) from None
    judged = report.verdict not in (Verdict.SKIPPED, Verdict.SANDBOX_FAILURE)
    return PriorAttempt(code=code, report=report if judged else None, mean_logprob=logprob)
