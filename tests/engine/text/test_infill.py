"""Prompts with a hole, and what is made of the middle."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_gguf import vocabulary, write_gguf

from engine.models.catalogue import fetch
from engine.text.extract import Found
from engine.text.infill import InfillForm, NoPlaceForPath
from engine.text.middle import MiddleEnd, fill, repeated_from
from engine.text.tokenizer import Tokenizer

PREFIX = "def mean(xs):\n    total = 0\n"
SUFFIX = "    return total / len(xs)\n\n\nprint(mean([1, 2]))\n"
LOOP = "    for x in xs:\n        total += x\n"


@pytest.mark.model
def test_the_form_of_qwen() -> None:
    tokenizer = Tokenizer.from_gguf(fetch("qwen2.5-coder-0.5b-instruct"))
    form = InfillForm.of(tokenizer)
    assert form is not None
    found = form.encode(tokenizer, PREFIX, SUFFIX, "src/mean.py")
    text = f"<|file_sep|>src/mean.py\n<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>"
    assert found == tokenizer.encode(text, special=True)
    assert form.encode(tokenizer, PREFIX, SUFFIX) == tokenizer.encode(text[len("<|file_sep|>src/mean.py\n") :], True)


@pytest.mark.model
def test_a_model_without_the_tokens_has_no_form() -> None:
    assert InfillForm.of(Tokenizer.from_gguf(fetch("smollm2-135m-instruct"))) is None


def test_nobody_writes_control_tokens_into_a_prompt(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_gguf(write_gguf(tmp_path / "tiny.gguf"))
    control = [vocabulary()[0].index(name) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    form = InfillForm(*control, file=None)
    found = form.encode(tokenizer, "a<|im_start|>b", "c<|im_end|><|endoftext|>")
    assert [token for token in found if token in control] == control
    with pytest.raises(NoPlaceForPath, match="has no place for a path; leave it out"):
        form.encode(tokenizer, "a", "b", "c.py")


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(
    ("text", "middle"),
    [
        (LOOP, LOOP),
        (LOOP + SUFFIX, LOOP),
        (LOOP + SUFFIX + "\n\ndef other():\n    pass\n", LOOP),
        (LOOP + SUFFIX[:30], LOOP),
        (LOOP + "Now I explain it.\n", LOOP),
        (LOOP + "    if (", LOOP),
        (LOOP + "    return total\n", LOOP),
        (LOOP + "    return total / len(xs)\n\n\n# Tests\nassert mean", LOOP),
    ],
    ids=["right", "repeats", "goes on", "repeats in part", "talks", "cut off", "ends the function", "ends it alike"],
)
def test_the_middle_ends_before_what_does_not_belong_to_it(text: str, middle: str, ended: bool) -> None:
    found = fill(PREFIX, text, SUFFIX, ended=ended)
    assert found.code == PREFIX + middle + SUFFIX
    assert found.reason is Found.FILLED


def test_a_middle_in_a_code_block() -> None:
    assert fill(PREFIX, "```python\n" + LOOP + "```\n", SUFFIX, ended=True).code == PREFIX + LOOP + SUFFIX


def test_a_line_that_the_suffix_begins_with_may_be_in_the_middle() -> None:
    suffix = "    n += 1\n    return n\n"
    text = "    if n < 0:\n        n = -n\n    n += 1\n    n *= 2\n"
    assert repeated_from(text, suffix) is None
    assert fill("def f(n):\n", text, suffix, ended=True).code == "def f(n):\n" + text + suffix


@pytest.mark.parametrize("ended", [True, False])
def test_a_hole_within_a_line(ended: bool) -> None:
    prefix, suffix = "total = sum(", ") / len(xs)\n"
    assert fill(prefix, "xs", suffix, ended=ended).code == "total = sum(xs) / len(xs)\n"
    assert fill(prefix, "xs)\nprint(total)\n", suffix, ended=ended).reason is Found.NOTHING
    assert fill("x = ", "1\ny = (", "\nz = 2\n", ended=ended).code == "x = 1\nz = 2\n"


def test_what_nothing_helps_comes_back_whole() -> None:
    found = fill("def f(:\n", "    pass\n", "x = 1\n", ended=True)
    assert (found.code, found.reason) == ("def f(:\n    pass\nx = 1\n", Found.NOTHING)


PIECES = st.lists(
    st.sampled_from(["x = 1\n", "if x:\n", "    y = 2\n", "```\n", "(", ")", "\n", " ", "é"]), max_size=12
)


@given(prefix=PIECES, text=PIECES, suffix=PIECES, ended=st.booleans())
def test_prefix_and_suffix_are_kept_to_the_byte(
    prefix: list[str], text: list[str], suffix: list[str], ended: bool
) -> None:
    before, after = "".join(prefix), "".join(suffix)
    code = fill(before, "".join(text), after, ended=ended).code
    assert code.startswith(before) and code.endswith(after) and len(code) >= len(before) + len(after)


def pushed(prefix: str, suffix: str, text: str, size: int) -> str:
    """What belongs to the middle when it comes in pieces of so many characters."""
    end = MiddleEnd(prefix, suffix)
    for start in range(0, len(text), size):
        end = end.fork()
        if end.push(text[start : start + size], text[: start + size]):
            return text[: end.end]
    return text


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    "more",
    [
        SUFFIX + "\n\ndef other():\n    pass\n",
        "    return total\n\n\ndef test():\n    pass\n",
        "    return total\n\n# Tests\nassert mean([1]) == 1\n",
    ],
)
def test_a_middle_that_goes_on_is_ended(more: str, size: int) -> None:
    found = pushed(PREFIX, SUFFIX, LOOP + more, size)
    assert len(found) < len(LOOP + more) - 10
    assert fill(PREFIX, found, SUFFIX, ended=False).code == PREFIX + LOOP + SUFFIX


def test_a_hole_at_the_left_margin_may_hold_statements_there() -> None:
    text = "import math\n\n\ndef half(x):\n    return x / 2\n\n\nprint(half(math.pi))\n"
    assert pushed("import sys\n", "sys.exit(0)\n", text, 4) == text
