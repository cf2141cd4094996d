"""transformers in its own environment, one request a sample, each of which may be aborted. It knows nothing of us.

python -I transformers_requests.py FOLDER SETTINGS.json      (SETTINGS: dtype, threads, tokenizer)

A JSON value a line, in: {"add": ID, "prompt": token ids, ...} asks for a sample, {"abort": [IDs]} ends samples that are
not wanted any more, {"forget": true} is for engines that keep prompts; out: {"id": ID, "text": ..., "tokens": N} when a
sample has ended by itself.

Samples that wait are drawn together by one call of generate, which computes each prompt once. Nobody can join it; those
that have ended stay in its batch, as generate does it, and it ends with the last of them, or when all are aborted.
"""

import json
import os
import queue
import sys
import threading
from typing import Any

TAIL = 16
"""Tokens at the end of a text in which a stop string is looked for."""


class Sample:
    """One that was asked for."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.name: str = request["add"]
        self.prompt: list[int] = request["prompt"]
        self.request = request
        self.tokens: list[int] = []
        self.over = False

    def take(self, token: int, decode: Any) -> str | None:
        """The next token. The text if that ends it: before a stop string, and without the token that is an end."""
        if token in self.request["ends"]:
            self.over = True
            return decode(self.tokens)
        self.tokens.append(token)
        if any(stop in decode(self.tokens[-TAIL:]) for stop in self.request["stop"]):
            text = decode(self.tokens)
            places = [place for stop in self.request["stop"] if (place := text.find(stop)) >= 0]
            if places:
                self.over = True
                return text[: min(places)]
        if len(self.tokens) == self.request["new_tokens"]:
            self.over = True
            return decode(self.tokens)
        return None


class Inbox:
    """What has come, and what of it waits to be drawn."""

    def __init__(self) -> None:
        self.waiting: list[Sample] = []
        self.ended = False
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen(self, lines: Any) -> None:
        """Until the input ends."""
        for line in lines:
            self._lines.put(line)
        self._lines.put("")

    def read(self, drawing: list[Sample], *, wait: bool = False) -> None:
        """Take what has come; with `wait`, at least one line."""
        while wait or not self._lines.empty():
            line, wait = self._lines.get(), False
            if not line:
                self.ended = True
                return
            request = json.loads(line)
            if "add" in request:
                self.waiting.append(Sample(request))
            for name in request.get("abort", ()):
                self.waiting = [sample for sample in self.waiting if sample.name != name]
                for sample in drawing:
                    sample.over = sample.over or sample.name == name


def padded(rows: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of one length, filled up at the left, and where their own tokens are."""
    longest = max(map(len, rows))
    return (
        [[0] * (longest - len(row)) + row for row in rows],
        [[0] * (longest - len(row)) + [1] * len(row) for row in rows],
    )


def draw(torch: Any, model: Any, samples: list[Sample], step: Any) -> None:
    """Draw samples together; `step(tokens)` is told each row's next token and says which rows are over."""
    from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList  # pyright: ignore  # not in ours

    class Steps(StoppingCriteria):  # pyright: ignore
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.tensor(step(input_ids[:, -1].tolist()))

    prompts = list(dict.fromkeys(tuple(sample.prompt) for sample in samples))
    ids, mask = (torch.tensor(rows) for rows in padded([list(prompt) for prompt in prompts]))
    which = torch.tensor([prompts.index(tuple(sample.prompt)) for sample in samples])
    cache = DynamicCache(config=model.config)
    if ids.shape[1] > 1:
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            model(
                ids[:, :-1],
                attention_mask=mask[:, :-1],
                position_ids=places[:, :-1],
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        cache.batch_select_indices(which)
    asked = samples[0].request
    model.generate(
        ids[which],
        attention_mask=mask[which],
        cache=cache,
        do_sample=True,
        temperature=asked["temperature"],
        top_p=asked["top_p"],
        top_k=0,
        max_new_tokens=max(sample.request["new_tokens"] for sample in samples),
        eos_token_id=None,
        pad_token_id=0,
        stopping_criteria=StoppingCriteriaList([Steps()]),
    )


def main() -> None:
    """Draw what waits, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM  # pyright: ignore[reportMissingImports]  # not in ours

    settings = json.loads(sys.argv[2])
    torch.set_num_threads(settings["threads"])
    tokenizer = Tokenizer.from_file(settings["tokenizer"])
    model: Any = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, settings["dtype"])).eval()
    inbox = Inbox()
    threading.Thread(target=inbox.listen, args=[sys.stdin], daemon=True).start()
    answers.write(json.dumps({}) + "\n")
    while True:
        inbox.read([], wait=not inbox.waiting)
        if inbox.ended:
            return
        drawing, inbox.waiting = inbox.waiting, []

        def step(tokens: list[int], drawing: list[Sample] = drawing) -> list[bool]:
            for sample, token in zip(drawing, tokens, strict=True):
                text = None if sample.over else sample.take(token, tokenizer.decode)
                if text is not None:
                    answers.write(json.dumps({"id": sample.name, "text": text, "tokens": len(sample.tokens)}) + "\n")
            inbox.read(drawing)
            return [sample.over or inbox.ended for sample in drawing]

        if drawing:
            draw(torch, model, drawing, step)


if __name__ == "__main__":
    main()
