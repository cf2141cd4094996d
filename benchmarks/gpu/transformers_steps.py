"""A whole decode step by Hugging Face transformers, compiled, with its static cache, beside one of our kernels.

Its samples share nothing: each has the prompt in a cache of its own. Its decoder layers are compiled by torch.compile,
one compiled layer serving all of them, and the whole step is captured in a graph like ours: no host time counts. It
runs with the mask that transformers makes for a static cache, and without one, as a cache that is full would allow; the
faster of the two is held against ours. Where the package is not installed, the section says so.
"""

from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.problems import HALF, SEVEN, TINY, Mix, Model
from benchmarks.gpu.session import Session
from benchmarks.gpu.step_times import DecodeStep, Weights, mixes, weights
from benchmarks.gpu.timing import Ceilings, measure


def run(session: Session, found: Ceilings) -> None:
    """The mixes of gpu-bench's decode steps, those with most to show first."""
    del found
    installed = find_spec("transformers") is not None
    for model in [TINY] if session.dry else [HALF, SEVEN]:
        given = weights(session, model)
        network = _network(session, model) if installed else None
        for mix in sorted(mixes(session), key=lambda mix: (-mix.prompt, -mix.k)):
            about: dict[str, Any] = {"model": model.name, **mix.about()}
            session.case("step race", about, partial(_race, session, model, mix, given, network))
        del given, network


def _race(session: Session, model: Model, mix: Mix, given: Weights, network: Any) -> dict[str, Any]:
    step = DecodeStep(session, model, given, mix)
    ours = measure(session, [step.run])
    del step
    row: dict[str, Any] = ours.row("ours_us")
    if network is None:
        return row | {"transformers": "not installed"}
    times: dict[str, float] = {}
    for masked in (True, False):
        name = "masked" if masked else "unmasked"
        try:
            theirs = measure(session, [_step(session, network, model, mix, masked=masked)], peer=True)
        except Exception as error:  # a peer that does not run here is a result
            row[f"transformers_{name}"] = f"failed: {type(error).__name__}: {error}"[:300]
            continue
        row |= theirs.row(f"transformers_{name}_us")
        times[name] = theirs.median
    if not times:
        return row | {"transformers": "failed"}
    best = min(times.values())
    return row | {"transformers_us": round(1e6 * best, 2), "times_faster": round(best / ours.median, 3)}


def _network(session: Session, model: Model) -> Any:
    """A decoder of random weights, each layer of it compiled, all by the same code."""
    from torch._dynamo import config as dynamo
    from transformers import Qwen2Config, Qwen2ForCausalLM  # pyright: ignore[reportMissingImports]

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
    # Each mix is a shape of its own; beyond the limit torch would run it uncompiled without a word.
    dynamo.recompile_limit = 200
    dynamo.fail_on_recompile_limit_hit = True
    for layer in network.model.layers:
        # A layer's number is its place in the cache, and would make each layer code of its own.
        layer.self_attn.layer_idx = 0
        if not session.interpreted:
            layer.compile(dynamic=False)
    return network


def _step(session: Session, network: Any, model: Model, mix: Mix, *, masked: bool) -> Any:
    """A step that ends with the most probable tokens; filters and draws are ours alone."""
    length = mix.prompt + mix.own
    caches = [_cache(session, network.config, model, mix.rows, length) for _ in network.model.layers]
    tokens = torch.randint(0, model.vocab, (mix.rows, 1), device=session.device)
    positions = torch.full((mix.rows, 1), length - 1, device=session.device)
    seen = torch.ones(mix.rows, 1, 1, length, dtype=torch.bool, device=session.device)

    @torch.inference_mode()
    def step() -> Tensor:
        body = network.model
        hidden = body.embed_tokens(tokens)
        turned = body.rotary_emb(hidden, positions)
        for layer, cache in zip(body.layers, caches, strict=True):
            hidden = layer(
                hidden, attention_mask=seen if masked else None, position_embeddings=turned, position_ids=positions,
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            # Each time it is the same step.
            cache.layers[0].cumulative_length.sub_(1)
        return network.lm_head(body.norm(hidden)).argmax(dim=-1)

    return step


def _cache(session: Session, config: Any, model: Model, rows: int, length: int) -> Any:
    """A static cache of one layer, full but for its last token."""
    from transformers import StaticCache  # pyright: ignore[reportMissingImports]

    cache: Any = StaticCache(config=config, max_cache_len=length)
    del cache.layers[1:]
    cache.early_initialization(rows, model.kv_heads, model.head_dim, session.dtype, session.device)
    (layer,) = cache.layers
    for tensor in (layer.keys, layer.values, layer.cumulative_length):
        # The mark would make each layer's cache, and so each layer, code of its own.
        del tensor._dynamo_static_input_type
    layer.keys.normal_()
    layer.values.normal_()
    layer.cumulative_length.fill_(length - 1)
    return cache
