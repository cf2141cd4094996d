"""Prompts with a hole, and what is made of the middle."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_gguf import vocabulary, write_gguf

from engine.models.catalogue import fetch
from engine.text.extract import Found
from engine.text.infill import InfillForm, NoPlaceForPath
from engine.text.middle import fill, repeated_from
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


@pytest.mark.parametrize(
    ("text", "middle"),
    [
        (LOOP, LOOP),
        (LOOP + SUFFIX, LOOP),
        (LOOP + SUFFIX + "\n\ndef other():\n    pass\n", LOOP),
        (LOOP + SUFFIX[:30], LOOP),
        (LOOP + "Now I explain it.\n", LOOP),
        (LOOP + "    if (", LOOP),
        ("```python\n" + LOOP + "```\n", LOOP),
    ],
    ids=["right", "repeats", "goes on", "repeats in part", "talks", "cut off", "fenced"],
)
def test_the_middle_ends_before_what_does_not_belong_to_it(text: str, middle: str) -> None:
    found = fill(PREFIX, text, SUFFIX)
    assert found.code == PREFIX + middle + SUFFIX
    assert found.reason is Found.FILLED


def test_a_line_that_the_suffix_begins_with_may_be_in_the_middle() -> None:
    suffix = "    return 0\n"
    text = "    if n < 0:\n        n = -n\n    if n > 9:\n        return 0\n    n += 1\n"
    assert repeated_from(text, suffix) is None
    assert fill("def f(n):\n", text, suffix).code == "def f(n):\n" + text + suffix


def test_a_hole_within_a_line() -> None:
    assert fill("total = sum(", "xs", ") / len(xs)\n").code == "total = sum(xs) / len(xs)\n"
    assert fill("total = sum(", "xs\n", ") / len(xs)\n").code == "total = sum(xs\n) / len(xs)\n"


def test_what_nothing_helps_comes_back_whole() -> None:
    found = fill("def f(:\n", "    pass\n", "x = 1\n")
    assert (found.code, found.reason) == ("def f(:\n    pass\nx = 1\n", Found.NOTHING)


PIECES = st.lists(
    st.sampled_from(["x = 1\n", "if x:\n", "    y = 2\n", "```\n", "(", ")", "\n", " ", "é"]), max_size=12
)


@given(prefix=PIECES, text=PIECES, suffix=PIECES)
def test_prefix_and_suffix_are_kept_to_the_byte(prefix: list[str], text: list[str], suffix: list[str]) -> None:
    before, after = "".join(prefix), "".join(suffix)
    code = fill(before, "".join(text), after).code
    assert code.startswith(before) and code.endswith(after) and len(code) >= len(before) + len(after)
