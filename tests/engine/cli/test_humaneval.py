"""HumanEval through the whole path: what is read, and what counts as solved."""

import gzip
import json
import os
from pathlib import Path

import pytest

from engine.cli._humaneval import problems, solved

EASY = {
    "task_id": "Easy/0",
    "prompt": 'def add(a, b):\n    """Return the sum of a and b."""\n',
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
    "canonical_solution": "    return a + b\n",
}
HOPELESS = EASY | {"task_id": "Hopeless/0", "test": "def check(candidate):\n    assert candidate(2, 3) == object()\n"}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_records_are_read(tmp_path: Path, name: str) -> None:
    text = "".join(json.dumps(record) + "\n" for record in (EASY, HOPELESS)).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert [record["task_id"] for record in problems(path, 2)] == ["Easy/0", "Hopeless/0"]
    assert problems(path, 1)[0].keys() == EASY.keys() - {"canonical_solution"}
    with pytest.raises(ValueError, match="does not hold 3 records"):
        problems(path, 3)


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"task_id": 1}'])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jsonl "):
        problems(tmp_path / "a.jsonl", 1)


@pytest.mark.skipif(
    "THRESHER_DATA" not in os.environ, reason="THRESHER_DATA does not name the folder of benchmark data"
)
def test_the_real_file_is_read() -> None:
    found = problems(Path(os.environ["THRESHER_DATA"]) / "humaneval" / "HumanEval.jsonl.gz", 40)
    assert [record["task_id"] for record in found] == [f"HumanEval/{n}" for n in range(40)]


@pytest.mark.model
@pytest.mark.sandbox
@pytest.mark.slow
def test_what_passes_is_solved(capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[int, int]] = []
    found = solved("qwen2.5-coder-0.5b-instruct", "auto", [HOPELESS, EASY], lambda *step: steps.append(step))
    assert found == ["Easy/0"]
    assert steps == [(1, 2), (2, 2)]
    assert capsys.readouterr().out == ""  # a JSON document may follow
