"""What drafts from siblings, prompt and earlier solves give: HumanEval, k = 1 and 4, with and without, in turns.

    python -m benchmarks.tree.drafting [--problems 20] [--k 1 4] [--out FILE.json]

Two servers of one model, one of them with THRESHER_ENGINE_DRAFTING=false; only one of them works at a time. Each
sample must have the same log-probability to the last bit, and so the same text (int8 arithmetic does not depend on the
batch; of samples that are one program the candidate shows the text that ended first); what differs is the time. Each
problem is asked twice, the second time with a sentence added to its prompt, as an editor would ask again: drafts may
come from the first.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec

from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load

_EDIT = "    # Mind the empty case.\n"


def ask(client: Client, document: dict[str, Any], k: int, edited: bool) -> dict[str, Any]:
    """One solve to its end."""
    if edited:
        text = document["completion"]["text"]
        document = {**document, "completion": {"text": text + _EDIT, "part_of_program": True}}
    sampling = {"k": k, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 192, "seed": 1, "width": k}
    began = time.monotonic()
    for event in client.solve(solve_spec({**document, "policy": "all", "sampling": sampling})):
        if event.HasField("summary"):
            books = event.summary.accounting
            return {
                "seconds": time.monotonic() - began,
                "generation_seconds": books.generation_time.ToNanoseconds() / 1e9,
                "tokens": books.generated_tokens,
                "rows": books.rows_computed,
                "drafted": books.drafted_tokens,
                "accepted": books.accepted_draft_tokens,
                "drawn": {
                    sample: logprob
                    for one in event.summary.candidates
                    for sample, logprob in zip(one.samples, one.sample_logprobs, strict=True)
                },
            }
    raise RuntimeError("a solve without a summary")


def compare(with_drafts: list[dict[str, Any]], without: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the problems of one k."""
    seconds, plain = (sum(line["generation_seconds"] for line in lines) for lines in (with_drafts, without))
    tokens = sum(line["tokens"] for line in with_drafts)
    drafted, accepted = (sum(line[name] for line in with_drafts) for name in ("drafted", "accepted"))
    return {
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "without": round(sum(line["tokens"] for line in without) / plain, 1),
        "speed_up": round(plain / seconds, 3),
        "slowest_problem": round(
            min(b["generation_seconds"] / a["generation_seconds"] for a, b in zip(with_drafts, without, strict=True)), 3
        ),
        "drafted": drafted,
        "accepted": accepted,
        "acceptance": round(accepted / max(drafted, 1), 3),
        "same_texts": all(a["drawn"] == b["drawn"] for a, b in zip(with_drafts, without, strict=True)),
    }


def main(arguments: list[str]) -> int:
    """Ask both servers in turns."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree.drafting", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--k", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/drafting.json"))
    given = parser.parse_args(arguments)
    documents = load(data_folder(given.data), 0, given.problems)
    result: dict[str, Any] = {
        "experiment": "drafting",
        "provenance": provenance(["python", "-m", "benchmarks.tree.drafting", *arguments]),
        "model": given.model,
        "problems": given.problems,
        "results": {},
    }
    with ExitStack() as stack:
        clients: list[Client] = []
        for drafting in ("true", "false"):
            os.environ["THRESHER_ENGINE_DRAFTING"] = drafting
            server = stack.enter_context(own_server("--model", given.model))
            clients.append(stack.enter_context(Client(server.address)))
        for k in given.k:
            for edited in (False, True):
                lines: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
                for number, document in enumerate(documents):
                    for turn in (0, 1) if number % 2 == 0 else (1, 0):
                        lines[turn].append(ask(clients[turn], document, k, edited))
                name = f"k={k}, {'asked again, edited' if edited else 'first asked'}"
                result["results"][name] = compare(*lines)
                print(name, result["results"][name], flush=True)
                write(given.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
