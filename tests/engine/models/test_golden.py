"""The decoder against Hugging Face transformers in float32: every family, from both kinds of files.

The golden data is made by benchmarks/parity/make_golden.py: a prompt of 200 tokens, then 64 steps of one token each.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.dense_attention import DenseSequence
from support.tiny_models import FAMILIES, write_folder, write_gguf_model

from engine.models.catalogue import CATALOGUE, fetch
from engine.models.decoder import Decoder
from engine.models.load import load_decoder

DATA = Path(__file__).parent / "data"
PROMPT, STEPS = 200, 64
BOUND = 1e-4
"""Of the largest difference over the largest logit."""


def golden(name: str) -> dict[str, Any]:
    with np.load(DATA / f"golden-{name}.npz") as file:
        found = {key: file[key] for key in file.files}
    assert found["logits"].shape == (PROMPT + STEPS, 256)
    assert found["logsumexp"].shape == (PROMPT + STEPS,)
    return found | {"about": json.loads(str(found["about"]))}


def worst_error(decoder: Decoder, reference: dict[str, Any]) -> float:
    tokens = reference["tokens"].tolist()
    sequence = DenseSequence(decoder, len(tokens))
    rows = [sequence.extend(tokens[:PROMPT]), *(sequence.extend([token]) for token in tokens[PROMPT:])]
    logits = torch.cat(rows).double()
    assert len(logits) == PROMPT + STEPS
    at_places = logits[:, torch.from_numpy(reference["places"]).long()].numpy()
    differences = (at_places - reference["logits"], logits.logsumexp(dim=1).numpy() - reference["logsumexp"])
    largest = float(reference["largest"].max())
    assert float(logits.abs().max()) == pytest.approx(largest, rel=BOUND)
    return max(float(np.abs(difference).max()) for difference in differences) / largest


@pytest.mark.parametrize("source", ["gguf", "folder", "sharded folder"])
@pytest.mark.parametrize("name", list(FAMILIES))
def test_tiny_models_compute_what_transformers_computes(tmp_path: Path, name: str, source: str) -> None:
    match source:
        case "gguf":
            path = write_gguf_model(tmp_path / "tiny.gguf", FAMILIES[name])
        case "folder":
            path = write_folder(tmp_path, FAMILIES[name])
        case _:
            path = write_folder(tmp_path, FAMILIES[name], shards=3)
    assert worst_error(load_decoder(path, arithmetic="float32"), golden(name)) < BOUND


def test_the_bound_tells_families_apart(tmp_path: Path) -> None:
    """The same weights without the slowed rotations are far off: the golden data would show a forgotten option."""
    path = write_folder(tmp_path, FAMILIES["llama3-rope"], config={"rope_scaling": None})
    reference = golden("llama3-rope")
    logits = DenseSequence(load_decoder(path, arithmetic="float32"), PROMPT).extend(
        reference["tokens"][:PROMPT].tolist()
    )
    difference = logits[:, torch.from_numpy(reference["places"]).long()].numpy() - reference["logits"][:PROMPT]
    assert float(np.abs(difference).max()) / float(reference["largest"].max()) > 100 * BOUND


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_catalogue_models_compute_what_transformers_computes(name: str) -> None:
    reference = golden(name)
    assert reference["about"]["model_sha256"] == CATALOGUE[name].sha256
    assert worst_error(load_decoder(fetch(name), arithmetic="float32"), reference) < BOUND
