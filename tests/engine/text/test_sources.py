"""Tokenizers, templates and forms of infilling from both kinds of files, against what publishers' tokenizers do."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_gguf import write_gguf
from support.tiny_tokenizers import (
    INFILL,
    byte_level_folder,
    corpus,
    sentence_piece,
    write_files,
    write_sentence_piece_gguf,
)
from tokenizers import Tokenizer as Publishers
from tokenizers import normalizers, pre_tokenizers

from engine.models.catalogue import CATALOGUE, fetch
from engine.text.chat import ChatTemplate, ChatTemplateError
from engine.text.errors import ModelFileError
from engine.text.infill import InfillForm
from engine.text.model_text import read_model_text
from engine.text.tokenizer import IncrementalDecoder, Tokenizer, UnencodableText

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("def x()'\n\t :ré🎉\u0301\u2581<|im_end>s/")


@pytest.fixture(scope="module")
def pieces() -> Publishers:
    return sentence_piece(extra=INFILL)


@pytest.fixture(scope="module", params=["folder", "gguf", "gguf with normal infill tokens"])
def sentence(request: pytest.FixtureRequest, pieces: Publishers, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """One SentencePiece vocabulary from three files."""
    place = tmp_path_factory.mktemp("pieces")
    match request.param:
        case "folder":
            size = pieces.get_vocab_size(with_added_tokens=True)
            return Tokenizer.from_folder(write_files(place, pieces, vocab_size=size, eos_token="</s>"))
        case "gguf":
            kind = gguf.TokenType.CONTROL
        case _:
            kind = gguf.TokenType.NORMAL
    return Tokenizer.from_gguf(write_sentence_piece_gguf(place / "a.gguf", pieces, infill_kind=kind))


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level_folder(tmp_path_factory.mktemp("bytes"))


def check_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, special=False)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.eos_ids.intersection(ids)
    continued = tokenizer.encode(text, special=False, continues=True)
    assert b"".join(map(tokenizer.token_bytes, continued)) == text.encode()


def test_pieces_are_those_of_the_publishers_tokenizer(sentence: Tokenizer, pieces: Publishers) -> None:
    for text in [*corpus(), "", " ", "  x", "\n", "a\u0301é🎉"]:
        # The publisher's knows no text without control tokens.
        assert sentence.encode(text, special=True) == pieces.encode(text, add_special_tokens=False).ids
        if text:
            whole = [*sentence.start_ids, *sentence.encode(text, special=True)]
            assert whole == pieces.encode(text, add_special_tokens=True).ids
    chat = "<s>[INST] def f(): [/INST] ok </s><s>"
    assert sentence.encode(chat, special=True) == pieces.encode(chat, add_special_tokens=False).ids


@settings(deadline=None, max_examples=200)
@given(text=TEXTS)
def test_pieces_survive_to_the_byte(sentence: Tokenizer, text: str) -> None:
    check_round_trip(sentence, text)


def test_control_tokens_of_pieces_are_text_unless_asked_for(sentence: Tokenizer) -> None:
    for text in ("</s>", "<s>", "a ▁<PRE>b", " <PRE> <EOT>", "<unk>", "<0x0A>"):
        ids = sentence.encode(text, special=False)
        assert all(sentence.token_bytes(token) for token in ids)
        assert sentence.decode(ids) == text


def test_the_form_of_code_llama(sentence: Tokenizer) -> None:
    form = InfillForm.of(sentence)
    assert form is not None and form.file is None
    prefix, middle, suffix, end = (sentence.token_id(name) for name in INFILL)
    assert end in sentence.eos_ids
    found = form.encode(sentence, "def f():\n", "    return x\n")
    before, after = (
        sentence.encode("def f():\n", special=False),
        sentence.encode("    return x\n", False, continues=True),
    )
    assert found == [1, prefix, *before, suffix, *after, middle]
    assert b"".join(map(sentence.token_bytes, after)) == b"    return x\n"


def test_pieces_token_by_token(sentence: Tokenizer) -> None:
    decoder = IncrementalDecoder(sentence)
    text = "x = 'é🎉' # ▁\n"
    ids = sentence.encode(text, special=False, continues=True)
    assert "".join(map(decoder.push, ids)) + decoder.flush() == text


def test_a_metaspace_puts_a_space_before_the_first_word_only(pieces: Publishers, tmp_path: Path) -> None:
    modern = Publishers.from_str(pieces.to_str())
    modern.normalizer = normalizers.Sequence([])
    modern.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    found = Tokenizer.from_folder(write_files(tmp_path, modern, vocab_size=800, eos_token="</s>"))
    for text in ("def f():", "<s>def f()", "a<s>b </s> c"):
        assert found.encode(text, special=True) == modern.encode(text, add_special_tokens=False).ids
    for text in ("def f():", " def f()", "x"):
        check_round_trip(found, text)


def test_pieces_without_bytes_name_what_they_lack(pieces: Publishers, tmp_path: Path) -> None:
    data: Any = json.loads(pieces.to_str())
    data["model"]["vocab"]["another"] = data["model"]["vocab"].pop("<0xF0>")
    found = Tokenizer.from_folder(
        write_files(tmp_path, Publishers.from_str(json.dumps(data)), vocab_size=800, eos_token="</s>")
    )
    with pytest.raises(UnencodableText, match="no token for '🎉'"):
        found.encode("x = '🎉'", special=False)


def test_byte_level_folders_are_read_as_their_gguf_files_are(bytes_folder: Path, tmp_path: Path) -> None:
    from_folder = Tokenizer.from_folder(bytes_folder)
    from_gguf = Tokenizer.from_gguf(write_gguf(tmp_path / "a.gguf", pre="llama-bpe"))
    assert from_folder.vocab_size == from_gguf.vocab_size + 4  # one unused row there, five here
    for text in [*corpus(), "1234567 <|im_end|> <tool_call>"]:
        for special in (False, True):
            assert from_folder.encode(text, special) == from_gguf.encode(text, special)
    assert from_folder.eos_ids == from_gguf.eos_ids
    assert from_folder.token_bytes(from_folder.vocab_size - 1) == b""


@settings(deadline=None, max_examples=200)
@given(text=TEXTS)
def test_byte_level_folders_survive_to_the_byte(bytes_folder: Path, text: str) -> None:
    """Also what the publisher's tokenizer would bring to another Unicode form."""
    check_round_trip(Tokenizer.from_folder(bytes_folder), text)


