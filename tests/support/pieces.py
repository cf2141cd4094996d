"""A tokenizer whose tokens are given pieces of text, for tests that care how a text is cut."""

import itertools

from engine.text.stops import Stop, StopRules

END = -1


class Pieces:
    """What StopRules needs of a tokenizer; token n is the n-th piece, END ends a text."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.eos_ids = frozenset({END})

    def token_text(self, token: int) -> str:
        """The piece."""
        return self.pieces[token]

    def token_bytes(self, token: int) -> bytes:
        """The piece in UTF-8."""
        return self.pieces[token].encode()


def run(*pieces: str, **rules: object) -> tuple[StopRules, Stop | None]:
    """Push piece by piece up to the first Stop."""
    state = StopRules(Pieces(*pieces), **rules)  # pyright: ignore[reportArgumentType]
    for token in range(len(pieces)):
        stop = state.push(token)
        if stop is not None:
            return state, stop
    return state, None


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces, cut at these places."""
    bounds = [0, *sorted({place for place in places if 0 < place < len(text)}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds) if a < b]
