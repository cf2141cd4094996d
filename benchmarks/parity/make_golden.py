# /// script
# requires-python = ">=3.12"
# dependencies = ["torch==2.11.0", "transformers>=5", "gguf>=0.19", "safetensors>=0.8", "accelerate>=1"]
# ///
"""Golden data for the parity tests: logits of Hugging Face transformers in float32.

For each model a prompt of 200 tokens and 64 greedy steps with its cache; of each of the 264 positions the log-sum-exp
of the logits, 256 logits at fixed places, and the largest absolute logit. Run it in an environment of its own and from
outside the repository, whose folder `kernels` would hide a package that transformers looks for:

    uv run --script .../benchmarks/parity/make_golden.py --out .../tests/engine/models/data --tiny
    uv run --script .../benchmarks/parity/make_golden.py --out ... --model NAME=FILE.gguf --text TEXT.py
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers  # pyright: ignore[reportMissingImports]  # lives in an environment of its own

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
import tiny_models  # pyright: ignore[reportMissingImports]

PROMPT, STEPS, PLACES = 200, 64, 256


def main() -> None:
    """Write one golden-NAME.npz for each model asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="the tiny random models of tests/support/tiny_models.py")
    parser.add_argument("--model", metavar="NAME=FILE", help="a GGUF file")
    parser.add_argument("--text", type=Path, help="its prompt: the first tokens of this text")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.tiny:
        for family in tiny_models.FAMILIES.values():
            with tempfile.TemporaryDirectory() as folder:
                tiny_models.write_folder(Path(folder), family)
                model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            write(options.out, family.name, golden(model, tiny_models.prompt(family, PROMPT)), "")
    if options.model:
        name, _, file = options.model.partition("=")
        path = Path(file)
        place = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
        model = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
        tokens = tokenizer(options.text.read_text(), add_special_tokens=False).input_ids[:PROMPT]
        if len(tokens) != PROMPT:
            parser.error(f"--text {options.text} has {len(tokens)} tokens; {PROMPT} are needed")
        write(options.out, name, golden(model, tokens), hashlib.sha256(path.read_bytes()).hexdigest())


@torch.inference_mode()
def golden(model: Any, prompt: list[int]) -> dict[str, Any]:
    """Tokens [264] and the figures of each position. The steps feed one greedy token each through the cache."""
    result = model(torch.tensor([prompt]), use_cache=True)
    logits = [result.logits[0]]
    tokens, cache = list(prompt), result.past_key_values
    for _ in range(STEPS):
        tokens.append(int(logits[-1][-1].argmax()))
        result = model(torch.tensor([tokens[-1:]]), past_key_values=cache, use_cache=True)
        logits.append(result.logits[0])
        cache = result.past_key_values
    found = torch.cat(logits).float()
    places = np.sort(np.random.default_rng(0).choice(found.shape[1], PLACES, replace=False))
    return {
        "tokens": np.array(tokens, np.int32),
        "places": places.astype(np.int32),
        "logits": found[:, torch.from_numpy(places)].numpy(),
        "logsumexp": found.double().logsumexp(dim=1).numpy(),
        "largest": found.abs().amax(dim=1).numpy(),
    }


def write(folder: Path, name: str, data: dict[str, Any], sha256: str) -> None:
    """Write the data and where it comes from."""
    about = {"model_sha256": sha256, "torch": torch.__version__, "transformers": transformers.__version__}
    np.savez_compressed(folder / f"golden-{name}.npz", about=np.array(json.dumps(about)), **data)


if __name__ == "__main__":
    main()
