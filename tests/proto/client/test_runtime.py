"""Where the local server is found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from thresher.client import runtime
from thresher.client.runtime import RuntimeInfo, UnsafeRuntimeDir


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_written_file_is_read_back_and_private(base: Path) -> None:
    info = RuntimeInfo("unix:/x/y.sock", os.getpid(), "/x/token")
    path = runtime.write_runtime_file(info)
    assert path == base / "thresher" / "server.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert runtime.read_runtime_file() == info
    assert info.alive
    assert sorted(entry.name for entry in path.parent.iterdir()) == [f"server-{os.getpid()}.json", "server.json"]


def test_only_its_own_process_removes_the_file(base: Path) -> None:
    runtime.write_runtime_file(RuntimeInfo("unix:/x", 1234567))
    assert not runtime.remove_runtime_file(os.getpid())
    assert runtime.read_runtime_file() is not None
    assert runtime.remove_runtime_file(1234567)
    assert runtime.read_runtime_file() is None


def test_a_server_that_ends_leaves_the_file_to_one_that_runs(base: Path) -> None:
    first, second = RuntimeInfo("unix:/first", os.getpid()), RuntimeInfo("unix:/second", os.getppid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    infos = (first, second, RuntimeInfo("unix:/killed", child.pid), RuntimeInfo("unix:/last", 1234567))
    for second_of_start, info in enumerate(infos, 1):
        runtime.write_runtime_file(info)
        # Some file systems' times are so coarse that all four would be of the same moment.
        os.utime(base / "thresher" / f"server-{info.pid}.json", (second_of_start, second_of_start))
    child.wait()
    assert runtime.remove_runtime_file(1234567)
    assert runtime.read_runtime_file() == second
    assert not runtime.remove_runtime_file(first.pid), "clients do not look there"
    assert runtime.remove_runtime_file(second.pid)
    assert list((base / "thresher").iterdir()) == []


def test_dead_process_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not RuntimeInfo("unix:/x", child.pid).alive


def test_folder_open_to_others_is_refused(base: Path) -> None:
    runtime.write_runtime_file(RuntimeInfo("unix:/x", 1))
    (base / "thresher").chmod(0o755)
    with pytest.raises(UnsafeRuntimeDir, match="chmod 700"):
        runtime.read_runtime_file()
    with pytest.raises(UnsafeRuntimeDir, match="chmod 700"):
        runtime.ensure_runtime_dir()


def test_link_in_place_of_the_folder_is_refused(base: Path) -> None:
    real = base / "elsewhere"
    real.mkdir(mode=0o700)
    (real / "server.json").write_text("{}")
    (base / "thresher").symlink_to(real)
    with pytest.raises(UnsafeRuntimeDir, match="not a folder"):
        runtime.read_runtime_file()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of another user")
def test_folder_of_another_user_is_refused(base: Path) -> None:
    runtime.write_runtime_file(RuntimeInfo("unix:/x", 1))
    os.chown(base / "thresher", 12345, 12345)
    with pytest.raises(UnsafeRuntimeDir, match="belongs to uid 12345"):
        runtime.read_runtime_file()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"address": 1, "pid": 2}', '{"address": "a", "pid": true}', '{"address": "a", "pid": "2"}'],
)
def test_broken_file_is_named(base: Path, text: str) -> None:
    runtime.ensure_runtime_dir()
    runtime.runtime_file().write_text(text)
    with pytest.raises(ValueError, match=r"server\.json is not a runtime file"):
        runtime.read_runtime_file()


def test_file_of_the_documented_form_is_read(base: Path) -> None:
    runtime.ensure_runtime_dir()
    runtime.runtime_file().write_text(json.dumps({"address": "unix:/a", "pid": 7, "token_file": None}))
    assert runtime.read_runtime_file() == RuntimeInfo("unix:/a", 7, None)


@pytest.mark.parametrize("value", ["", "/does/not/exist", "/proc/1/environ"])
def test_useless_variable_falls_back(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert runtime.runtime_dir() == Path(f"/tmp/thresher-{os.getuid()}")


def test_module_needs_the_standard_library_only() -> None:
    code = (
        "import sys; import thresher.client.runtime as r; r.runtime_dir(); "
        "print([m for m in ('grpc', 'google', 'yaml', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
