"""Time until all 64 samples of a prompt have come to their natural ends: our server, vLLM and llama-server, in turns.

    python -m benchmarks.tree.natural [--problems 3] [--k 64] [--new-tokens 256] [--out FILE.json]

Chat prompts of HumanEval, the same token ids, temperature 0.8 and top-p 0.95 for all; a sample ends with the model's
own end of text, or after 256 tokens. Ours is asked over gRPC twice: with its samples going on to the end of the text as
everybody's do, and as it is by default, where a sample ends with its program. Candidates are judged meanwhile.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec

from benchmarks.peers.lane import Lane, LaneFailed, Work
from benchmarks.peers.lanes import peer_lanes
from benchmarks.peers.setup import PEERS, Home, default_folder
from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load
from engine.models.catalogue import fetch
from engine.text.model_text import read_model_text

_ASK = "Complete this Python function. Answer with one code block that holds the whole function.\n\n```python\n{}```\n"


def ours(client: Client, document: dict[str, Any], prompt: str, k: int, new_tokens: int, whole: bool) -> dict[str, Any]:
    """One solve over gRPC, all samples to their ends."""
    problem = {key: value for key, value in document.items() if key != "completion"}
    sampling = {
        "k": k,
        "temperature": 0.8,
        "top_p": 0.95,
        "max_new_tokens": new_tokens,
        "seed": 1,
        "keep_after_program": whole,
    }
    chat = {"chat": [{"role": "user", "content": prompt}]}
    began = time.perf_counter()
    for event in client.solve(solve_spec({**problem, **chat, "policy": "all", "sampling": sampling})):
        if event.HasField("summary"):
            books = event.summary.accounting
            seconds = time.perf_counter() - began
            return {
                "seconds": round(seconds, 2),
                "tokens": books.generated_tokens,
                "tokens_per_second": round(books.generated_tokens / seconds, 1),
                "rows": books.rows_computed,
            }
    raise RuntimeError("a solve without a summary")


@contextmanager
def turn(lane: Lane) -> Generator[None]:
    """The lane runs, and nobody else."""
    lane.resume()
    yield
    lane.pause()


def main(arguments: list[str]) -> int:
    """Each problem through every lane."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree.natural", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--problems", type=int, default=3)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument(
        "--lanes", nargs="+", default=["vllm bf16", "vllm w8a8", "llama-server BF16", "llama-server Q4_0"]
    )
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where the peers live (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/natural.json"))
    given = parser.parse_args(arguments)
    documents = load(data_folder(given.data), 0, given.problems)
    home, model = Home(given.folder.resolve()), fetch(given.model)
    text = read_model_text(model)
    assert text.template is not None
    prompts = [_ASK.format(document["completion"]["text"]) for document in documents]
    tokens = [
        text.tokenizer.encode(text.template.render([{"role": "user", "content": one}]), special=True) for one in prompts
    ]
    result: dict[str, Any] = {
        "experiment": "natural",
        "provenance": provenance(["python", "-m", "benchmarks.tree.natural", *arguments]),
        "model": given.model,
        "k": given.k,
        "new_tokens": given.new_tokens,
        "peers": {peer: home.made(peer) for peer in PEERS if home.why_missing(peer) is None},
        "lanes": {},
    }

    def note(name: str, line: dict[str, Any]) -> None:
        lines = result["lanes"].setdefault(name, {"problems": []})
        lines["problems"].append(line)
        lines["mean_seconds"] = round(statistics.mean(one["seconds"] for one in lines["problems"]), 2)
        write(given.out, result)
        print(time.strftime("%H:%M:%S"), name, line, flush=True)

    lanes: list[Lane] = []
    for peer in result["peers"]:
        lanes += [lane for lane in peer_lanes(home, peer, model, given.k) if lane.name in given.lanes]
    try:
        for lane in lanes:
            lane.start()
            lane.pause()
        with own_server("--model", given.model) as server, Client(server.address) as client:
            os.environ.pop("LD_PRELOAD", None)
            ours(client, documents[-1], "Say hello.", 2, 8, True)
            for document, prompt, ids in zip(documents, prompts, tokens, strict=True):
                for name, whole in (("thresher", True), ("thresher, to the end of the program", False)):
                    note(name, ours(client, document, prompt, given.k, given.new_tokens, whole))
                work = Work(
                    prompt=ids, k=given.k, new_tokens=given.new_tokens, ends=tuple(sorted(text.tokenizer.eos_ids))
                )
                for lane in lanes:
                    with turn(lane):
                        lane.draw(Work(prompt=ids[:40], k=given.k, new_tokens=4))
                        found = lane.draw(work)
                    rate = round(found.tokens / found.seconds, 1)
                    note(
                        lane.name,
                        {"seconds": round(found.seconds, 2), "tokens": found.tokens, "tokens_per_second": rate},
                    )
    except LaneFailed as error:
        raise SystemExit(str(error)) from error
    finally:
        for lane in lanes:
            lane.stop()
    mine = result["lanes"]["thresher"]["mean_seconds"]
    result["ratios"] = {name: round(line["mean_seconds"] / mine, 2) for name, line in result["lanes"].items()}
    write(given.out, result)
    print(result["ratios"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
