"""The shape of a decoder. Knows no torch, so that the front can read one, too."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The shape of a decoder. `rope_factors` are head_dim / 2 numbers by which the rotations' frequencies are divided;
    None for all 1."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    vocab: int
    rope_theta: float
    norm_eps: float
    context_length: int
    qkv_bias: bool
    qk_norm: bool
    tied_embeddings: bool
    rope_factors: tuple[float, ...] | None = None
