"""The network of tiny_gguf written plainly in float64."""

from typing import Any

import numpy as np
from support.tiny_gguf import SIZES

Array = np.ndarray[Any, Any]
HEADS, KV_HEADS = SIZES["attention.head_count"], SIZES["attention.head_count_kv"]
HEAD_DIM = SIZES["embedding_length"] // HEADS


def expected_logits(tensors: dict[str, Array], tokens: list[int]) -> Array:
    """[T, vocab], one token and one head at a time."""
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def norm(x: Array, name: str) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[name]

    def rotate(x: Array, position: int) -> Array:
        half = HEAD_DIM // 2
        angle = position / 100.0 ** (np.arange(half) * 2 / HEAD_DIM)
        a, b = x[:half], x[half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])

    x = w["token_embd.weight"][tokens]
    for layer in range(SIZES["block_count"]):
        p = f"blk.{layer}."
        h = norm(x, p + "attn_norm.weight")
        q, k, v = (h @ w[f"{p}attn_{n}.weight"].T + w.get(f"{p}attn_{n}.bias", 0.0) for n in "qkv")
        out = np.zeros_like(x)
        for t in range(len(tokens)):
            for head in range(HEADS):
                mine, shared = head * HEAD_DIM, head * KV_HEADS // HEADS * HEAD_DIM
                query = rotate(q[t, mine : mine + HEAD_DIM], t)
                keys = np.stack([rotate(k[s, shared : shared + HEAD_DIM], s) for s in range(t + 1)])
                scores = np.exp(keys @ query / np.sqrt(HEAD_DIM))
                out[t, mine : mine + HEAD_DIM] = scores / scores.sum() @ v[: t + 1, shared : shared + HEAD_DIM]
        x = x + out @ w[p + "attn_output.weight"].T
        h = norm(x, p + "ffn_norm.weight")
        gate, up = h @ w[p + "ffn_gate.weight"].T, h @ w[p + "ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[p + "ffn_down.weight"].T
    head_name = "output.weight" if "output.weight" in w else "token_embd.weight"
    return norm(x, "output_norm.weight") @ w[head_name].T
