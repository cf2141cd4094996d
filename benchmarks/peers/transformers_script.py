"""transformers in its own environment: one JSON request a line in, one JSON answer a line out. It knows nothing of us.

python -I transformers_script.py FOLDER SETTINGS.json      (SETTINGS: dtype, threads)

How k samples are drawn fastest is tried at the first request for so many, and kept: with a cache that grows, whose
prompt is computed once and copied, or one of fixed size, as it is or compiled; all at once or some after others.
"""

import json
import os
import sys
import time
from typing import Any

TRIED_TOKENS = 12
"""New tokens of each sample of a trial."""
CACHES = ("dynamic", "static", "static, compiled")
PARTS = (1, 4)
"""In how many parts samples are drawn one after another, where there are as many."""


def settings_of(k: int) -> list[dict[str, Any]]:
    """What is tried for k samples. Compiling takes minutes for each number at once, so only all of them are."""
    parts = [1] if k < 4 * PARTS[-1] else [*PARTS]
    found = [{"cache": cache, "at_once": -(-k // part)} for cache in CACHES[:-1] for part in parts]
    return [*found, {"cache": CACHES[-1], "at_once": k}]


class Engine:
    """A model and how it is asked."""

    def __init__(self, folder: str, dtype: str, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM  # pyright: ignore[reportMissingImports]  # not in ours

        torch.set_num_threads(threads)
        # Each number of samples is a graph of its own, for the prompt and for a token.
        torch._dynamo.config.recompile_limit = 64  # pyright: ignore
        self.torch = torch
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        self.plain = self.model.forward
        self.best: dict[int, dict[str, Any]] = {}

    def draw(self, request: dict[str, Any]) -> dict[str, Any]:
        """k samples of one prompt, in the way that is fastest for so many."""
        k = request["k"]
        if k not in self.best:
            self.best[k] = self._try(request)
        began = time.perf_counter()
        counts = self._samples(request, self.best[k], request["new_tokens"])
        return {"counts": counts, "seconds": time.perf_counter() - began, "setting": self.best[k]}

    def greedy(self, request: dict[str, Any]) -> dict[str, Any]:
        """One sample of the most likely tokens."""
        self.model.forward = self.plain
        prompt = self.torch.tensor([request["prompt"]])
        found = self.model.generate(
            prompt, attention_mask=self.torch.ones_like(prompt), **_exactly(request["new_tokens"]), do_sample=False
        )
        return {"tokens": found[0, prompt.shape[1] :].tolist()}

    def _try(self, request: dict[str, Any]) -> dict[str, Any]:
        tried: list[dict[str, Any]] = []
        for setting in settings_of(request["k"]):
            try:
                # Compiling, and whatever else is done once, is no part of a draw.
                self._samples(request, setting, TRIED_TOKENS)
                began = time.perf_counter()
                self._samples(request, setting, TRIED_TOKENS)
                tried.append({**setting, "seconds": round(time.perf_counter() - began, 3)})
            except Exception as error:  # what does not work here is not the best
                tried.append({**setting, "failed": f"{type(error).__name__}: {error}"[:200]})
        worked = [one for one in tried if "seconds" in one]
        if not worked:
            raise RuntimeError(f"no setting works: {tried}")
        fastest = min(worked, key=lambda one: one["seconds"])
        return {"cache": fastest["cache"], "at_once": fastest["at_once"], "tried": tried}

    def _samples(self, request: dict[str, Any], setting: dict[str, Any], new_tokens: int) -> list[int]:
        counts: list[int] = []
        while len(counts) < request["k"]:
            count = min(setting["at_once"], request["k"] - len(counts))
            counts += self._some(request, setting["cache"], count, new_tokens)
        return counts

    def _some(self, request: dict[str, Any], cache: str, count: int, new_tokens: int) -> list[int]:
        torch = self.torch
        compiled = cache == "static, compiled"
        if not compiled:
            self.model.forward = self.plain
        elif self.model.forward is self.plain:
            self.model.forward = torch.compile(self.plain, dynamic=False)
        prompt = torch.tensor([request["prompt"]])
        asked: dict[str, Any] = {
            "do_sample": True,
            "temperature": request["temperature"],
            "top_p": request["top_p"],
            "top_k": 0,
            **_exactly(new_tokens),
        }
        if cache == "dynamic":
            prompt, asked["cache"] = prompt.repeat(count, 1), shared_prompt(self, prompt, count)
        else:
            # Of one size whatever the new tokens: another size would be compiled again, in the middle of a draw.
            room = prompt.shape[1] + request["room"]
            asked |= {"cache_implementation": "static", "max_cache_len": room, "num_return_sequences": count}
        found = self.model.generate(prompt, attention_mask=torch.ones_like(prompt), **asked)
        return [len(row) - prompt.shape[1] for row in found]


def shared_prompt(engine: Engine, prompt: Any, count: int) -> Any:
    """Keys and values of all tokens of a prompt but the last, computed once, for so many samples."""
    from transformers import DynamicCache  # pyright: ignore[reportMissingImports]  # not in ours

    cache: Any = DynamicCache(config=engine.model.config)
    if prompt.shape[1] > 1:
        with engine.torch.inference_mode():
            engine.model(prompt[:, :-1], cache=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(count)
    return cache


def _exactly(new_tokens: int) -> dict[str, Any]:
    """No end is known to the folder's configuration, so a sample has all its tokens."""
    return {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens, "eos_token_id": None, "pad_token_id": 0}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = Engine(sys.argv[1], **json.loads(sys.argv[2]))
    answers.write(json.dumps({}) + "\n")
    does = {"draw": engine.draw, "greedy": engine.greedy}
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(does[request["do"]](request)) + "\n")


if __name__ == "__main__":
    main()
