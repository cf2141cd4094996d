"""What a model's files say about its tokens, whichever files they are."""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from tokenizers import models, pre_tokenizers


class Kind(IntEnum):
    """What a token is for; the numbers are GGUF's."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Spelling(StrEnum):
    """How tokens stand for bytes."""

    BYTE_LEVEL = "byte_level"
    """In GPT-2's letters, one for each byte."""
    SENTENCE_PIECE = "sentence_piece"
    """As text with U+2581 for a space; single bytes as `<0x0A>`."""


class Lead(StrEnum):
    """Where SentencePiece puts a space before a text."""

    NEVER = "never"
    FIRST = "first"
    """At its start."""
    ALWAYS = "always"
    """At its start and after each control token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The tokens of one model. `tokens` and `kinds` are by id; `words` cuts a text before the merges of `model`.

    `starts` are put before a text that is not a rendered chat; `ends` end a text.
    """

    model: models.BPE
    words: pre_tokenizers.PreTokenizer | None
    tokens: list[str]
    kinds: list[int]
    starts: tuple[int, ...]
    ends: frozenset[int]
    spelling: Spelling = Spelling.BYTE_LEVEL
    lead: Lead = Lead.NEVER


INFILL_WORDS = frozenset(
    {
        *("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
        *("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        *("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
        *("▁<PRE>", "▁<SUF>", "▁<MID>"),
    }
)
ENDS_OF_TEXT = frozenset(
    {
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<|eot_id|>",
        "</s>",
        "<｜end▁of▁sentence｜>",
        # The middle is filled.
        "▁<EOT>",
        # A base model that has finished a file goes on to the next one of the repository.
        "<|file_sep|>",
        "<|repo_name|>",
        "<|fim_pad|>",
        "<file_sep>",
        "<repo_name>",
    }
)
_CONTROL_LIKE = re.compile(r"<[|｜].+[|｜]>")


def is_control(token: str) -> bool:
    """Whether a token is a control token by its name. Files often call such tokens user-defined or even normal; taken
    as text, they could be written by whoever writes the prompt."""
    return token in INFILL_WORDS or token in ENDS_OF_TEXT or _CONTROL_LIKE.fullmatch(token) is not None


def byte_tokens() -> dict[str, int]:
    """SentencePiece's names of single bytes."""
    return {f"<0x{byte:02X}>": byte for byte in range(256)}
