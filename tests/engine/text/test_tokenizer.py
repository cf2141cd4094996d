from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_gguf import CONTROL, vocabulary, write_gguf

from engine.models.catalogue import CATALOGUE, fetch
from engine.text.gguf_header import GgufError
from engine.text.tokenizer import IncrementalDecoder, Tokenizer, UnencodableText

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("def x()'\n\t :ré🎉\u0301<|im_end>")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_gguf(write_gguf(tmp_path_factory.mktemp("tokenizer") / "tiny.gguf"))


@pytest.fixture(scope="module", params=list(CATALOGUE))
def real(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.from_gguf(fetch(request.param))


def check_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, special=False)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert tokenizer.decode(ids) == text
    assert not tokenizer.eos_ids.intersection(ids)


@settings(deadline=None, max_examples=300)
@given(text=TEXTS)
def test_round_trips_are_byte_exact(tiny: Tokenizer, text: str) -> None:
    check_round_trip(tiny, text)


@pytest.mark.model
@settings(deadline=None, max_examples=200)
@given(text=TEXTS)
def test_round_trips_of_real_models_are_byte_exact(real: Tokenizer, text: str) -> None:
    try:
        check_round_trip(real, text)
    except UnencodableText:
        missing = {byte for byte in range(256) if byte in (4, 6, 0x13, 0x14, 0x16, 0x1D) or byte > 0xF0}
        assert real.vocab_size == CATALOGUE_VOCABULARIES["smollm2-135m-instruct"]
        assert missing.intersection(text.encode())


CATALOGUE_VOCABULARIES = {"qwen2.5-coder-0.5b-instruct": 151_936, "smollm2-135m-instruct": 49_152}


@pytest.mark.model
def test_source_files_survive(real: Tokenizer) -> None:
    for path in sorted(Path(__file__).parents[3].glob("engine/text/*.py")):
        check_round_trip(real, path.read_text())


def test_merges_apply(tiny: Tokenizer) -> None:
    assert [tiny.token_bytes(token) for token in tiny.encode("def re", special=False)] == [b"def", b" ", b"re"]


def test_control_tokens_are_text_unless_asked_for(tiny: Tokenizer) -> None:
    text = "<|im_start|>user"
    assert tiny.encode(text, special=True)[0] == tiny.token_id("<|im_start|>")
    plain = tiny.encode(text, special=False)
    assert tiny.token_id("<|im_start|>") not in plain
    assert tiny.decode(plain) == text
    # The one encoding leaves no trace in the other.
    assert tiny.encode(text, special=True)[0] == tiny.token_id("<|im_start|>")


def test_control_and_unused_tokens_have_no_text(tiny: Tokenizer) -> None:
    tokens, _ = vocabulary()
    for name in (*CONTROL, "[PAD0]"):
        assert tiny.token_bytes(tokens.index(name)) == b""
    assert tiny.token_bytes(tokens.index("<tool_call>")) == b"<tool_call>"
    assert tiny.eos_ids == {tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")}
    assert tiny.vocab_size == len(tokens)
    assert tiny.token_id("def") is None


@settings(deadline=None, max_examples=300)
@given(ids=st.lists(st.integers(0, len(vocabulary()[0]) - 1), max_size=40))
def test_token_by_token_is_the_same_as_at_once(tiny: Tokenizer, ids: list[int]) -> None:
    decoder = IncrementalDecoder(tiny)
    pieces = [decoder.push(token) for token in ids]
    assert "".join(pieces) + decoder.flush() == tiny.decode(ids)
    assert decoder.flush() == ""


def test_a_character_appears_when_it_is_whole(tiny: Tokenizer) -> None:
    decoder = IncrementalDecoder(tiny)
    ids = tiny.encode("é", special=False)
    assert len(ids) == 2
    assert decoder.push(ids[0]) == ""
    copy = decoder.fork()
    assert decoder.push(ids[1]) == "é"
    assert copy.push(tiny.encode("x", special=False)[0]) == "\ufffdx"


def test_other_tokenizers_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match=r"pre 'tekken' is not supported \(qwen2, llama-bpe, smollm,"):
        Tokenizer.from_gguf(write_gguf(tmp_path / "a.gguf", pre="tekken"))
    with pytest.raises(GgufError, match="model 'bert' is not supported"):
        Tokenizer.from_gguf(write_gguf(tmp_path / "b.gguf", metadata={"tokenizer.ggml.model": "bert"}))


@pytest.mark.model
def test_a_byte_that_a_vocabulary_lacks_is_named() -> None:
    tokenizer = Tokenizer.from_gguf(fetch("smollm2-135m-instruct"))
    with pytest.raises(UnencodableText, match=r"0x04 \(byte 3 of the text\)"):
        tokenizer.encode("é \x04 x", special=True)
