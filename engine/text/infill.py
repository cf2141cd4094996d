"""Fill-in-the-middle prompts, in the form that the model's vocabulary has tokens for (Bavarian et al. 2022, PSM)."""

from dataclasses import dataclass

from engine.text.tokenizer import Tokenizer

# Prefix, suffix, middle, and what stands before a file's path.
_FORMS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"),  # Qwen2.5-Coder
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>"),  # StarCoder 2
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", None),  # DeepSeek-Coder
    ("▁<PRE>", "▁<SUF>", "▁<MID>", None),  # Code Llama
)


class NoPlaceForPath(ValueError):
    """The model's form of infilling does not tell the file's path."""


@dataclass(frozen=True, slots=True)
class InfillForm:
    """How one model is asked for a middle: its control tokens by id; `file` is None where a path has no place."""

    prefix: int
    suffix: int
    middle: int
    file: int | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "InfillForm | None":
        """The form that the vocabulary has all tokens of; None if it has none."""
        for *needed, file in _FORMS:
            found = [tokenizer.token_id(name) for name in needed]
            prefix, suffix, middle = found
            if prefix is not None and suffix is not None and middle is not None:
                return cls(prefix, suffix, middle, None if file is None else tokenizer.token_id(file))
        return None

    def encode(self, tokenizer: Tokenizer, prefix: str, suffix: str, path: str = "") -> list[int]:
        """The prompt after which the model writes the text between `prefix` and `suffix`.

        Raises NoPlaceForPath, and UnencodableText as Tokenizer.encode.
        """
        named: list[int] = []
        if path:
            if self.file is None:
                raise NoPlaceForPath("this model's form of infilling has no place for a path; leave it out")
            named = [self.file, *tokenizer.encode(f"{path}\n", special=False)]
        return [
            *tokenizer.start_ids,
            *named,
            self.prefix,
            *tokenizer.encode(prefix, special=False),
            self.suffix,
            *tokenizer.encode(suffix, special=False, continues=True),
            self.middle,
        ]
