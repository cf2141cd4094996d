"""Texts that must match a regular expression, a grammar or a JSON schema: which tokens may come next.

llguidance (an optional dependency) follows the grammar byte by byte; this is its view of our tokenizers.
"""

import importlib.util
import json
from typing import TYPE_CHECKING, Literal

from engine.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from llguidance import LLMatcher, LLTokenizer

Kind = Literal["regex", "ebnf", "json_schema"]

INSTALL = "pip install 'thresher[constraints]'"
"""What makes constraints available."""

_LARGEST = 256 << 10
"""Characters of a grammar at most."""


class NotInstalled(Exception):
    """The optional dependency is missing, or cannot be imported."""

    def __init__(self, why: ImportError | None = None) -> None:
        wrong = "is not installed here" if why is None else f"does not load here ({why})"
        super().__init__(f"constraints need llguidance, which {wrong}: {INSTALL}")


def available() -> bool:
    """Whether constraints can be served."""
    return importlib.util.find_spec("llguidance") is not None


class _Wrapped:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.is_tokenizer_wrapper = True
        self._tokenizer = tokenizer
        size = tokenizer.vocab_size
        spelled = [tokenizer.token_bytes(token) for token in range(size)]
        # Tokens without text end a text or are never drawn; a leading 0xff tells llguidance such names from text.
        self.tokens = [data or b"\xff<%d>" % token for token, data in enumerate(spelled)]
        self.special_token_ids = [token for token, data in enumerate(spelled) if not data]
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = None

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(text if isinstance(text, str) else text.decode(), special=False)


class Grammars:
    """Compiles constraints for one tokenizer, whose tables are built once, at the first."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tables: LLTokenizer | None = None

    def compile(self, kind: Kind, text: str) -> "Constraint":
        """The constraint of a text that has not begun.

        Args:
            kind: `regex` (the Rust crate's syntax, which matches the whole text), `ebnf` (Lark's notation, or the GBNF
                of llama.cpp), or `json_schema`.
            text: the expression, grammar or schema.

        Raises:
            NotInstalled: llguidance is missing, or broken.
            ValueError: the text is no such thing, or too large; the message says where.
        """
        if not available():
            raise NotInstalled
        try:
            from llguidance import LLMatcher, LLTokenizer, grammar_from
        except ImportError as error:
            raise NotInstalled(error) from error

        if len(text) > _LARGEST:
            raise ValueError(f"{len(text)} characters; at most {_LARGEST}")
        try:
            if kind == "json_schema":
                json.loads(text)  # says better where it is wrong
            grammar = grammar_from(kind, text)
        except ValueError as error:
            raise ValueError(str(error)) from error
        if self._tables is None:
            ends = sorted(self._tokenizer.eos_ids)
            self._tables = LLTokenizer(_Wrapped(self._tokenizer), eos_token=ends)  # pyright: ignore[reportArgumentType]
        matcher = LLMatcher(self._tables, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error().strip())
        return Constraint(matcher, -(-self._tokenizer.vocab_size // 32))


class Constraint:
    """Where one text stands in its grammar."""

    __slots__ = ("_mask", "_matcher", "_words")

    def __init__(self, matcher: "LLMatcher", words: int) -> None:
        self._matcher = matcher
        self._words = words
        self._mask: npt.NDArray[np.uint32] | None = None

    def fork(self) -> "Constraint":
        """An independent copy."""
        copy = Constraint(self._matcher.deep_copy(), self._words)
        copy._mask = self._mask
        return copy

    @property
    def mask(self) -> "npt.NDArray[np.uint32]":
        """The tokens that may come next, one that ends the text among them where it may end: bit token % 32 of word
        token // 32, [ceil(vocabulary / 32)]."""
        if self._mask is None:
            import numpy as np

            bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint32)
            self._mask = bits[: self._words]
        return self._mask

    def push(self, token: int) -> bool:
        """Take the next token, one of the mask. True if the text is complete and nothing can follow.

        Raises ValueError for a token that the mask leaves out.
        """
        self._mask = None
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} does not fit the constraint: {self._matcher.get_error().strip()}")
        return self._matcher.is_stopped()
