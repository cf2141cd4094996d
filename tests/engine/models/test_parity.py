"""The decoder and the tokenizer against Hugging Face transformers on the same file (benchmarks/parity)."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.dense_attention import DenseSequence, greedy

from engine.models.catalogue import CATALOGUE, fetch
from engine.models.decoder import Decoder
from engine.models.load import load_decoder
from engine.text.chat import ChatTemplate
from engine.text.tokenizer import Tokenizer

DATA = Path(__file__).parent / "data"

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=list(CATALOGUE))
def reference(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded = json.loads((DATA / f"greedy-{request.param}.json").read_text())
    assert loaded["model_sha256"] == CATALOGUE[request.param].sha256
    return loaded | {"path": fetch(request.param)}


@pytest.fixture(scope="module")
def decoder(reference: dict[str, Any]) -> Decoder:
    return load_decoder(reference["path"], arithmetic="float32")


def test_prompts_are_encoded_as_transformers_does(reference: dict[str, Any]) -> None:
    tokenizer, template = Tokenizer.from_gguf(reference["path"]), ChatTemplate.from_gguf(reference["path"])
    assert template is not None
    for case in reference["cases"]:
        if case["messages"] is not None:
            assert template.render(case["messages"]) == case["prompt"]
        assert tokenizer.encode(case["prompt"], special=True) == case["prompt_ids"]
        assert tokenizer.decode(case["output_ids"]) == case["output_text"]


@pytest.mark.slow
def test_greedy_tokens_are_those_of_transformers(reference: dict[str, Any], decoder: Decoder) -> None:
    prompts = [case["prompt_ids"] for case in reference["cases"]]
    expected = [case["output_ids"] for case in reference["cases"]]
    assert len(expected) == 5 and min(map(len, expected)) >= 64
    assert greedy(decoder, prompts, len(expected[0])) == expected


@pytest.mark.slow
def test_chunked_prefill_changes_nothing(reference: dict[str, Any], decoder: Decoder) -> None:
    prompt = reference["cases"][0]["prompt_ids"]
    whole, chunked = (DenseSequence(decoder, len(prompt)) for _ in range(2))
    expected = whole.extend(prompt)[-1]
    for start in range(0, len(prompt), 7):
        found = chunked.extend(prompt[start : start + 7])[-1]
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.slow
def test_bfloat16_stays_close(reference: dict[str, Any]) -> None:
    """Teacher-forced: on the reference's own path bfloat16 prefers the same token nearly always."""
    packed = load_decoder(reference["path"], arithmetic="bfloat16")
    for case in reference["cases"]:
        tokens = case["prompt_ids"] + case["output_ids"]
        start = len(case["prompt_ids"]) - 1
        chosen = DenseSequence(packed, len(tokens)).extend(tokens)[start:-1].argmax(dim=1).tolist()
        agreed = sum(a == b for a, b in zip(chosen, case["output_ids"], strict=True))
        assert agreed >= 0.85 * len(chosen)
