"""Problems, programs, tests and limits: from proto to domain, checked."""

from collections.abc import Sequence

from thresher.v1 import execution_service_pb2, problem_pb2

from engine.config import ExecutorSettings, LimitSettings
from engine.serving import fields
from engine.serving.limits import limits_in
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.spec import ChatMessage, ChatPrompt, CompletionPrompt, HeldTest, InfillPrompt, Prompt
from executor.types import CallTest, Comparison, Limits, Program, SnippetTest, StdioTest, Test

_ROLES = ("system", "user", "assistant")
_MOST_MESSAGES = 256
_MOST_VARIANTS = 15
_MOST_ARGUMENTS = 64
_NO_LANGUAGE = "LANGUAGE_UNSUPPORTED"
_LONGEST_PATH = 1000
COMPARISONS = {
    problem_pb2.COMPARISON_EXACT: Comparison.EXACT,
    problem_pb2.COMPARISON_APPROX: Comparison.APPROX,
    problem_pb2.COMPARISON_UNORDERED: Comparison.UNORDERED,
    problem_pb2.COMPARISON_TOKENS: Comparison.TOKENS,
    problem_pb2.COMPARISON_LINES: Comparison.LINES,
    problem_pb2.COMPARISON_APPS: Comparison.APPS,
    problem_pb2.COMPARISON_JUDGE: Comparison.JUDGE,
}
_FOR_CALLS = (Comparison.EXACT, Comparison.APPROX, Comparison.UNORDERED, Comparison.APPS)
_FOR_STDIO = tuple(Comparison)
_LANGUAGES = {
    problem_pb2.LANGUAGE_UNSPECIFIED: "python",
    problem_pb2.LANGUAGE_PYTHON: "python",
    problem_pb2.LANGUAGE_CPP: "cpp",
    problem_pb2.LANGUAGE_JAVASCRIPT: "javascript",
}


def language_in(value: problem_pb2.Language.ValueType, path: str) -> str:
    """The executor's name of a language; whether this machine runs it, the executor says."""
    if value not in _LANGUAGES:
        raise Unsupported(path, f"{value} is not a language that this server knows", reason=_NO_LANGUAGE)
    return _LANGUAGES[value]


def drawn_language_in(value: problem_pb2.Language.ValueType, path: str) -> None:
    """Refuse languages of which no programs are drawn here."""
    if language_in(value, path) != "python":
        name = problem_pb2.Language.Name(value)
        raise Unsupported(path, f"{name} programs can be executed, not drawn; take PYTHON", reason=_NO_LANGUAGE)


def variants_in(problem: problem_pb2.Problem, path: str, limits: LimitSettings) -> tuple[Prompt, ...]:
    """The other prompts of a problem."""
    fields.count(len(problem.variants), f"{path}.variants", most=_MOST_VARIANTS, least=0)
    return tuple(
        prompt_in(variant, f"{path}.variants[{index}]", limits) for index, variant in enumerate(problem.variants)
    )


def prompt_in(problem: problem_pb2.Problem | problem_pb2.PromptVariant, path: str, limits: LimitSettings) -> Prompt:
    """A prompt of a problem, within `limits.max_prompt_bytes`."""
    match problem.WhichOneof("prompt"):
        case "completion":
            completion = problem.completion
            text = fields.text(completion.text, f"{path}.completion.text", most_bytes=limits.max_prompt_bytes)
            return CompletionPrompt(text=text, part_of_program=completion.part_of_program)
        case "chat":
            return _chat_in(problem.chat, f"{path}.chat", limits)
        case "infill":
            return _infill_in(problem.infill, f"{path}.infill", limits)
        case None:
            raise InvalidRequest(f"{path}.prompt", "is missing; set completion, chat or infill")


def _infill_in(infill: problem_pb2.InfillPrompt, path: str, limits: LimitSettings) -> InfillPrompt:
    most = limits.max_prompt_bytes
    prefix = fields.text(infill.prefix, f"{path}.prefix", most_bytes=most, empty=True)
    suffix = fields.text(infill.suffix, f"{path}.suffix", most_bytes=most - len(prefix.encode()), empty=True)
    if not prefix and not suffix:
        raise InvalidRequest(f"{path}.prefix", "is empty, and so is suffix; there is nothing to fill in between")
    name = fields.label(infill.path, f"{path}.path", most=_LONGEST_PATH)
    return InfillPrompt(prefix=prefix, suffix=suffix, path=name)


