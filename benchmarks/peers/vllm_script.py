"""vLLM in an environment of its own: one JSON request a line in, one JSON answer a line out. It knows nothing of us.

python -I vllm_script.py FOLDER SETTINGS.json      (SETTINGS: arguments of vllm.LLM)
"""

import json
import os
import sys
import time
from typing import Any


def draw(engine: Any, sampling: Any, request: dict[str, Any]) -> dict[str, Any]:
    """k samples of one prompt, nothing of which is cached yet."""
    engine.reset_prefix_cache()
    parameters = sampling(
        n=request["k"],
        temperature=request["temperature"],
        top_p=request["top_p"],
        max_tokens=request["new_tokens"],
        ignore_eos=True,
        stop_token_ids=request["ends"],
        detokenize=False,
    )
    began = time.perf_counter()
    (answer,) = engine.generate([{"prompt_token_ids": request["prompt"]}], parameters, use_tqdm=False)
    seconds = time.perf_counter() - began
    return {"counts": [len(sample.token_ids) for sample in answer.outputs], "seconds": seconds}


def greedy(engine: Any, sampling: Any, request: dict[str, Any]) -> dict[str, Any]:
    """One sample of the most likely tokens."""
    parameters = sampling(temperature=0.0, max_tokens=request["new_tokens"], ignore_eos=True, detokenize=False)
    (answer,) = engine.generate([{"prompt_token_ids": request["prompt"]}], parameters, use_tqdm=False)
    return {"tokens": list(answer.outputs[0].token_ids)}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]  # lives in an environment of its own

    engine = LLM(model=sys.argv[1], **json.loads(sys.argv[2]))
    answers.write(json.dumps({}) + "\n")
    does = {"draw": draw, "greedy": greedy}
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(does[request["do"]](engine, SamplingParams, request)) + "\n")


if __name__ == "__main__":
    main()
