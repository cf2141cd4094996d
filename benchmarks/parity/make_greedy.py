# /// script
# requires-python = ">=3.12"
# dependencies = ["torch==2.11.0", "transformers>=5", "gguf>=0.19", "accelerate>=1"]
# ///
"""Reference texts: what Hugging Face transformers writes, greedily and in float32, from the same GGUF file.

Run it in an environment of its own and from outside the repository, whose folder `kernels` would hide a package that
transformers looks for:

    uv run --script benchmarks/parity/make_greedy.py MODEL.gguf --out tests/engine/models/data/greedy-NAME.json
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import transformers  # pyright: ignore[reportMissingImports]  # lives in an environment of its own

CHATS = (
    "Write a Python function `is_prime(n)` that tells whether n is prime.",
    "Write a function to find the shared elements from the given two lists.\n\n"
    "assert set(similar_elements((3, 4, 5, 6),(5, 7, 4, 10))) == set((4, 5))",
    'Explain in German, with the word "Größe", what `sorted(xs, key=len)[::-1]` does. 🙂',
)
TEXTS = (
    'from typing import List\n\n\ndef rolling_max(numbers: List[int]) -> List[int]:\n    """ From a given list of '
    "integers, generate a list of rolling maximum element found until given moment\n    in the sequence.\n"
    '    >>> rolling_max([1, 2, 3, 2, 3, 4, 2])\n    [1, 2, 3, 3, 3, 4, 4]\n    """\n',
    "# A queue made of two stacks.\n\nclass Queue:\n    def __init__(self):\n",
)


def main() -> None:
    """Write the reference file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=96, help="new tokens per prompt, if the text does not end before")
    options = parser.parse_args()
    place = {"pretrained_model_name_or_path": str(options.model.parent), "gguf_file": options.model.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    model = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
    cases = [continue_prompt(model, tokenizer, chat=chat, tokens=options.tokens) for chat in CHATS]
    cases += [continue_prompt(model, tokenizer, text=text, tokens=options.tokens) for text in TEXTS]
    reference = {
        "model_sha256": hashlib.sha256(options.model.read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cases": cases,
    }
    options.out.write_text(json.dumps(reference, indent=1, ensure_ascii=False) + "\n")


def continue_prompt(
    model: Any, tokenizer: Any, *, tokens: int, chat: str | None = None, text: str | None = None
) -> dict[str, Any]:
    """One case. `margin` is the smallest difference between the best and the second logit on the way."""
    messages = None if chat is None else [{"role": "user", "content": chat}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) if messages else text
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.inference_mode():
        # The end of the text does not stop it: every step is one more comparison.
        result = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            max_new_tokens=tokens,
            min_new_tokens=None,
            eos_token_id=[],
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
    best = torch.stack(result.logits)[:, 0].topk(2).values
    output = result.sequences[0, ids.shape[1] :].tolist()
    return {
        "messages": messages,
        "prompt": prompt,
        "prompt_ids": ids[0].tolist(),
        "output_ids": output,
        "output_text": tokenizer.decode(output, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        "margin": round(float((best[:, 0] - best[:, 1]).min()), 4),
    }


if __name__ == "__main__":
    main()