def _chat_in(chat: problem_pb2.ChatPrompt, path: str, limits: LimitSettings) -> ChatPrompt:
    if not chat.messages:
        raise InvalidRequest(f"{path}.messages", "is empty; at least one message of the user is needed")
    fields.count(len(chat.messages), f"{path}.messages", most=_MOST_MESSAGES)
    messages: list[ChatMessage] = []
    left = limits.max_prompt_bytes
    for index, message in enumerate(chat.messages):
        place = f"{path}.messages[{index}]"
        if message.role not in _ROLES:
            raise InvalidRequest(f"{place}.role", f"is {message.role[:40]!r}; the roles are {', '.join(_ROLES)}")
        fields.text(message.content, f"{place}.content", most_bytes=left)
        left -= len(message.content.encode())
        messages.append(ChatMessage(role=message.role, content=message.content))
    if messages[-1].role != "user":
        raise InvalidRequest(f"{path}.messages[{len(messages) - 1}].role", "the last message must be the user's")
    return ChatPrompt(messages=tuple(messages))


def entry_point_in(value: str, path: str) -> str | None:
    """A function name, or None for an empty field."""
    return fields.identifier(value, path) if value else None


def tests_in(
    problem: problem_pb2.Problem,
    path: str,
    entry_point: str | None,
    base: Limits,
    limits: LimitSettings,
    maxima: ExecutorSettings,
) -> tuple[HeldTest, ...]:
    """The tests of a problem: at least one visible, and the visible ones weigh something together."""
    held = held_tests_in(problem.tests, f"{path}.tests", entry_point, base, limits, maxima)
    visible = [one.test for one in held if not one.hidden]
    if not visible:
        raise InvalidRequest(f"{path}.tests", "has no visible test; a candidate must have something to pass")
    if sum(test.weight for test in visible) <= 0:
        raise InvalidRequest(f"{path}.tests", "all visible tests have weight 0")
    return held


def held_tests_in(
    tests: Sequence[problem_pb2.Test],
    path: str,
    entry_point: str | None,
    base: Limits,
    limits: LimitSettings,
    maxima: ExecutorSettings,
) -> tuple[HeldTest, ...]:
    """Tests as they are, whatever the problem's others."""
    fields.count(len(tests), path, most=limits.max_tests, least=0)
    return tuple(
        HeldTest(test=_test_in(test, f"{path}[{index}]", entry_point, base, limits, maxima), hidden=test.hidden)
        for index, test in enumerate(tests)
    )


def program_in(
    message: execution_service_pb2.Program, path: str, limits: LimitSettings, maxima: ExecutorSettings
) -> Program:
    """A program for ExecutionService."""
    language = language_in(message.language, f"{path}.language")
    entry_point = entry_point_in(message.entry_point, f"{path}.entry_point")
    base = limits_in(message.limits if message.HasField("limits") else None, f"{path}.limits", Limits(), maxima)
    if not message.tests:
        raise InvalidRequest(f"{path}.tests", "is empty; a program without a test has no verdict")
    fields.count(len(message.tests), f"{path}.tests", most=limits.max_tests)
    for index, test in enumerate(message.tests):
        if test.hidden:
            raise Unsupported(f"{path}.tests[{index}].hidden", "Execute runs and reports every test; leave it out")
    tests = tuple(
        _test_in(test, f"{path}.tests[{index}]", entry_point, base, limits, maxima)
        for index, test in enumerate(message.tests)
    )
    if sum(test.weight for test in tests) <= 0:
        raise InvalidRequest(f"{path}.tests", "all tests have weight 0")
    return Program(
        code=fields.text(message.code, f"{path}.code", most_bytes=limits.max_program_bytes),
        tests=tests,
        entry_point=entry_point,
        setup_code=fields.text(
            message.setup_code, f"{path}.setup_code", most_bytes=limits.max_program_bytes, empty=True
        ),
        limits=base,
        run_all=message.run_all,
        any_order=message.any_order,
        language=language,
    )


def _test_in(
    test: problem_pb2.Test,
    path: str,
    entry_point: str | None,
    base: Limits,
    limits: LimitSettings,
    maxima: ExecutorSettings,
) -> Test:
    name = fields.label(test.name, f"{path}.name")
    weight = 1.0
    if test.HasField("weight"):
        weight = fields.number(test.weight, f"{path}.weight", least=0, most=1e9)
    own = limits_in(test.limits, f"{path}.limits", base, maxima) if test.HasField("limits") else None
    match test.WhichOneof("kind"):
        case "snippet":
            code = fields.text(test.snippet.code, f"{path}.snippet.code", most_bytes=limits.max_program_bytes)
            return SnippetTest(code=code, name=name, weight=weight, limits=own)
        case "call":
            return _call_in(test.call, f"{path}.call", entry_point, name, weight, own)
        case "stdio":
            return _stdio_in(test.stdio, f"{path}.stdio", name, weight, own, limits)
        case None:
            raise InvalidRequest(f"{path}.kind", "is missing; set snippet, call or stdio")


