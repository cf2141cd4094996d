"""Text to token ids and back, as the model's own file says: byte-level BPE, byte-exact in both directions."""

import codecs
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Encoder

from engine.text.gguf_header import GgufError, GgufHeader, read_header

# llama.cpp names how text is cut into words before the merges; these are the patterns the models were trained with.
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_END_OF_TEXT = frozenset(
    {
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<|eot_id|>",
        "</s>",
        # A base model that has finished a file goes on to the next one of the repository.
        "<|file_sep|>",
        "<|repo_name|>",
        "<|fim_pad|>",
        "<file_sep>",
        "<repo_name>",
    }
)
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte of GPT-2's byte-level alphabet: printable bytes stand for themselves, others follow at 256."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


class UnencodableText(ValueError):
    """The text holds a byte that this model's vocabulary has no token for."""


class Tokenizer:
    """The vocabulary of one model.

    Text is taken as it is: unlike the publishers' tokenizers of the Qwen family, which bring it to Unicode form NFC
    first, so that whatever a program holds survives the round trip.
    """

    def __init__(
        self, model: models.BPE, words: pre_tokenizers.PreTokenizer, tokens: list[str], kinds: list[int], eos: set[int]
    ) -> None:
        self._tokens = tokens
        self._kinds = kinds
        self._plain = Encoder(model)
        self._with_control = Encoder(model)
        for encoder, wanted in ((self._plain, (_USER_DEFINED,)), (self._with_control, (_CONTROL, _USER_DEFINED))):
            encoder.pre_tokenizer = words
            encoder.add_tokens(  # pyright: ignore[reportUnknownMemberType]
                [AddedToken(text, normalized=False) for text, kind in zip(tokens, kinds, strict=True) if kind in wanted]
            )
        spelled = {byte for letter, byte in _BYTE_OF.items() if self._plain.token_to_id(letter) is not None}
        self._unspelled = bytes(set(range(256)) - spelled)
        self._bytes: list[bytes | None] = [None] * len(tokens)
        self._texts: list[str | None] = [None] * len(tokens)
        self.eos_ids = frozenset(eos)
        """Tokens that end a text."""

    @classmethod
    def from_gguf(cls, path: Path) -> "Tokenizer":
        """The tokenizer inside a GGUF file.

        Raises GgufError if the file is damaged, or names a kind of tokenizer that is not supported.
        """
        return cls.from_header(read_header(path))

    @classmethod
    def from_header(cls, header: GgufHeader) -> "Tokenizer":
        """The tokenizer that a header describes; errors as from_gguf."""
        kind = header.text("tokenizer.ggml.model")
        if kind != "gpt2":
            raise GgufError(header.path, f"tokenizer.ggml.model {kind!r} is not supported (gpt2, byte-level BPE, is)")
        words = _pre_tokenizer(header)
        tokens = [str(token) for token in header.array("tokenizer.ggml.tokens")]
        kinds = [kind for kind in header.array("tokenizer.ggml.token_type") if isinstance(kind, int)]
        if len(kinds) != len(tokens):
            raise GgufError(header.path, f"has {len(tokens)} tokens but {len(kinds)} token types: the file is damaged")
        merges = [str(merge).partition(" ") for merge in header.array("tokenizer.ggml.merges")]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        if len(vocabulary) != len(tokens):
            raise GgufError(header.path, "holds a token twice: the file is damaged")
        try:
            model = models.BPE(vocab=vocabulary, merges=[(left, right) for left, _, right in merges])
        except Exception as error:  # tokenizers raises plain Exception
            raise GgufError(header.path, f"the vocabulary cannot be used: {error}") from error
        eos = {index for index, kind in enumerate(kinds) if kind == _CONTROL and tokens[index] in _END_OF_TEXT}
        for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"):
            if key in header.metadata:
                eos.add(header.integer(key))
        if not eos:
            raise GgufError(header.path, "names no token that ends a text (tokenizer.ggml.eos_token_id)")
        return cls(model, words, tokens, kinds, eos)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, unused ones included."""
        return len(self._tokens)

    def encode(self, text: str, special: bool) -> list[int]:
        """Token ids of a text. With `special`, control tokens written out in it (`<|im_start|>`) become that token, as
        in a rendered chat; without, they are text like any other. Nothing is added at either end.

        Raises UnencodableText where the vocabulary lacks a byte of the text (SmolLM2 lacks a few control characters).
        """
        if self._unspelled:
            data = text.encode()
            if len(rest := data.translate(None, self._unspelled)) < len(data):
                at = next(n for n in range(len(data)) if n == len(rest) or data[n] != rest[n])
                raise UnencodableText(f"the model has no token for the byte 0x{data[at]:02x} (byte {at} of the text)")
        encoder = self._with_control if special else self._plain
        return encoder.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids. Bytes that are not UTF-8 become U+FFFD; control tokens have no text."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

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
        found = self._plain.token_to_id(token)
        return found if found is not None and self._kinds[found] in (_CONTROL, _USER_DEFINED) else None

    def _spell(self, token: int) -> bytes:
        text, kind = self._tokens[token], self._kinds[token]
        if kind == _NORMAL:
            return bytes(map(_BYTE_OF.__getitem__, text))
        return text.encode() if kind == _USER_DEFINED else b""


def _pre_tokenizer(header: GgufHeader) -> pre_tokenizers.PreTokenizer:
    name = header.text("tokenizer.ggml.pre")
    match name:
        case "qwen2":
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        case "smollm":
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                ]
            )
        case _:
            raise GgufError(header.path, f"tokenizer.ggml.pre {name!r} is not supported (qwen2 and smollm are)")


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
