"""Where compiled code is kept."""

import importlib.util
import os
from pathlib import Path

import numba.core.config
import pytest

from kernels.cpu import launch


def test_each_state_of_the_sources_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """A kernel in one file calls helpers in another; numba itself looks at the first one only."""
    (tmp_path / "kernel.py").write_text("from helper import f")
    (tmp_path / "helper.py").write_text("f = 1")
    before = launch.cache_folder(tmp_path, tmp_path)
    assert launch.cache_folder(tmp_path, tmp_path) == before
    (tmp_path / "helper.py").write_text("f = 2")
    assert launch.cache_folder(tmp_path, tmp_path) != before


def test_numba_has_been_told() -> None:
    folder = Path(numba.core.config.CACHE_DIR)  # pyright: ignore[reportAttributeAccessIssue]
    assert folder.name == launch.cache_folder(folder.parent, Path(launch.__file__).parent).name


def test_old_folders_go_but_for_the_latest(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).mkdir()
        os.utime(tmp_path / str(number), (number, number))
    launch.sweep(tmp_path / "3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4", "5", "6", "7"]


def test_a_folder_that_another_process_has_just_removed_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        os.utime(tmp_path / str(number), (number, number))
    there = list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([tmp_path / "gone", *there]))
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    launch.sweep(tmp_path / "5")
    assert [number for number in range(6) if (tmp_path / str(number)).exists()] == [1, 2, 3, 4, 5]


def test_a_kernel_says_whether_it_had_to_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path / "kept"))
    source = tmp_path / "body.py"
    source.write_text("def body(arguments):\n    arguments[0] = 1\n")
    spec = importlib.util.spec_from_file_location("body", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [launch.Kernel(module.body).compile() for _ in range(3)] == [True, False, False]
