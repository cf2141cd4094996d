"""A front of your own: another server's model is asked first, Thresher only where that was not enough.

    python docs/examples/front.py PROBLEM.yaml --first http://127.0.0.1:8080/v1 [--model NAME] [--tries 2]

`--first` is any server with OpenAI's chat completions (llama.cpp, Ollama, vLLM, ...). Its programs go along as prior
attempts: Thresher's sandbox judges them before a token is drawn, so a right one is the answer and costs nothing more.
Those that fail are shown to Thresher's model with the test at which they failed.
"""

import argparse
import json
import re
import sys
import urllib.request
from typing import Any

from thresher.client import Client, load_document, solve_spec
from thresher.v1 import solve_pb2, verdict_pb2

BLOCK = re.compile(r"```(?:python|py)?\n(.*?)```", re.DOTALL)


def ask(url: str, model: str, messages: list[dict[str, str]], temperature: float) -> str:
    """One program of the other model. Raises OSError where its server cannot be reached or refuses."""
    body: dict[str, Any] = {"messages": messages, "temperature": temperature, "max_tokens": 512}
    request = urllib.request.Request(
        f"{url.rstrip('/')}/chat/completions",
        json.dumps({"model": model, **body} if model else body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = json.load(answer)["choices"][0]["message"]["content"]
    found = BLOCK.search(text)
    return found.group(1) if found else text


def attempts(url: str, model: str, spec: solve_pb2.SolveSpec, tries: int) -> list[str]:
    """Programs of the other model: the first one greedy. None where it cannot be reached; Thresher is there, too."""
    messages = [{"role": message.role, "content": message.content} for message in spec.problem.chat.messages]
    try:
        found = [ask(url, model, messages, 0.8 if number else 0.0) for number in range(tries)]
    except OSError as error:
        print(f"the first model cannot be asked: {error}", file=sys.stderr)
        return []
    return list(dict.fromkeys(found))


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask another model first, then Thresher.")
    parser.add_argument("problem", help="a problem file (docs/problem-files.md) with `prompt` or `chat`")
    parser.add_argument("--first", required=True, help="base URL of the server that is asked first")
    parser.add_argument("--model", default="", help="what that server calls its model")
    parser.add_argument("--tries", type=int, default=1)
    options = parser.parse_args()
    spec = solve_spec(load_document(options.problem))
    for code in attempts(options.first, options.model, spec, options.tries):
        spec.cascade.prior_attempts.add(code=code)
    if spec.cascade.prior_attempts:
        spec.cascade.upstream_model = options.model or "first"
        spec.cascade.attempts_in_prompt = True
        spec.cascade.tier = 1  # what the first model wrote is tier 0 to whoever reads the events
    with Client() as client:  # the local server, or THRESHER_ADDRESS
        summary = client.solve_once(spec).summary
    best = next((one for one in summary.candidates if one.report.verdict == verdict_pb2.VERDICT_PASSED), None)
    if best is None:
        advice = summary.escalation
        print(f"not solved; a stronger model is worth asking: {advice.recommended} ({advice.reason})", file=sys.stderr)
        return 1
    tokens = summary.accounting.generated_tokens
    print(f"solved by {best.model.removeprefix('models/')}, {tokens} tokens drawn by Thresher", file=sys.stderr)
    print(best.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
