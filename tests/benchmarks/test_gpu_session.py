"""What the three commands for a GPU leave when something goes wrong: their file says so, and their status."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.session import Session

ROOT = Path(__file__).parents[2]


def child(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: triton is not to be imported in this one."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "proto"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def left_by(folder: Path, command: str = "gpu-check") -> dict[str, Any]:
    return json.loads((folder / f"{command}.json").read_text())


SESSION = """
import os, sys, time
from pathlib import Path
from benchmarks.gpu.session import Session

here = Session("gpu-check", Path(sys.argv[1]), True, "0123abc", interpreted=True, most_seconds=3.0)
here.begin()
here.case("rows", {"kernel": "good"}, dict)
"""


def test_a_kernel_that_hangs_is_given_up(tmp_path: Path) -> None:
    done = child(SESSION + "here.case('rows', {'kernel': 'hangs'}, lambda: time.sleep(200))", str(tmp_path))
    assert done.returncode == 1
    result = left_by(tmp_path)
    assert not result["ended"] and result["failed"] == 1
    assert [case["kernel"] for case in result["cases"]] == ["good", "hangs"]
    assert result["cases"][1]["failed"] == "given up: the command has had 3 s"
    assert "given up: 2 cases, 1 failed" in done.stderr


def test_a_process_that_dies_leaves_what_it_had_found(tmp_path: Path) -> None:
    done = child(SESSION + "here.case('rows', {'kernel': 'dies'}, lambda: os._exit(7))", str(tmp_path))
    assert done.returncode == 7
    result = left_by(tmp_path)
    assert not result["ended"] and [case["kernel"] for case in result["cases"]] == ["good"]


def test_a_section_without_what_it_needs_fails_and_the_next_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Session("gpu-bench", tmp_path, True, "", interpreted=True)

    def without_memory() -> None:
        raise MemoryError("no room for the weights")

    here.part("step", without_memory)
    here.part("rows", lambda: here.case("rows", {"kernel": "good"}, dict))
    assert here.finish() == 1
    result = left_by(tmp_path, "gpu-bench")
    assert [case.get("failed") for case in result["cases"]] == ["MemoryError: no room for the weights", None]
    assert result["ended"] and set(result["section_seconds"]) == {"step", "rows"}
    assert "FAILED: section=step" in capsys.readouterr().err


WRONG = """
import os, sys
os.environ["TRITON_INTERPRET"] = "1"
from benchmarks.gpu import check
from kernels.gpu.attention import DecodeAttention
from kernels.gpu.prefill import TritonPrefill
from kernels.gpu import norm, pages, place, sampling, swiglu

def worse(function, wrong):
    def call(*arguments, **named):
        function(*arguments, **named)
        wrong(*arguments)
    return call

DecodeAttention.run = worse(DecodeAttention.run, lambda self, q, k, v, out, *_: out[-1].mul_(1.02))
TritonPrefill.run = worse(TritonPrefill.run, lambda self, q, k, v, out, scale: out[0].copy_(out[-1]))
norm.add_norm = worse(norm.add_norm, lambda stream, addend, weight, eps, out: out.mul_(1.01))
pages.copy_pages = worse(pages.copy_pages, lambda pools, moves: pools[-1, 0].fill_(3.0))
place.place = worse(place.place, lambda *given: given[9].nan_to_num_(1.0))
swiglu.swiglu = worse(swiglu.swiglu, lambda gate_up, out: out.copy_(gate_up[:, : out.shape[1]]))
sampling.Sampler.run = worse(sampling.Sampler.run, lambda self, *_: self._answer["ids"].add_(1))
sys.argv = ["check", "--dry", "--results", sys.argv[1]]
sys.exit(check.main())
"""


@pytest.mark.slow
def test_a_kernel_that_is_wrong_fails_the_check(tmp_path: Path) -> None:
    done = child(WRONG, str(tmp_path))
    assert done.returncode == 1, done.stderr
    result = left_by(tmp_path)
    assert result["ended"] and result["failed"] > 0
    failed = [case for case in result["cases"] if "failed" in case]
    assert {case["section"] for case in failed} == {"rows", "sampling", "attention", "prefill"}
    kernels = {case["kernel"] for case in failed if case["section"] == "rows"}
    assert kernels == {"place", "add_norm", "swiglu", "copy_pages"}
    assert all("AssertionError" in case["failed"] for case in failed if case["section"] != "sampling"), failed


NCU = """#!{python}
import sys
print("==PROF== Connected to process 1")
if {fails}:
    print("==ERROR== ERR_NVGPUCTRPERM", file=sys.stderr)
    sys.exit(1)
metrics = "dram__bytes_read.sum", "dram__bytes_write.sum", "lts__t_bytes.sum"
assert ",".join(metrics) in sys.argv and sys.argv[-1] == "benchmarks.gpu.dram"
print('"ID","Kernel Name","' + '","'.join(metrics) + '"')
print('"","","byte","byte","byte"')
for launch in range({launches}):
    name = ("partials_kernel", "merge_kernel")[launch % 2]
    print(f'"{{launch}}","{{name}}","12,500,000","1,000,000","{{launch}}000000"')
"""

DRAM = """
import os, sys
os.environ["TRITON_INTERPRET"] = "1"
from pathlib import Path
from benchmarks.gpu import dram
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings

here = Session("gpu-bench", Path(sys.argv[1]), False, "", interpreted=True)
dram.run(here, Ceilings(1.0, 1.0))
print(len(dram.watched()))
sys.exit(here.finish())
"""


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", "fails", "stops"])
def test_what_ncu_counts_stands_beside_what_must_move(tmp_path: Path, wrong: str) -> None:
    tool = tmp_path / "ncu"
    # The grid has 18 mixes, six are prompts alone, two have three levels.
    launches = 2 * 26 if wrong != "stops" else 10
    tool.write_text(NCU.format(python=sys.executable, fails=wrong == "fails", launches=launches))
    tool.chmod(0o755)
    done = child(DRAM, str(tmp_path), PATH=f"{tmp_path}:/usr/bin:/bin")
    assert "26\n" in done.stdout, done.stderr
    cases = left_by(tmp_path, "gpu-bench")["cases"]
    if wrong:
        assert done.returncode == 1
        assert ("ERR_NVGPUCTRPERM" if wrong == "fails" else "ncu told of 5 of 26 mixes") in cases[0]["failed"]
        return
    assert done.returncode == 0 and len(cases) == 27
    second = cases[2]
    assert (second["model"], second["k"], second["P"], second["S"]) == ("7b", 16, 2048, 256)
    assert (second["read_megabytes"], second["written_megabytes"], second["cache_megabytes"]) == (12.5, 1.0, 2.0)
    # A layer of 2,048 + 16 * 256 tokens of 2,048 bytes, queries and outputs of 16 rows.
    assert second["megabytes"] == round((6144 * 2048 + 4 * 16 * 3584) / 1e6, 2)
    assert second["read_times_once"] == pytest.approx(12.5 / second["megabytes"], rel=1e-3)
    assert second["merge_read_megabytes"] == 12.5


@pytest.mark.slow
def test_without_ncu_it_says_so(tmp_path: Path) -> None:
    done = child(DRAM, str(tmp_path))
    assert done.returncode == 0, done.stderr
    (case,) = left_by(tmp_path, "gpu-bench")["cases"]
    assert case["left_out"] == "ncu is not installed"
