"""What 8 bits cost: the figures are those of their definitions."""

import math

import pytest
import torch
from support.dense_attention import DenseSequence
from support.random_decoders import config, random_decoder

from benchmarks.suffix_kv import compare, log_probabilities, summary


def test_only_tokens_after_the_prompt_change_anything() -> None:
    decoder, tokens = random_decoder(config()), list(range(3, 43))
    exact = DenseSequence(decoder, len(tokens)).extend(tokens).double().log_softmax(dim=1)
    wide, narrow = (log_probabilities(decoder, tokens, 20, narrow=narrow) for narrow in (False, True))
    torch.testing.assert_close(wide, exact[19:-1], rtol=0, atol=1e-4)
    # The first solution's token is drawn from the prompt alone.
    torch.testing.assert_close(narrow[0], wide[0], rtol=0, atol=1e-4)
    changes = (narrow - wide).abs().amax(dim=1)
    assert (changes[1:] > 1e-4).all() and changes.max() < 0.5


def test_the_figures() -> None:
    wide = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=torch.float64).log()
    narrow = torch.tensor([[0.4, 0.5, 0.1], [0.1, 0.2, 0.7]], dtype=torch.float64).log()
    row = compare(wide, narrow, [0, 2])
    assert row["tokens"] == 2 and row["same_best"] == 1
    assert row["absolute_difference"] == pytest.approx(math.log(0.5 / 0.4))
    divergence = 0.5 * math.log(0.5 / 0.4) + 0.25 * math.log(0.25 / 0.5) + 0.25 * math.log(0.25 / 0.1)
    assert row["divergence"] == pytest.approx(divergence)
    found = summary([row, row])
    assert found["tokens"] == 4 and found["same_best_token"] == 0.5
    assert found["mean_difference"] == pytest.approx(-math.log(0.5 / 0.4) / 2, abs=1e-6)
    assert found["perplexity_wide"] == pytest.approx((0.5 * 0.7) ** -0.5, abs=1e-5)
    assert found["largest_difference"] == pytest.approx(math.log(0.5 / 0.4), abs=1e-4)