def test_llama_3_takes_whole_words_before_merges(tmp_path: Path) -> None:
    ignoring = Tokenizer.from_folder(byte_level_folder(tmp_path, ignore_merges=True))
    publishers = Publishers.from_file(str(tmp_path / "tokenizer.json"))
    assert json.loads(publishers.to_str())["model"]["ignore_merges"] is True
    for text in corpus():
        assert ignoring.encode(text, special=True) == publishers.encode(text, add_special_tokens=False).ids


def test_user_defined_tokens_that_look_like_control_are_control(tmp_path: Path, bytes_folder: Path) -> None:
    """Qwen's files call the infill tokens ordinary: taken so, anybody could write them into a prompt."""
    data: Any = json.loads((bytes_folder / "tokenizer.json").read_text())
    for entry in data["added_tokens"]:
        entry["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    (tmp_path / "config.json").write_text('{"vocab_size": 300, "eos_token_id": [263, 265]}')
    found = Tokenizer.from_folder(tmp_path)
    assert found.token_id("<|im_start|>") not in found.encode("<|im_start|>", special=False)
    assert {263, 265} <= found.eos_ids


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data["model"].update(type="Unigram"), "the type 'Unigram' is not supported"),
        (lambda data: data.update(pre_tokenizer=None), "neither byte-level BPE nor SentencePiece"),
        (lambda data: data["model"].update(merges=[["nowhere", "x"]]), "cannot be used"),
        (lambda data: data.update(added_tokens=[1]), "'1' should be an object"),
    ],
)
def test_what_is_not_supported_or_damaged_is_named(bytes_folder: Path, tmp_path: Path, change: Any, words: str) -> None:
    data: Any = json.loads((bytes_folder / "tokenizer.json").read_text())
    change(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    (tmp_path / "config.json").write_text('{"vocab_size": 300}')
    with pytest.raises(ModelFileError, match=rf"tokenizer\.json: .*{words}"):
        Tokenizer.from_folder(tmp_path)


def test_missing_files_are_named(tmp_path: Path, bytes_folder: Path) -> None:
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: is missing"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((bytes_folder / "tokenizer.json").read_bytes())
    with pytest.raises(ModelFileError, match=r"config\.json: is missing"):
        Tokenizer.from_folder(tmp_path)


MESSAGES = [{"role": "user", "content": "Write f."}]
RENDERED = "<|im_start|>user\nWrite f.<|im_end|>\n<|im_start|>assistant\n"


def test_templates_of_a_folder(bytes_folder: Path, tmp_path: Path) -> None:
    text = read_model_text(bytes_folder)
    assert text.template is not None and text.template.render(MESSAGES) == RENDERED
    assert text.infill is None
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ bos_token }}yes"}]
    config = {"chat_template": named, "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    chat = ChatTemplate.from_folder(tmp_path)
    assert chat is not None and chat.render(MESSAGES) == "<s>yes"
    (tmp_path / "chat_template.jinja").write_text("a file of its own{{ bos_token }}")
    chat = ChatTemplate.from_folder(tmp_path)
    assert chat is not None and chat.render(MESSAGES) == "a file of its own<s>"
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(ChatTemplateError, match=r"chat_template\.jinja is broken"):
        ChatTemplate.from_folder(tmp_path)


def test_a_folder_without_a_template_has_none(tmp_path: Path) -> None:
    assert ChatTemplate.from_folder(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": 3}')
    with pytest.raises(ModelFileError, match="chat_template should be a string but is int '3'"):
        ChatTemplate.from_folder(tmp_path)


def test_templates_of_a_folder_are_in_the_sandbox(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__mro__ }}")
    chat = ChatTemplate.from_folder(tmp_path)
    assert chat is not None
    with pytest.raises(ChatTemplateError, match="unsafe"):
        chat.render(MESSAGES)


def programs(folder: Path) -> Iterator[str]:
    """Some thousand programs and texts of benchmarks."""
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt") as file:
        for record in map(json.loads, file):
            yield record["prompt"] + record["canonical_solution"] + record["test"]
    with gzip.open(folder / "mbpp" / "mbpp.jsonl.gz", "rt") as file:
        for record in map(json.loads, file):
            yield "\n".join([record["text"], record["code"], *record["test_list"]])
    with gzip.open(folder / "leetcode-contest-180" / "leetcode_20230702-20240121.jsonl.gz", "rt") as file:
        yield from file


@pytest.mark.model
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_code_corpora_survive_to_the_byte(name: str) -> None:
    if "THRESHER_DATA" not in os.environ:
        pytest.skip("THRESHER_DATA does not name the folder of benchmark data")
    tokenizer, count = Tokenizer.from_gguf(fetch(name)), 0
    for text in programs(Path(os.environ["THRESHER_DATA"])):
        check_round_trip(tokenizer, text)
        count += 1
    assert count > 900
