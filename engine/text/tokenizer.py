"""Text to token ids and back, as the model's own files say: BPE, byte-exact in both directions."""

import codecs
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, normalizers
from tokenizers import Tokenizer as Encoder

from engine.text import vocabulary_gguf, vocabulary_json
from engine.text.gguf_header import GgufHeader, read_header
from engine.text.vocabulary import Kind, Lead, Spelling, Vocabulary, byte_tokens

_SPACE = "\u2581"
"""SentencePiece's letter for a space."""


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte of GPT-2's byte-level alphabet: printable bytes stand for themselves, others follow at 256."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
_BYTE_TOKENS = byte_tokens()


class UnencodableText(ValueError):
    """The text holds a byte that this model's vocabulary has no token for."""


class Tokenizer:
    """The vocabulary of one model.

    Text is taken as it is: unlike the publishers' tokenizers of the Qwen family, which bring it to Unicode form NFC
    first, and unlike SentencePiece, which reads U+2581 as a space, so that whatever a program holds survives the round
    trip.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokens = vocabulary.tokens
        self._kinds = vocabulary.kinds
        named = (Kind.USER_DEFINED,)
        self._plain = self._encoder(named, lead=vocabulary.lead)
        self._continuing = self._plain if vocabulary.lead is Lead.NEVER else self._encoder(named, lead=Lead.NEVER)
        self._with_control = self._encoder((Kind.CONTROL, *named), lead=vocabulary.lead)
        self._control_texts = tuple(self._texts_of(Kind.CONTROL))
        self._unspelled = b""
        if vocabulary.spelling is Spelling.BYTE_LEVEL:
            spelled = {byte for letter, byte in _BYTE_OF.items() if self._plain.token_to_id(letter) is not None}
            self._unspelled = bytes(set(range(256)) - spelled)
        self._bytes: list[bytes | None] = [None] * len(self._tokens)
        self._texts: list[str | None] = [None] * len(self._tokens)
        self.eos_ids = vocabulary.ends
        """Tokens that end a text."""
        self.start_ids = vocabulary.starts
        """Tokens that stand before a text which is not a rendered chat: a chat template writes them itself."""

    @classmethod
    def from_gguf(cls, path: Path) -> "Tokenizer":
        """The tokenizer inside a GGUF file.

        Raises GgufError if the file is damaged, or names a kind of tokenizer that is not supported.
        """
        return cls.from_header(read_header(path))

    @classmethod
    def from_header(cls, header: GgufHeader) -> "Tokenizer":
        """The tokenizer that a header describes; errors as from_gguf."""
        return cls(vocabulary_gguf.vocabulary_of(header))

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of a Hugging Face folder.

        Raises ModelFileError if a file is missing or damaged, or names a kind of tokenizer that is not supported.
        """
        return cls(vocabulary_json.vocabulary_of(folder))

    @property
    def vocab_size(self) -> int:
        """Number of token ids, unused ones included."""
        return len(self._tokens)

    def encode(self, text: str, special: bool, *, continues: bool = False) -> list[int]:
        """Token ids of a text. With `special`, control tokens written out in it (`<|im_start|>`) become that token, as
        in a rendered chat; without, they are text like any other. Nothing is added at either end, but for the space
        that SentencePiece puts before a text, unless it `continues` another (which cannot be `special`).

        Raises UnencodableText where the vocabulary lacks a byte of the text (SmolLM2 lacks a few control characters).
        """
        if self._vocabulary.spelling is Spelling.SENTENCE_PIECE:
            return self._encode_pieces(text, special, continues)
        if self._unspelled:
            data = text.encode()
            if len(rest := data.translate(None, self._unspelled)) < len(data):
                at = next(n for n in range(len(data)) if n == len(rest) or data[n] != rest[n])
                raise UnencodableText(f"the model has no token for the byte 0x{data[at]:02x} (byte {at} of the text)")
        encoder = self._with_control if special else self._plain
        return encoder.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text that encodes to these ids, without the spaces that the encoding put before it. Bytes that are not
        UTF-8 become U+FFFD; control tokens have no text."""
        found: list[bytes] = []
        lead = self._vocabulary.lead is not Lead.NEVER
        for token in ids:
            data = self.token_bytes(token)
            found.append(data.removeprefix(b" ") if lead else data)
            # Text between two such tokens is encoded by itself.
            apart = self._kinds[token] in (Kind.CONTROL, Kind.USER_DEFINED)
            lead = apart and self._vocabulary.lead is Lead.ALWAYS
        return b"".join(found).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to the text: none for control and unused tokens."""
        found = self._bytes[token]
        if found is None:
            found = self._bytes[token] = self._spell(token)
        return found

    def token_text(self, token: int) -> str | None:
        """The text of a token whose bytes are whole characters; None for one that holds a part of a character."""
        text = self._texts[token]
        if text is None:
            try:
                text = self._texts[token] = self.token_bytes(token).decode()
            except UnicodeDecodeError:
                return None
        return text

    def token_id(self, token: str) -> int | None:
        """Id of a control or user-defined token by its name; None if the vocabulary lacks it."""
        found = self._with_control.token_to_id(token)
        return found if found is not None and self._kinds[found] in (Kind.CONTROL, Kind.USER_DEFINED) else None

    def _texts_of(self, *kinds: Kind) -> list[str]:
        return [text for text, kind in zip(self._tokens, self._kinds, strict=True) if text and kind in kinds]

    def _encoder(self, named: tuple[Kind, ...], *, lead: Lead) -> Encoder:
        """Encodes text in which tokens of the kinds `named` stand for themselves."""
        vocabulary = self._vocabulary
        encoder = Encoder(vocabulary.model)
        if vocabulary.words is not None:
            encoder.pre_tokenizer = vocabulary.words
        if vocabulary.spelling is Spelling.SENTENCE_PIECE:
            steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", _SPACE)]
            if lead is Lead.ALWAYS:
                steps.insert(0, normalizers.Prepend(_SPACE))
            encoder.normalizer = normalizers.Sequence(steps)
        added = [AddedToken(text, normalized=False) for text in self._texts_of(*named)]
        encoder.add_tokens(added)  # pyright: ignore[reportUnknownMemberType]
        return encoder

    def _encode_pieces(self, text: str, special: bool, continues: bool) -> list[int]:
        encoder = self._continuing if continues else self._with_control if special else self._plain
        first = self._vocabulary.lead is Lead.FIRST and not continues
        if first and text and not (special and text.startswith(self._control_texts)):
            text = " " + text
        # A character that no vocabulary knows is spelled in bytes: so the letter for a space gets to its own bytes.
        stand_in = next(char for char in map(chr, range(0x10FFFD, 0, -1)) if char not in text)
        ids = encoder.encode(text.replace(_SPACE, stand_in), add_special_tokens=False).ids
        if any(self._kinds[token] == Kind.UNKNOWN for token in ids):
            lacking = next(char for char in text if self._is_unknown(char))
            raise UnencodableText(f"the model has no token for {lacking!r}")
        return ids if _SPACE not in text else _replaced(ids, self._byte_ids(stand_in), self._byte_ids(_SPACE))

    def _is_unknown(self, char: str) -> bool:
        ids = self._continuing.encode(char, add_special_tokens=False).ids
        return any(self._kinds[token] == Kind.UNKNOWN for token in ids)

    def _byte_ids(self, text: str) -> list[int]:
        found = [self._plain.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
        return [token for token in found if token is not None]

    def _spell(self, token: int) -> bytes:
        text, kind = self._tokens[token], self._kinds[token]
        match kind:
            case Kind.NORMAL if self._vocabulary.spelling is Spelling.BYTE_LEVEL:
                return bytes(map(_BYTE_OF.__getitem__, text))
            case Kind.NORMAL:
                return text.replace(_SPACE, " ").encode()
            case Kind.BYTE:
                return bytes([_BYTE_TOKENS[text]])
            case Kind.USER_DEFINED:
                return text.encode()
            case _:
                return b""


def _replaced(ids: list[int], old: list[int], new: list[int]) -> list[int]:
    found: list[int] = []
    position = 0
    while position < len(ids):
        if ids[position : position + len(old)] == old:
            found += new
            position += len(old)
        else:
            found.append(ids[position])
            position += 1
    return found


class IncrementalDecoder:
    """Decodes token by token; holds back the bytes of a character that is not complete yet."""

    __slots__ = ("_tokenizer", "pending")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.pending = b""
        """Up to three bytes of a character that has begun."""

    def push(self, token: int) -> str:
        """The text that this token completes."""
        if not self.pending:
            text = self._tokenizer.token_text(token)
            if text is not None:
                return text
        data = self.pending + self._tokenizer.token_bytes(token)
        text, used = codecs.utf_8_decode(data, "replace", False)
        self.pending = data[used:]
        return text

    def flush(self) -> str:
        """The text of what was held back: U+FFFD if the last character is incomplete."""
        text, self.pending = self.pending.decode("utf-8", "replace"), b""
        return text

    def fork(self) -> "IncrementalDecoder":
        """An independent copy."""
        copy = IncrementalDecoder(self._tokenizer)
        copy.pending = self.pending
        return copy
