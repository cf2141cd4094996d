"""A whole decode step by Hugging Face transformers, compiled, with its static cache, beside one of our kernels.

Its samples share nothing: each has the prompt in a cache of its own. Where the package is not installed, the section
says so.
"""

from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.gpu.problems import HALF, SEVEN, TINY, Mix, Model
from benchmarks.gpu.session import Session
from benchmarks.gpu.step_times import DecodeStep, weights
from benchmarks.gpu.timing import Ceilings, Timing, measure

_OWN = 128


def run(session: Session, found: Ceilings) -> None:
    """64 samples of a prompt of 2,048 tokens, for both models."""
    del found
    installed = find_spec("transformers") is not None
    for model in [TINY] if session.dry else [HALF, SEVEN]:
        mix = Mix(1, 3, 70, 5) if session.dry else Mix(1, 64, 2048, _OWN)
        session.case("step race", {"model": model.name, **mix.about()}, partial(_race, session, model, mix, installed))


def _race(session: Session, model: Model, mix: Mix, installed: bool) -> dict[str, Any]:
    step = DecodeStep(session, model, weights(session, model), mix)
    ours = measure(session, [step.run])
    del step
    row: dict[str, Any] = ours.row("ours_us")
    if not installed:
        return row | {"transformers": "not installed"}
    try:
        theirs = _transformers(session, model, mix)
    except Exception as error:  # a peer that does not run here is a result
        return row | {"transformers": f"failed: {type(error).__name__}: {error}"[:300]}
    return row | theirs.row("transformers_us") | {"times_faster": round(theirs.median / ours.median, 3)}


def _transformers(session: Session, model: Model, mix: Mix) -> Timing:
    """A step of random weights that ends with the most probable tokens; filters and draws are ours alone."""
    from transformers import (  # pyright: ignore[reportMissingImports]
        Qwen2Config,
        Qwen2ForCausalLM,
        StaticCache,
    )

    config: Any = Qwen2Config(
        vocab_size=model.vocab,
        hidden_size=model.hidden,
        intermediate_size=model.intermediate,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        head_dim=model.head_dim,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(session.dtype)
    try:
        with session.device:
            network: Any = Qwen2ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    length = mix.prompt + mix.own
    cache: Any = StaticCache(config=config, max_cache_len=length)
    cache.early_initialization(mix.rows, model.kv_heads, model.head_dim, session.dtype, session.device)
    for layer in cache.layers:
        layer.keys.normal_()
        layer.values.normal_()
        layer.cumulative_length.fill_(length - 1)
    tokens = torch.randint(0, model.vocab, (mix.rows, 1), device=session.device)

    def step() -> torch.Tensor:
        found = network(input_ids=tokens, past_key_values=cache, use_cache=True).logits.argmax(dim=-1)
        # Each time it is the same step.
        for layer in cache.layers:
            layer.cumulative_length.sub_(1)
        return found

    call = step if session.dry else torch.compile(step, dynamic=False)
    with torch.inference_mode():
        return measure(session, [call], peer=True)
