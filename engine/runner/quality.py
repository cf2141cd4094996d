"""How much an arithmetic loses against float32 on a fixed set of texts: perplexity, and how often the best next token
stays the same."""

import ctypes
import gc
import math
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.decoder import Decoder
from engine.runner.arithmetic import Arithmetic, load_decoder
from engine.text.tokenizer import Tokenizer

TEXTS, TOKENS = 50, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One arithmetic. `perplexity` is per token; `agreement` is the share of positions, 0..1, at which the best next
    token after the same text is that of float32; `tokens` are the positions, `seconds` without loading."""

    arithmetic: Arithmetic
    perplexity: float
    agreement: float
    tokens: int
    seconds: float


def sources(count: int = TEXTS) -> list[str]:
    """Pieces of Python's own standard library, each from a definition on: code that every machine has.

    ValueError if this Python came without its sources.
    """
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        start = text.find("\ndef ")
        if start >= 0 and len(text) - start > 20 * TOKENS:
            found.append(text[start + 1 : start + 20 * TOKENS])
    if len(found) < count:
        raise ValueError(f"only {len(found)} of {count} texts: the sources of Python's standard library are not here")
    return found[:count]


def scores(
    path: Path,
    tokenizer: Tokenizer,
    arithmetics: list[Arithmetic],
    *,
    done: Callable[[Score], None],
    step: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Scores of each arithmetic, float32 first; one decoder in memory at a time. `done` hears of each at once, `step`
    of (texts done, texts in all).

    Raises as load_decoder, and ValueError as `sources`.
    """
    order: list[Arithmetic] = ["float32", *(name for name in arithmetics if name != "float32")]
    texts = [[*tokenizer.start_ids, *tokenizer.encode(text, special=False)][:TOKENS] for text in sources()]
    reference: list[Tensor] = []
    found: list[Score] = []
    for place, arithmetic in enumerate(order):
        decoder = load_decoder(path, arithmetic=arithmetic, tokenizer=tokenizer)
        began = time.monotonic()
        loss, agreeing, count = 0.0, 0, 0
        for number, tokens in enumerate(texts):
            losses, best = _predict(decoder, tokens[: decoder.config.context_length])
            if place == 0:
                reference.append(best)
            loss += float(losses.sum())
            agreeing += int((best == reference[number]).sum())
            count += len(best)
            if step is not None:
                step(place * len(texts) + number + 1, len(order) * len(texts))
        one = Score(
            arithmetic=arithmetic,
            perplexity=math.exp(loss / count),
            agreement=agreeing / count,
            tokens=count,
            seconds=time.monotonic() - began,
        )
        done(one)
        found.append(one)
        del decoder
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    return found


@torch.inference_mode()
def _predict(decoder: Decoder, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """Of all tokens but the first: -log of their probability (float64) and the best token in their place."""
    ids = torch.tensor(tokens)
    logits = decoder.logits(decoder.hidden(ids, torch.arange(len(ids)), _attend))[:-1]
    wanted = logits.gather(1, ids[1:, None])[:, 0].double()
    return logits.double().logsumexp(dim=1) - wanted, logits.argmax(dim=1)


def _attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1).flatten(1)
