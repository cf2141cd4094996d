"""Constraints: whatever is drawn from the masks matches, at every fork; what is no constraint is refused."""

import importlib.util
import json
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_gguf import write_gguf

from engine.models.catalogue import fetch
from engine.text import constraint
from engine.text.constraint import Grammars, Kind, NotInstalled
from engine.text.stops import StopReason, StopRules
from engine.text.tokenizer import Tokenizer

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 3}, "n": {"enum": [1, 22, None]}},
        "required": ["name", "n"],
        "additionalProperties": False,
    }
)
LARK = 'start: sum\nsum: NUMBER (" + " NUMBER){1,2}\nNUMBER: /[0-9]{1,2}/\n'
GBNF = 'root ::= number (" + " number)? " + " number\nnumber ::= [0-9] [0-9]?\n'
SUM = r"\d{1,2}( \+ \d{1,2}){1,2}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_gguf(write_gguf(tmp_path_factory.mktemp("tokenizer") / "tiny.gguf"))


def allowed(rules: StopRules) -> list[int]:
    mask = rules.mask
    assert mask is not None
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()


def walk(rules: StopRules, chance: np.random.Generator, most: int = 400) -> StopReason | None:
    """Draw from the masks until the text ends."""
    for _ in range(most):
        stop = rules.push(int(chance.choice(allowed(rules))))
        if stop is not None:
            return stop.reason
    return None


def matches(kind: Kind, text: str) -> bool:
    if kind == "json_schema":
        found = json.loads(text)
        return set(found) == {"name", "n"} and len(found["name"]) <= 3 and found["n"] in (1, 22, None)
    return re.fullmatch(SUM if kind == "ebnf" else r"(ab|cd)+[0-9]{2,4}é?", text) is not None


@pytest.mark.parametrize(
    ("kind", "text"),
    [("regex", "(ab|cd)+[0-9]{2,4}é?"), ("ebnf", LARK), ("ebnf", GBNF), ("json_schema", SCHEMA)],
)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_the_masks_allow_matches(tokenizer: Tokenizer, kind: Kind, text: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    rules = StopRules(tokenizer, constraint=_grammars(tokenizer).compile(kind, text))
    for _ in range(int(chance.integers(0, 6))):
        if rules.push(int(chance.choice(allowed(rules)))) is not None:
            break
    else:
        fork = rules.fork()
        before = allowed(rules)
        assert walk(fork, chance) in (StopReason.END_OF_TEXT, None)
        assert allowed(rules) == before, "a fork leaves its parent alone"
        if walk(rules, chance) is None:
            return  # white space between the parts of a JSON text may go on for ever
    assert matches(kind, rules.text), rules.text


_MADE: dict[int, Grammars] = {}


def _grammars(tokenizer: Tokenizer) -> Grammars:
    return _MADE.setdefault(id(tokenizer), Grammars(tokenizer))


def test_a_text_may_end_only_where_it_matches(tokenizer: Tokenizer) -> None:
    rules = StopRules(tokenizer, constraint=_grammars(tokenizer).compile("regex", "ab?"))
    end = min(tokenizer.eos_ids)
    assert end not in allowed(rules)
    (token,) = tokenizer.encode("a", special=False)
    assert rules.push(token) is None
    assert end in allowed(rules)
    with pytest.raises(ValueError, match="does not fit the constraint"):
        rules.fork().push(token)
    (last,) = tokenizer.encode("b", special=False)
    stop = rules.push(last)
    assert stop is not None, "nothing can follow"
    assert (stop.reason, rules.text) == (StopReason.END_OF_TEXT, "ab")


def test_masks_are_as_long_as_the_vocabulary(tokenizer: Tokenizer) -> None:
    mask = _grammars(tokenizer).compile("regex", "(?s:.*)").mask
    assert mask.shape == (-(-tokenizer.vocab_size // 32),)
    assert mask.dtype == np.uint32
    assert not any(
        token >= tokenizer.vocab_size for token in np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
    )


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("regex", "(ab", "unclosed group"),
        ("ebnf", "start: foo", 'unknown name: "foo"'),
        ("ebnf", "root ::= [a-z", "GBNF"),
        ("json_schema", '{"type": "objec"}', "Invalid type: objec"),
        ("json_schema", "{", "line 1 column 2"),
        ("regex", "a" * 300_000, "at most 262144"),
    ],
)
def test_what_is_no_constraint_is_refused_with_the_reason(
    tokenizer: Tokenizer, kind: Kind, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _grammars(tokenizer).compile(kind, text)


def test_without_the_extra_the_way_to_it_is_named(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not constraint.available()
    with pytest.raises(NotInstalled, match=r"pip install 'thresher\[constraints\]'"):
        Grammars(tokenizer).compile("regex", "a")


def test_an_extra_that_does_not_load_is_told_with_its_reason(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constraint, "available", lambda: True)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(NotInstalled, match=r"does not load here \(.*llguidance.*\): pip install"):
        Grammars(tokenizer).compile("regex", "a")


@pytest.mark.model
def test_a_real_tokenizer_is_walked_too() -> None:
    chance = np.random.default_rng(7)
    tokenizer = Tokenizer.from_gguf(fetch("smollm2-135m-instruct"))
    grammars = Grammars(tokenizer)
    for _ in range(5):
        compiled = grammars.compile("regex", r"def f\(x\): return x \*\* [1-9][0-9]?\n")
        rules = StopRules(tokenizer, constraint=compiled)
        assert walk(rules, chance) is StopReason.END_OF_TEXT
        compile(rules.text, "x", "exec")
