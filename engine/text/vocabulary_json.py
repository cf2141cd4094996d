"""The vocabulary of a Hugging Face folder: tokenizer.json, and what the files beside it say about it."""

from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer as Encoder
from tokenizers import models

from engine.text.errors import ModelFileError
from engine.text.json_file import JsonFile, Values
from engine.text.vocabulary import ENDS_OF_TEXT, Kind, Lead, Spelling, Vocabulary, byte_tokens, is_control


def vocabulary_of(folder: Path) -> Vocabulary:
    """What the folder says. ModelFileError if a file is missing or damaged, or the kind of tokenizer not supported."""
    file = JsonFile.read(folder / "tokenizer.json")
    if (kind := file.part("model").text("type", "BPE")) != "BPE":
        raise ModelFileError(file.path, f"a tokenizer of the type {kind!r} is not supported (BPE is)")
    tokens, kinds = _tokens(file, folder)
    spelling = _spelling(file)
    try:
        encoder, model = Encoder.from_file(str(file.path)), _model(file, tokens)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelFileError(file.path, f"cannot be used: {error}") from error
    return Vocabulary(
        model=model,
        words=encoder.pre_tokenizer if spelling is Spelling.BYTE_LEVEL else None,
        tokens=tokens,
        kinds=kinds,
        starts=_starts(encoder),
        ends=_ends(folder, tokens, kinds),
        spelling=spelling,
        lead=Lead.NEVER if spelling is Spelling.BYTE_LEVEL else _lead(file),
    )


def _model(file: JsonFile, tokens: list[str]) -> models.BPE:
    """The publisher's model, its vocabulary together with the added tokens, so that each has its own id."""
    model = file.part("model")
    merges: list[tuple[str, str]] = []
    for merge in cast("list[Any]", model.values.get("merges") or []):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((left, right))
    unknown: str | None = model.values.get("unk_token")
    return models.BPE(
        vocab={token: index for index, token in enumerate(tokens) if token},
        merges=merges,
        unk_token=unknown,
        fuse_unk=model.flag("fuse_unk", False),
        byte_fallback=model.flag("byte_fallback", False),
        ignore_merges=model.flag("ignore_merges", False),
    )


def special_texts(folder: Path) -> dict[str, str]:
    """The texts of the bos and eos tokens, by the names that chat templates use."""
    file = JsonFile.read_if_there(folder / "tokenizer_config.json")
    found: dict[str, str] = {}
    for name in ("bos_token", "eos_token"):
        value = file.values.get(name)
        if value is not None:
            found[name] = value if isinstance(value, str) else file.part(name).text("content")
    return found


def _tokens(file: JsonFile, folder: Path) -> tuple[list[str], list[int]]:
    model = file.part("model")
    named: dict[int, tuple[str, int]] = {}
    bytes_of = byte_tokens() if model.flag("byte_fallback", False) else {}
    unknown = model.values.get("unk_token")
    for token, index in cast("dict[str, int]", model.part("vocab").values).items():
        named[index] = (token, Kind.UNKNOWN if token == unknown else Kind.BYTE if token in bytes_of else Kind.NORMAL)
    for added in map(file.inner, cast("list[object]", file.values.get("added_tokens") or [])):
        token, special = added.text("content"), added.flag("special", False)
        kind = Kind.UNKNOWN if token == unknown else Kind.CONTROL if special else Kind.USER_DEFINED
        named[added.integer("id")] = (token, kind)
    # The embedding often has more rows than the vocabulary has tokens.
    count = max([JsonFile.read(folder / "config.json").integer("vocab_size"), *(index + 1 for index in named)])
    tokens, kinds = [""] * count, [int(Kind.UNUSED)] * count
    for index, (token, kind) in named.items():
        tokens[index], kinds[index] = token, Kind.CONTROL if is_control(token) else kind
    return tokens, kinds


def _parts(file: JsonFile, key: str) -> list[Values]:
    """A normaliser or pre-tokenizer as the list of its steps."""
    whole = file.part(key).values
    inner = whole.get("normalizers") or whole.get("pretokenizers")
    return cast("list[Values]", inner) if inner else [whole] if whole else []


def _spelling(file: JsonFile) -> Spelling:
    if any(part.get("type") == "ByteLevel" for part in _parts(file, "pre_tokenizer")):
        return Spelling.BYTE_LEVEL
    spaces = [part.get("content") for part in _parts(file, "normalizer") if part.get("type") == "Replace"]
    spaces += [part.get("replacement") for part in _parts(file, "pre_tokenizer") if part.get("type") == "Metaspace"]
    if "▁" in spaces and file.part("model").flag("byte_fallback", False):
        return Spelling.SENTENCE_PIECE
    raise ModelFileError(
        file.path, "neither byte-level BPE nor SentencePiece BPE with single bytes: such a tokenizer is not supported"
    )


def _lead(file: JsonFile) -> Lead:
    if any(part.get("type") == "Prepend" for part in _parts(file, "normalizer")):
        return Lead.ALWAYS
    for part in _parts(file, "pre_tokenizer"):
        if part.get("type") == "Metaspace":
            return Lead(str(part.get("prepend_scheme", "always")))
    return Lead.NEVER


def _starts(encoder: Encoder) -> tuple[int, ...]:
    """What the publisher's tokenizer puts before a text."""
    whole = encoder.encode("a", add_special_tokens=True).ids
    bare = encoder.encode("a", add_special_tokens=False).ids
    return tuple(whole[: next(n for n in range(len(whole)) if whole[n : n + len(bare)] == bare)])


def _ends(folder: Path, tokens: list[str], kinds: list[int]) -> frozenset[int]:
    found = {index for index, kind in enumerate(kinds) if kind == Kind.CONTROL and tokens[index] in ENDS_OF_TEXT}
    for name in ("generation_config.json", "config.json"):
        value: Any = JsonFile.read_if_there(folder / name).values.get("eos_token_id")
        found |= {index for index in (value if isinstance(value, list) else [value]) if isinstance(index, int)}
    if (text := special_texts(folder).get("eos_token")) is not None and text in tokens:
        found.add(tokens.index(text))
    if not found:
        raise ModelFileError(folder, "names no token that ends a text (eos_token_id in generation_config.json)")
    if wrong := [index for index in found if not 0 <= index < len(tokens)]:
        raise ModelFileError(folder, f"eos_token_id is {wrong[0]}, but there are {len(tokens)} tokens")
    return frozenset(found)
