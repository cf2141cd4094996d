"""Whether a program that is being written can still become valid Python."""

import ast
import warnings

from engine.text.python_lines import LineState
from engine.text.python_source import MAX_SOURCE

# From CPython's own "codeop", which asks the same question for its interactive prompt.
_FLAGS = ast.PyCF_ONLY_AST | 0x4000 | 0x200  # PyCF_ALLOW_INCOMPLETE_INPUT, PyCF_DONT_IMPLY_DEDENT
_OPEN = ("incomplete input", "unterminated triple-quoted", "was never closed", "unexpected EOF")


def is_hopeless(code: str) -> bool:
    """Whether no text after `code`, which ends with a whole line, makes a program of it that Python's parser takes.

    False as well where that cannot be told: within a string or brackets, and where the parser refuses to look.
    """
    if len(code) > MAX_SOURCE:
        return False
    state = LineState()
    for line in code.split("\n")[:-1]:
        state.feed(line)
    if not state.fresh:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(code, "<program>", "exec", _FLAGS, dont_inherit=True)
        except SyntaxError as error:
            return not (error.msg or "").startswith(_OPEN) and not (error.msg or "").endswith(_OPEN)
        except (ValueError, RecursionError, MemoryError, OverflowError):
            return False
    return False
