"""What an arithmetic loses: the figures are those of their definitions."""

import math
from pathlib import Path

import pytest
import torch
from support.dense_attention import DenseSequence
from support.tiny_gguf import weights, write_gguf

from engine.models.load import load_decoder
from engine.runner.quality import TEXTS, TOKENS, Score, scores, sources
from engine.text.tokenizer import Tokenizer


def test_the_texts_are_code() -> None:
    found = sources()
    assert len(found) == TEXTS == len(set(found))
    assert all(text.startswith("def ") and len(text) > 10 * TOKENS for text in found)


def test_texts_that_are_not_here_are_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match="only 0 of 50 texts: the sources of Python's standard library are not here"):
        sources()


def test_perplexity_and_agreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runner.quality.sources", lambda: sources(4))
    tensors = weights("qwen2", tied=False)
    path = write_gguf(tmp_path / "tiny.gguf", tensors=tensors, metadata={"qwen2.context_length": 100})
    tokenizer = Tokenizer.from_gguf(path)
    told: list[Score] = []
    steps: list[tuple[int, int]] = []
    found = scores(path, tokenizer, ["bfloat16"], done=told.append, step=lambda *step: steps.append(step))
    assert found == told
    assert steps == [(n, 8) for n in range(1, 9)]
    exact, rough = found
    assert (exact.arithmetic, rough.arithmetic) == ("float32", "bfloat16")
    assert exact.tokens == rough.tokens == 4 * 99
    decoder, loss = load_decoder(path, arithmetic="float32"), 0.0
    for text in sources(4):
        tokens = tokenizer.encode(text, special=False)[:100]
        logits = DenseSequence(decoder, 100).extend(tokens)[:-1].double()
        loss -= float(logits.log_softmax(dim=1)[range(99), torch.tensor(tokens[1:])].sum())
    assert exact.perplexity == pytest.approx(math.exp(loss / (4 * 99)), rel=1e-5)
    assert exact.agreement == 1.0
    assert rough.perplexity != exact.perplexity
    assert rough.perplexity == pytest.approx(exact.perplexity, rel=0.02)
    assert 0.9 < rough.agreement <= 1.0