def _call_in(
    call: problem_pb2.CallTest, path: str, entry_point: str | None, name: str, weight: float, limits: Limits | None
) -> CallTest:
    function = fields.identifier(call.function, f"{path}.function") if call.function else entry_point
    if function is None:
        raise InvalidRequest(f"{path}.function", "is missing, and the problem has no entry_point to take its place")
    expected_json: str | None = None
    expected_exception: str | None = None
    match call.WhichOneof("expected"):
        case "expected_json":
            expected_json = fields.json_value(call.expected_json, f"{path}.expected_json")
        case "expected_exception":
            expected_exception = fields.identifier(call.expected_exception, f"{path}.expected_exception", dotted=True)
        case None:
            raise InvalidRequest(f"{path}.expected", "is missing; set expected_json or expected_exception")
    comparison = _comparison_in(call.comparison, f"{path}.comparison", Comparison.EXACT, _FOR_CALLS)
    if expected_exception is not None and comparison is not Comparison.EXACT:
        raise InvalidRequest(f"{path}.comparison", "has no meaning beside expected_exception; leave it out")
    rel_tol, abs_tol = _tolerances_in(call, path, comparison)
    return CallTest(
        function=function,
        args_json=fields.json_value(call.args_json or "[]", f"{path}.args_json", list),
        kwargs_json=fields.json_value(call.kwargs_json or "{}", f"{path}.kwargs_json", dict),
        expected_json=expected_json,
        expected_exception=expected_exception,
        comparison=comparison,
        rel_tol=rel_tol,
        abs_tol=abs_tol,
        name=name,
        weight=weight,
        limits=limits,
    )


def _stdio_in(
    stdio: problem_pb2.StdioTest, path: str, name: str, weight: float, own: Limits | None, limits: LimitSettings
) -> StdioTest:
    usual = Comparison.JUDGE if stdio.judge else Comparison.LINES
    comparison = _comparison_in(stdio.comparison, f"{path}.comparison", usual, _FOR_STDIO)
    if (comparison is Comparison.JUDGE) != bool(stdio.judge):
        raise InvalidRequest(f"{path}.judge", "goes with COMPARISON_JUDGE and with no other; set both or neither")
    judge = fields.text(stdio.judge, f"{path}.judge", most_bytes=limits.max_program_bytes, empty=True)
    rel_tol, abs_tol = _tolerances_in(stdio, path, comparison)
    fields.count(len(stdio.argv), f"{path}.argv", most=_MOST_ARGUMENTS, least=0)
    for index, argument in enumerate(stdio.argv):
        if "\0" in argument or len(argument) > 4096:
            raise InvalidRequest(f"{path}.argv[{index}]", "must have at most 4096 characters and no NUL")
    return StdioTest(
        stdin=stdio.stdin,
        expected_stdout=stdio.expected_stdout,
        comparison=comparison,
        rel_tol=rel_tol,
        abs_tol=abs_tol,
        judge=judge,
        argv=tuple(stdio.argv),
        name=name,
        weight=weight,
        limits=own,
    )


def _comparison_in(
    value: problem_pb2.Comparison.ValueType, path: str, default: Comparison, served: tuple[Comparison, ...]
) -> Comparison:
    table = {problem_pb2.COMPARISON_UNSPECIFIED: default, **COMPARISONS}
    comparison = fields.choice(value, table, problem_pb2.Comparison.DESCRIPTOR, path)
    if comparison not in served:
        names = ", ".join(word.upper() for word in served)
        raise InvalidRequest(path, f"{comparison.upper()} does not fit this kind of test; there are: {names}")
    return comparison


def _tolerances_in(
    test: problem_pb2.CallTest | problem_pb2.StdioTest, path: str, comparison: Comparison
) -> tuple[float, float]:
    relative, absolute = 1e-9, 0.0
    if test.HasField("rel_tol"):
        relative = _tolerance_in(test.rel_tol, f"{path}.rel_tol", comparison)
    if test.HasField("abs_tol"):
        absolute = _tolerance_in(test.abs_tol, f"{path}.abs_tol", comparison)
    return relative, absolute


def _tolerance_in(value: float, path: str, comparison: Comparison) -> float:
    if comparison is not Comparison.APPROX:
        raise InvalidRequest(path, "applies to COMPARISON_APPROX only")
    return fields.number(value, path, least=0, most=1e300)
