"""From a filled middle to the whole program."""

from collections.abc import Iterator

from engine.text.extract import Extracted, Found
from engine.text.fences import blocks
from engine.text.python_source import MAX_SOURCE, parse


def fill(prefix: str, text: str, suffix: str) -> Extracted:
    """The program `prefix`, middle, `suffix`, where the middle is as much of `text` as makes the whole parse.

    A model that goes on too long repeats the suffix, or begins something else: the middle ends before that. A text
    that nothing helps comes back whole between prefix and suffix, marked NOTHING. Prefix and suffix are kept as they
    are, to the byte.
    """
    for middle in _middles(text, suffix):
        whole = prefix + middle + suffix
        if parse(whole) is not None:
            return Extracted(whole, Found.FILLED, True)
    return Extracted(prefix + text + suffix, Found.NOTHING, True)


def _middles(text: str, suffix: str) -> Iterator[str]:
    """Candidates for the middle, the likeliest first."""
    if (start := repeated_from(text, suffix)) is not None:
        yield text[:start]
    yield text
    yield text.rstrip()
    # A chat model may put the middle into a code block.
    yield from (block.code for block in blocks(text) if block.may_be_python)
    if len(text) > MAX_SOURCE:
        return
    end = len(text.rstrip())
    while (end := text.rfind("\n", 0, end)) >= 0:
        yield text[: end + 1]
        yield text[:end]


def repeated_from(text: str, suffix: str) -> int | None:
    """Where the text begins to repeat the suffix, at the start of a line. None if it does not.

    From there on the text must be a beginning of the suffix, or hold two lines of it at least and go on as it likes: a
    single line may be the same by chance. White space at the ends does not count.
    """
    wanted = suffix.lstrip("\r\n").rstrip()
    if not wanted:
        return None
    first, several = wanted.partition("\n")[0].rstrip(), "\n" in wanted
    position = 0
    for line in text.splitlines(keepends=True):
        if line.rstrip() == first:
            rest = text[position:].rstrip()
            if wanted.startswith(rest) or (several and rest.startswith(wanted)):
                blank = suffix[: len(suffix) - len(suffix.lstrip("\r\n"))]
                return len(text[:position].removesuffix(blank))
        position += len(line)
    return None
