"""vLLM in an environment of its own, one request a sample, each of which may be aborted. It knows nothing of us.

python -I vllm_requests.py FOLDER SETTINGS.json      (SETTINGS: arguments of vllm.LLM)

A JSON value a line, in: {"add": ID, "prompt": token ids, ...} begins a sample, {"abort": [IDs]} ends samples that are
not wanted any more, {"forget": true} empties the prefix cache; out: {"id": ID, "text": ..., "tokens": N} when a sample
has ended by itself.
"""

import json
import os
import queue
import sys
import threading
from typing import Any


def settings_of(request: dict[str, Any]) -> dict[str, Any]:
    """Arguments of vllm.SamplingParams."""
    return {
        "temperature": request["temperature"],
        "top_p": request["top_p"],
        "max_tokens": request["new_tokens"],
        "stop": request["stop"],
        "stop_token_ids": request["ends"],
        "ignore_eos": True,  # the folder names no end; `ends` does
    }


def main() -> None:
    """Between two steps, take what has come; without samples, wait for it. Ends with the input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]  # lives in an environment of its own
    from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

    model = LLM(model=sys.argv[1], **json.loads(sys.argv[2]))
    engine = model.llm_engine
    inbox: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            inbox.put(line)
        inbox.put("")

    threading.Thread(target=read, daemon=True).start()
    answers.write(json.dumps({}) + "\n")
    while True:
        busy = engine.has_unfinished_requests()
        while not busy or not inbox.empty():
            line = inbox.get()
            if not line:
                return
            request = json.loads(line)
            if "add" in request:
                parameters = SamplingParams(**settings_of(request), output_kind=RequestOutputKind.FINAL_ONLY)
                engine.add_request(request["add"], {"prompt_token_ids": request["prompt"]}, parameters)
            elif "abort" in request:
                engine.abort_request(request["abort"])
            else:
                model.reset_prefix_cache()
            busy = engine.has_unfinished_requests()
        for output in engine.step():
            (sample,) = output.outputs
            line = {"id": output.request_id, "text": sample.text, "tokens": len(sample.token_ids)}
            answers.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
