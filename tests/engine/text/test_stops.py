from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pieces import END, Pieces, cut, run
from support.tiny_gguf import write_gguf

from engine.core.types import FinishReason
from engine.text.stops import ProgramEnd, Stop, StopReason, StopRules
from engine.text.tokenizer import Tokenizer

ANSWER = (
    "Here is the function:\n\n```python\ndef f(x):\n    return x\n```\n\nIt returns x. For example:\n\n"
    "```python\nprint(f(1))\n```\n"
)


def test_a_control_token_ends_the_text() -> None:
    rules = StopRules(Pieces("abc"))  # pyright: ignore[reportArgumentType]
    assert rules.push(0) is None
    assert rules.push(END) == Stop(StopReason.END_OF_TEXT, 3)
    assert rules.text == "abc"


def test_an_unfinished_character_shows_at_the_end(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_gguf(write_gguf(tmp_path / "tiny.gguf"))
    rules = StopRules(tokenizer)
    first, _ = tokenizer.encode("é", special=False)
    assert rules.push(first) is None
    assert rules.text == ""
    assert rules.push(next(iter(tokenizer.eos_ids))) == Stop(StopReason.END_OF_TEXT, 1)
    assert rules.text == "\ufffd"


def test_the_reasons_are_those_of_the_core() -> None:
    assert {FinishReason(reason.value) for reason in StopReason} == set(FinishReason) - {FinishReason.LENGTH}


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="stop: a stop string is empty"):
        StopRules(Pieces(), stop=("x", ""))  # pyright: ignore[reportArgumentType]


@given(
    text=st.text("abX\n", max_size=40),
    stop=st.lists(st.text("abX\n", min_size=1, max_size=5), max_size=3),
    places=st.lists(st.integers(0, 40), max_size=40),
)
def test_the_first_stop_string_ends_the_text_however_it_is_cut(text: str, stop: list[str], places: list[int]) -> None:
    pieces = cut(text, places)
    rules, found = run(*pieces, stop=tuple(stop))
    # The end shows with the piece that completes a stop string; then the one that begins first counts.
    for count in range(len(pieces) + 1):
        seen = "".join(pieces[:count])
        starts = [seen.find(word) for word in stop if word in seen]
        if starts:
            assert found == Stop(StopReason.STOP_SEQUENCE, min(starts))
            assert rules.text == seen[: min(starts)]
            return
    assert found is None
    assert rules.text == text


@given(places=st.lists(st.integers(0, len(ANSWER)), max_size=60))
def test_a_chat_ends_with_its_first_program(places: list[int]) -> None:
    # A cut within the fence would end it one piece early or late; that is another test.
    end = ANSWER.index("```\n\nIt") + 3
    rules, found = run(*cut(ANSWER, [p for p in places if not end - 3 < p <= end + 1]), program=ProgramEnd.CHAT)
    assert found == Stop(StopReason.END_OF_PROGRAM, end)
    assert rules.text == ANSWER[:end]


def test_a_chat_ends_the_moment_its_fence_is_whole() -> None:
    pieces = ["```", "python", "\n", "x = 1", "\n", "``", "`", "\n", "more"]
    rules = StopRules(Pieces(*pieces), program=ProgramEnd.CHAT)  # pyright: ignore[reportArgumentType]
    stops = [rules.push(token) for token in range(7)]
    assert stops[:6] == [None] * 6
    assert stops[6] is not None


