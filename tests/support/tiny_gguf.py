"""GGUF files of a few kilobytes: a whole vocabulary of bytes, random weights, everything else as in a real file."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role not in ('system', 'user', 'assistant') %}{{ raise_exception('no such role') }}"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MERGES = ("d e", "de f", "Ġ Ġ", "r e", "Ċ ĠĠ", "` `", "`` `")
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZES = {
    "block_count": 2,
    "context_length": 64,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
}


def letters() -> list[str]:
    """GPT-2's letters for the bytes 0 to 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def vocabulary() -> tuple[list[str], list[int]]:
    """Tokens and their types: bytes, merges, control tokens, one user-defined token, one unused."""
    tokens = letters() + [merge.replace(" ", "") for merge in MERGES]
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    tokens += [*CONTROL, "<tool_call>", "[PAD0]"]
    kinds += [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.USER_DEFINED, gguf.TokenType.UNUSED]
    return tokens, [int(kind) for kind in kinds]


def weights(architecture: str, *, tied: bool, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Random float32 tensors by name, rows first. Llama's q and k rows are in the order of a plain model."""
    rng = np.random.default_rng(seed)
    rows, hidden, inner = len(vocabulary()[0]), SIZES["embedding_length"], SIZES["feed_forward_length"]

    def matrix(*shape: int) -> np.ndarray[Any, Any]:
        return (rng.standard_normal(shape) * 0.2).astype(np.float32)

    found = {"token_embd.weight": matrix(rows, hidden), "output_norm.weight": 1 + matrix(hidden)}
    if not tied:
        found["output.weight"] = matrix(rows, hidden)
    for layer in range(SIZES["block_count"]):
        name = f"blk.{layer}."
        found |= {name + "attn_norm.weight": 1 + matrix(hidden), name + "ffn_norm.weight": 1 + matrix(hidden)}
        found |= {name + "attn_q.weight": matrix(hidden, hidden), name + "attn_k.weight": matrix(hidden // 2, hidden)}
        found |= {name + "attn_v.weight": matrix(hidden // 2, hidden)}
        found |= {name + "attn_output.weight": matrix(hidden, hidden), name + "ffn_gate.weight": matrix(inner, hidden)}
        found |= {name + "ffn_up.weight": matrix(inner, hidden), name + "ffn_down.weight": matrix(hidden, inner)}
        if architecture == "qwen2":
            found |= {name + "attn_q.bias": matrix(hidden), name + "attn_k.bias": matrix(hidden // 2)}
            found |= {name + "attn_v.bias": matrix(hidden // 2)}
    return found


def write_gguf(
    path: Path,
    architecture: str = "qwen2",
    *,
    tensors: dict[str, np.ndarray[Any, Any]] | None = None,
    metadata: dict[str, Any] | None = None,
    template: str | None = CHAT_TEMPLATE,
    pre: str = "qwen2",
    raw: dict[str, tuple[np.ndarray[Any, Any], gguf.GGMLQuantizationType]] | None = None,
) -> Path:
    """Write a file; `metadata` replaces integers and adds strings; `raw` adds tensors as bytes of some kind."""
    writer = gguf.GGUFWriter(path, architecture)
    values: dict[str, Any] = {f"{architecture}.{key}": value for key, value in SIZES.items()}
    values |= {f"{architecture}.rope.freq_base": 100.0, f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5}
    tokens, kinds = vocabulary()
    values |= {"tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"), "tokenizer.ggml.model": "gpt2"}
    values |= {"tokenizer.ggml.pre": pre} | (metadata or {})
    if template is not None:
        values["tokenizer.chat_template"] = template
    for key, value in values.items():
        match value:
            case str():
                writer.add_string(key, value)
            case float():
                writer.add_float32(key, value)
            case _:
                writer.add_uint32(key, value)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    for name, tensor in (weights(architecture, tied=True) if tensors is None else tensors).items():
        writer.add_tensor(name, tensor)
    for name, (data, kind) in (raw or {}).items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
