"""What a model loses where keys and values of drawn tokens are stored in 8 bits (engine.suffix_kv_bits).

    python -m benchmarks.suffix_kv [--problems 40] [--out FILE.json]

The published solutions of HumanEval after their stubs, token by token: how the probability of each token changes, and
how often the most probable one stays the same. Keys and values of the solution's tokens go through the 8 bits that the
GPU's kernels store (kernels.reference_pages), those of the stub stay as they are; all else is equal. No GPU is needed,
and nothing is timed.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import data
from benchmarks.decode import serve
from benchmarks.record import provenance, write
from benchmarks.tree.humaneval import data_folder
from engine.models.decoder import Decoder
from kernels.reference_pages import narrowed


def _through_8_bits(numbers: Tensor) -> Tensor:
    codes, scales = narrowed(numbers)
    return (codes.double() * scales.double()[..., None]).to(numbers.dtype)


@torch.inference_mode()
def log_probabilities(decoder: Decoder, tokens: list[int], prompt: int, *, narrow: bool) -> Tensor:
    """Natural logarithms of the probabilities of all that may follow each token from the prompt's last one on, [tokens
    - prompt, vocab] float64; `narrow`: tokens after the prompt are stored in 8 bits."""

    def attend(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if narrow:
            k, v = (torch.cat([part[:prompt], _through_8_bits(part[prompt:])]) for part in (k, v))
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1).flatten(1)

    hidden = decoder.hidden(torch.tensor(tokens), torch.arange(len(tokens)), attend)
    return decoder.logits(hidden[prompt - 1 : -1]).double().log_softmax(dim=1)


def compare(wide: Tensor, narrow: Tensor, tokens: list[int]) -> dict[str, Any]:
    """Two distributions at each place, [n, vocab] each, and the tokens that stand there: sums over the places."""
    ids = torch.tensor(tokens)[:, None]
    before, after = (part.gather(1, ids)[:, 0] for part in (wide, narrow))
    return {
        "tokens": len(tokens),
        "wide": float(before.sum()),
        "narrow": float(after.sum()),
        "absolute_difference": float((after - before).abs().sum()),
        "largest_difference": float((after - before).abs().max()),
        "divergence": float((wide.exp() * (wide - narrow)).sum()),
        "same_best": int((wide.argmax(dim=1) == narrow.argmax(dim=1)).sum()),
    }


def summary(problems: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over all tokens. Differences of log-probabilities are narrow - wide, in nats; the divergence is Kullback
    and Leibler's, of narrow from wide."""
    tokens = sum(row["tokens"] for row in problems)

    def mean(name: str) -> float:
        return sum(row[name] for row in problems) / tokens

    return {
        "tokens": tokens,
        "perplexity_wide": round(math.exp(-mean("wide")), 5),
        "perplexity_narrow": round(math.exp(-mean("narrow")), 5),
        "mean_difference": round(mean("narrow") - mean("wide"), 6),
        "mean_absolute_difference": round(mean("absolute_difference"), 6),
        "largest_difference": round(max(row["largest_difference"] for row in problems), 4),
        "mean_divergence": round(mean("divergence"), 7),
        "same_best_token": round(mean("same_best"), 5),
    }


def main(arguments: list[str]) -> int:
    """Measure and write, after each problem."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suffix_kv", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--arithmetic", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/suffix-kv.json"))
    given = parser.parse_args(arguments)
    records = data.load("humaneval", data=data_folder(given.data)).records[: given.problems]
    served = serve(given.model, given.arithmetic)
    tokenizer, problems = served.tokenizer, list[dict[str, Any]]()
    result: dict[str, Any] = {
        "experiment": "suffix-kv",
        "provenance": provenance(["python", "-m", "benchmarks.suffix_kv", *arguments]),
        "model": given.model,
        "arithmetic": given.arithmetic,
    }
    for record in records:
        stub, solution = record.stub, record.references[0].removeprefix(record.stub)
        prompt = [*tokenizer.start_ids, *tokenizer.encode(stub, special=False)]
        own = tokenizer.encode(solution, special=False)
        wide, narrow = (
            log_probabilities(served.decoder, [*prompt, *own], len(prompt), narrow=narrow) for narrow in (False, True)
        )
        problems.append({"problem": record.id, "prompt_tokens": len(prompt), **compare(wide, narrow, own)})
        write(given.out, result | {"summary": summary(problems), "problems": problems})
        print(problems[-1], flush=True)
    print(summary(problems), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
