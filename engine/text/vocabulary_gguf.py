"""The vocabulary in a GGUF file: byte-level BPE ("gpt2"), or SentencePiece BPE by scores ("llama")."""

from tokenizers import Regex, models, pre_tokenizers

from engine.text.gguf_header import GgufError, GgufHeader
from engine.text.vocabulary import ENDS_OF_TEXT, Kind, Lead, Spelling, Vocabulary, is_control

# llama.cpp names how text is cut into words before the merges; these are the patterns the models were trained with.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_WORDS = _WORDS.format(numbers=r"\p{N}")
_LLAMA3_WORDS = _WORDS.format(numbers=r"\p{N}{1,3}")
_PRE_TOKENIZERS = ("qwen2", "llama-bpe", "smollm", "starcoder", "gpt-2")


def vocabulary_of(header: GgufHeader) -> Vocabulary:
    """What the header says. GgufError if it is damaged, or holds no tokenizer of a kind that is supported."""
    header.require_tokenizer()
    kind = header.text("tokenizer.ggml.model")
    tokens = [str(token) for token in header.array("tokenizer.ggml.tokens")]
    kinds = [kind for kind in header.array("tokenizer.ggml.token_type") if isinstance(kind, int)]
    if len(kinds) != len(tokens):
        raise GgufError(header.path, f"has {len(tokens)} tokens but {len(kinds)} token types: the file is damaged")
    kinds = [Kind.CONTROL if is_control(token) else kind for token, kind in zip(tokens, kinds, strict=True)]
    if len(set(tokens)) != len(tokens):
        raise GgufError(header.path, "holds a token twice: the file is damaged")
    ends = {index for index, kind in enumerate(kinds) if kind == Kind.CONTROL and tokens[index] in ENDS_OF_TEXT}
    for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"):
        if key in header.metadata:
            ends.add(_token_id(header, key, len(tokens)))
    if not ends:
        raise GgufError(header.path, "names no token that ends a text (tokenizer.ggml.eos_token_id)")
    try:
        match kind:
            case "gpt2":
                return _byte_level(header, tokens, kinds, frozenset(ends))
            case "llama":
                return _sentence_piece(header, tokens, kinds, frozenset(ends))
            case _:
                raise GgufError(
                    header.path,
                    f"tokenizer.ggml.model {kind!r} is not supported (gpt2: byte-level BPE, llama: SentencePiece)",
                )
    except GgufError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise GgufError(header.path, f"the vocabulary cannot be used: {error}") from error


def _byte_level(header: GgufHeader, tokens: list[str], kinds: list[int], ends: frozenset[int]) -> Vocabulary:
    merges = [str(merge).partition(" ") for merge in header.array("tokenizer.ggml.merges")]
    name = header.text("tokenizer.ggml.pre")
    llama3 = name == "llama-bpe"
    return Vocabulary(
        model=models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[(left, right) for left, _, right in merges],
            ignore_merges=llama3,
        ),
        words=_words(header, name),
        tokens=tokens,
        kinds=kinds,
        starts=_starts(header, len(tokens), default=llama3),
        ends=ends,
    )


def _words(header: GgufHeader, name: str) -> pre_tokenizers.PreTokenizer:
    match name:
        case "qwen2" | "llama-bpe":
            pattern = _QWEN2_WORDS if name == "qwen2" else _LLAMA3_WORDS
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        case "smollm" | "starcoder":
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                ]
            )
        case "gpt-2":
            return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        case _:
            known = ", ".join(_PRE_TOKENIZERS)
            raise GgufError(header.path, f"tokenizer.ggml.pre {name!r} is not supported ({known} are)")


def _sentence_piece(header: GgufHeader, tokens: list[str], kinds: list[int], ends: frozenset[int]) -> Vocabulary:
    scores = [score for score in header.array("tokenizer.ggml.scores") if isinstance(score, float)]
    if len(scores) != len(tokens):
        raise GgufError(header.path, f"has {len(tokens)} tokens but {len(scores)} scores: the file is damaged")
    unknown = next((token for token, kind in zip(tokens, kinds, strict=True) if kind == Kind.UNKNOWN), None)
    lead = header.metadata.get("tokenizer.ggml.add_space_prefix", True)
    return Vocabulary(
        model=models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=_merges(tokens, kinds, scores),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        ),
        words=None,
        tokens=tokens,
        kinds=kinds,
        starts=_starts(header, len(tokens), default=True),
        ends=ends,
        spelling=Spelling.SENTENCE_PIECE,
        lead=Lead.ALWAYS if lead else Lead.NEVER,
    )


def _merges(tokens: list[str], kinds: list[int], scores: list[float]) -> list[tuple[str, str]]:
    """SentencePiece merges the two neighbours whose union has the best score; here as a list of pairs, best first.

    Control tokens and bytes are no unions: no text may spell them.
    """
    ids = {token: index for index, token in enumerate(tokens) if kinds[index] == Kind.NORMAL}
    found: list[tuple[float, int, int, str, str]] = []
    for token, index in ids.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids:
                found.append((-scores[index], ids[left], ids[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _starts(header: GgufHeader, count: int, *, default: bool) -> tuple[int, ...]:
    key = "tokenizer.ggml.bos_token_id"
    if key not in header.metadata or not header.metadata.get("tokenizer.ggml.add_bos_token", default):
        return ()
    return (_token_id(header, key, count),)


def _token_id(header: GgufHeader, key: str, count: int) -> int:
    found = header.integer(key)
    if not 0 <= found < count:
        raise GgufError(header.path, f"{key} is {found}, but there are {count} tokens: the file is damaged")
    return found
