"""A GGUF file's tokenizer as a Hugging Face folder, for peers that are to look for stop strings."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders

from engine.text.gguf_header import read_header
from engine.text.vocabulary import Kind, Spelling
from engine.text.vocabulary_gguf import vocabulary_of


def write_tokenizer(gguf: Path, out: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; control tokens have no text.

    Raises what vocabulary_of raises, and ValueError for a vocabulary that is not byte-level.
    """
    vocabulary = vocabulary_of(read_header(gguf))
    if vocabulary.spelling is not Spelling.BYTE_LEVEL or vocabulary.words is None:
        raise ValueError(f"{gguf}: only byte-level vocabularies are written to folders")
    tokenizer = Tokenizer(vocabulary.model)
    tokenizer.pre_tokenizer = vocabulary.words
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        text for text, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True) if text and kind == Kind.CONTROL
    ]
    tokenizer.add_special_tokens(  # pyright: ignore[reportUnknownMemberType]
        [AddedToken(text, normalized=False) for text in control]
    )
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (out / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
