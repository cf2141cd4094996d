"""`make demo`, from its target to its end, with a tiny model and real jails. (The same steps with the default model:
test_tutorial.py.)"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.tiny_models import FAMILIES, write_folder
from support.tiny_tokenizers import byte_level_folder

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PROBLEM = {"prompt": "Add.", "tests": ["assert add(1, 2) == 3"], "sampling": {"k": 2, "max_new_tokens": 16}}


def test_it_goes_through_all_its_steps(tmp_path: Path) -> None:
    # The suite runs under `make test` too, where an inner make would print the directories it enters and leaves.
    dry = ["make", "--no-print-directory", "-n", "demo"]
    target = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert target.rstrip().endswith("-m engine.cli.demo")
    model, problem = tmp_path / "tiny", tmp_path / "problem.yaml"
    model.mkdir()
    byte_level_folder(model)
    write_folder(model, FAMILIES["qwen3"])
    problem.write_text(yaml.safe_dump(PROBLEM))
    command = [sys.executable, "-m", "engine.cli.demo", "--problem", str(problem), "--model", str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, f"not solved: {done.stdout}{done.stderr}"
    for said in ("ready after", "sandbox: nsjail", "no program passed", "the server stopped cleanly"):
        assert said in done.stdout
