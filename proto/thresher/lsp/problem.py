"""From a function and its tests to the messages that the server takes: problems to solve, programs to judge."""

import ast
from dataclasses import dataclass

from thresher.client.prompts import chat_prompt
from thresher.lsp.examples import SETUP
from thresher.lsp.excerpt import Excerpt, excerpt
from thresher.lsp.found import FoundTest
from thresher.lsp.functions import Function, Source
from thresher.v1 import execution_service_pb2, problem_pb2


@dataclass(frozen=True, slots=True)
class Task:
    """A function to write: where it stands, what decides over it, and what of its file goes along."""

    source: Source
    function: Function
    tests: tuple[FoundTest, ...]
    excerpt: Excerpt

    @classmethod
    def of(cls, source: Source, tree: ast.Module, function: Function, tests: tuple[FoundTest, ...]) -> "Task":
        """The task of writing `function`, a function of `tree`, which is the tree of `source`."""
        return cls(source, function, tests, excerpt(source, tree, function, tests))

    @property
    def setup(self) -> str:
        """What the tests need after the program."""
        return SETUP if any(test.expected is not None for test in self.tests) else ""

    def chat(self) -> problem_pb2.Problem:
        """The problem in words. A function that makes sense on its own is asked for alone, and the rest of the file is
        set up around it; otherwise the answer has to hold what it leans on."""
        if not self.excerpt.leaning:
            context = self.excerpt.around
            problem = self._problem(context + self.setup)
            content = chat_prompt(self._function_alone(), self._shown(), self.function.name)
        else:
            problem = self._problem(self.excerpt.imports + self.setup)
            content = self._whole_excerpt()
        problem.chat.messages.add(role="user", content=content)
        return problem

    def infill(self) -> problem_pb2.Problem:
        """The file with a hole where the body belongs."""
        before, after = self.source.around(self.function)
        above, below = self.excerpt.sides()
        return self.infill_between(f"{above}{before}{self.source.head(self.function)}", f"{after}{below}")

    def infill_between(self, prefix: str, suffix: str) -> problem_pb2.Problem:
        """The problem of filling a hole."""
        problem = self._problem(self.setup)
        problem.infill.prefix = prefix
        problem.infill.suffix = suffix
        return problem

    def answer(self, text: str) -> str:
        """What a model that was asked by `chat` would have answered, were `text` its function."""
        return f"```python\n{self._with(text, needed=True) if self.excerpt.leaning else text}```"

    def program(self, text: str) -> execution_service_pb2.Program:
        """The excerpt with `text` in the function's place, to be judged by all tests."""
        return execution_service_pb2.Program(
            code=self._with(text),
            entry_point=self.function.name,
            setup_code=self.setup,
            tests=self._sent(),
            run_all=True,
        )

    def _problem(self, setup: str) -> problem_pb2.Problem:
        return problem_pb2.Problem(entry_point=self.function.name, setup_code=setup, tests=self._sent())

    def _sent(self) -> list[problem_pb2.Test]:
        return [problem_pb2.Test(snippet=problem_pb2.SnippetTest(code=test.code)) for test in self.tests]

    def _shown(self) -> list[problem_pb2.Test]:
        return [problem_pb2.Test(snippet=problem_pb2.SnippetTest(code=test.shown)) for test in self.tests]

    def _with(self, text: str, *, needed: bool = False) -> str:
        """The excerpt, or what is needed of it, with `text` in the function's place."""
        above, below = self.excerpt.sides(needed=needed)
        before, after = self.source.around(self.function)
        return f"{above}{before}{text}{after}{below}"

    def _stub(self) -> str:
        return f"{self.source.head(self.function)}{self.source.body_indent(self.function)}...\n"

    def _function_alone(self) -> str:
        before, _ = self.source.around(self.function)
        text = f"Write this Python function:\n```python\n{before}{self._stub()}```"
        if self.excerpt.outline:
            text += f"\nIt stands in a file that has:\n```python\n{self.excerpt.outline}```"
        return text

    def _whole_excerpt(self) -> str:
        code = self._with(self._stub(), needed=True)
        tests = "\n".join(test.shown for test in self.tests)
        return (
            "You are an expert Python programmer, and here is your task:\n"
            f"Write the body of `{self.function.dotted}` in this code:\n```python\n{code}```\n\n"
            f"Your code should pass these tests:\n```python\n{tests}\n```\n\n"
            "Write all of the code above again, with that body, in one ```python code block. Do not repeat the tests."
        )