@pytest.mark.parametrize(
    ("text", "entry_point", "program"),
    [
        # The block that defines the entry point, not the first.
        ("```python\nimport math\n```\nand\n```python\ndef f():\n    return 1\n```\nok", "f", "    return 1\n```"),
        # A shell block is no program, whatever it holds.
        ("```bash\npip install f\n```\n```python\ndef f(): return 1\n```\nok", None, "return 1\n```"),
        # Output shown in an unmarked block is none either.
        ("```\n3\n```\n```\nf = lambda: 1\n```\nok", None, "f = lambda: 1\n```"),
        # An outline is not the program.
        ("```python\ndef f():\n    pass\n```\n```python\ndef f():\n    return 1\n```\n", "f", "return 1\n```"),
        # A fence inside a docstring belongs to the docstring.
        ('```python\ndef f():\n    """\n    ```\n    f()\n    ```\n    """\n    return 1\n```\n', "f", "return 1\n```"),
        # Longer fences and tildes; a fence in a list.
        ("````\ndef f():\n  return '```'\n````\n", "f", "'```'\n````"),
        ("~~~python\ndef f():\n  return 1\n~~~\n", "f", "return 1\n~~~"),
        ("1. So:\n   ```python\n   def f():\n       return 1\n   ```\n2. No", "f", "return 1\n   ```"),
        # Assigned and decorated entry points.
        ("```python\nf = functools.cache(g)\n```\n", "f", "(g)\n```"),
        ("```python\n@cache\nasync def f(): return 1\n```\n", "f", "return 1\n```"),
        # Not the name that only begins with the entry point's.
        ("```python\ndef f2(): return 2\n```\n```python\ndef f(): return 1\n```\n", "f", "f(): return 1\n```"),
    ],
)
def test_which_block_is_the_program(text: str, entry_point: str | None, program: str) -> None:
    rules, found = run(*text, program=ProgramEnd.CHAT, entry_point=entry_point)
    assert found is not None and found.reason is StopReason.END_OF_PROGRAM
    assert rules.text == text[: text.index(program) + len(program)]


@pytest.mark.parametrize(
    ("text", "entry_point"),
    [
        ("Use `f` and ``g`` or ~~not~~.\n", None),
        ("```python\ndef g(): return 1\n```\n", "f"),
        ("```python\ndef f():\n    return 1\n", "f"),
        ("```f()```\n", None),
        ("def f():\n    return 1\n\nprint(f())\n", "f"),
    ],
)
def test_a_chat_without_a_whole_program_goes_on(text: str, entry_point: str | None) -> None:
    rules, found = run(*text, program=ProgramEnd.CHAT, entry_point=entry_point)
    assert found is None
    assert rules.text == text


def test_the_stop_that_comes_first_in_the_text_counts() -> None:
    _, found = run("```\nx = 1\n```\nSTOP", program=ProgramEnd.CHAT, stop=("STOP", "1"))
    assert found == Stop(StopReason.STOP_SEQUENCE, 8)
    _, found = run("```\nx = 1\n```\nSTOP", program=ProgramEnd.CHAT, stop=("STOP",))
    assert found == Stop(StopReason.END_OF_PROGRAM, 13)


PROGRAM = "    y = [\n1,\n]\n\n    return g(y, '''\nprint''')\n\n\ndef g(y, z):\n    return y\n"


@given(
    places=st.lists(st.integers(0, 80), max_size=80),
    fork_at=st.integers(0, 80),
    mode=st.sampled_from([ProgramEnd.CHAT, ProgramEnd.COMPLETION]),
)
def test_forks_are_independent(places: list[int], fork_at: int, mode: ProgramEnd) -> None:
    text = PROGRAM + "\nprint(f(1))\n```\nx = 1\n```\n"
    pieces = cut(text, places)
    others = ["\n```\ny=2", "\n", "```\n", "def h(): pass\n"]
    tokenizer = Pieces(*pieces, *others)
    rules = StopRules(tokenizer, program=mode, prompt="def f(x):\n")  # pyright: ignore[reportArgumentType]
    _, expected = run(*pieces, program=mode, prompt="def f(x):\n")
    found = None
    for token in range(len(pieces)):
        if token == fork_at:
            copy = rules.fork()
            for other in range(len(pieces), len(pieces) + len(others)):
                if copy.push(other) is not None:
                    break
        found = rules.push(token)
        if found is not None:
            break
    assert found == expected
