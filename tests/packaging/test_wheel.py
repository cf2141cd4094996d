"""The built wheel in environments that hold nothing else."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.fake_server import PROGRAM, FakeServer
from thresher.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # the environments are made within a test's time
ROOT = Path(__file__).parents[2]


def _set_up() -> Any:
    """scripts/setup.py: it installs the locked requirements the way `make setup` does."""
    spec = importlib.util.spec_from_file_location("thresher_setup", ROOT / "scripts" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (built,) = folder.glob("thresher-*.whl")
    return built


def _environment(folder: Path, wheel: Path, *requirements: str) -> Path:
    """A fresh environment with the wheel and locked requirements, nothing from the source tree; its bin folder."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    set_up = _set_up()
    installer = set_up.Installer(python, Path(sys.executable))
    installer.install_locked(set_up.read_stamp().get("torch_index", "default"), *requirements)
    installer.install(str(wheel))
    return folder / "bin"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    return _environment(tmp_path_factory.mktemp("base"), wheel, "base")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    return _environment(tmp_path_factory.mktemp("server"), wheel, "base", "server", "torch")


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A machine that lends its CPUs: everything but torch."""
    return _environment(tmp_path_factory.mktemp("lender"), wheel, "base", "server")


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside the source tree, and a runtime folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("PYTHONPATH", "THRESHER_ADDRESS", "THRESHER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)


def test_wheel_holds_what_it_should_and_no_more(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    generated = {path.name for path in (ROOT / "proto" / "thresher" / "v1").glob("*_pb2*")}
    assert len(generated) > 15
    assert {f"thresher/v1/{name}" for name in generated} <= names
    proto = {path.name for path in (ROOT / "proto" / "thresher" / "v1").glob("*.proto")}
    assert {f"thresher/v1/{name}" for name in proto} <= names
    listing = ["git", "ls-files", "engine", "executor", "kernels", "benchmarks"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0:  # a tree without git has no list to compare with
        assert set(tracked.stdout.split()) <= names
    assert "thresher/py.typed" in names
    tops = {name.partition("/")[0] for name in names}
    info = next(top for top in tops if top.endswith(".dist-info"))
    assert tops == {"engine", "executor", "kernels", "benchmarks", "thresher", info}
    assert f"{info}/licenses/LICENSE" in names
    entry_points = zipfile.ZipFile(wheel).read(f"{info}/entry_points.txt").decode()
    assert "thresher = engine.cli.main:run" in entry_points
    assert "[thresher.commands]" in entry_points


def test_base_version(base: Path, away: Path) -> None:
    done = _run(base / "thresher", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("thresher ")


def test_base_has_the_client_and_no_torch(base: Path, away: Path) -> None:
    code = (
        "import sys, importlib.util\n"
        "from thresher.client import Client, AsyncClient, solve_spec\n"
        "from thresher.v1 import synthesis_service_pb2_grpc, solve_pb2\n"
        "import thresher\n"
        "assert importlib.util.find_spec('torch') is None and importlib.util.find_spec('msgspec') is None\n"
        "print(thresher.__file__)\n"
    )
    done = _run(base / "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(base.parent))


def test_base_solves_and_executes_against_a_server(base: Path, away: Path) -> None:
    (away / "p.yaml").write_text("prompt: Add.\ntests:\n- assert add(1, 2) == 3\n")
    (away / "program.py").write_text(PROGRAM)
    with FakeServer(away / "s.sock") as fake:
        done = _run(base / "thresher", "solve", "p.yaml", "--address", fake.address)
        assert (done.returncode, done.stdout) == (0, PROGRAM), done.stderr
        done = _run(base / "thresher", "solve", "p.yaml", "--address", fake.address, "--json")
        assert json.loads(done.stdout)["solved"] is True
        done = _run(base / "thresher", "exec", "program.py", "--tests", "p.yaml", "--address", fake.address)
        assert done.returncode == 0, done.stderr


def test_base_says_what_the_other_commands_need(base: Path, away: Path) -> None:
    done = _run(base / "thresher", "serve")
    assert done.returncode == 3
    assert "pip install 'thresher[server]'" in done.stderr
    assert "Traceback" not in done.stderr
    done = _run(base / "thresher", "--help")
    assert done.returncode == 0
    assert "solve" in done.stdout
    done = _run(base / "thresher", "doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ok"] is True


def test_requirements_of_the_wheel_are_met(base: Path, server: Path, away: Path) -> None:
    for folder in (base, server):
        done = _run(sys.executable, "-m", "uv", "pip", "check", "--python", folder / "python")
        assert done.returncode == 0, done.stderr
    code = (
        "from importlib.metadata import requires, version\n"
        "from packaging.requirements import Requirement\n"
        "for text in requires('thresher'):\n"
        "    need = Requirement(text)\n"
        "    if need.marker is None or need.marker.evaluate({'extra': 'server'}):\n"
        "        found = version(need.name)\n"
        "        assert need.specifier.contains(found, prereleases=True), (text, found)\n"
    )
    done = _run(server / "python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_doctor_of_the_server_install(server: Path, away: Path) -> None:
    done = _run(server / "thresher", "doctor", "--json")
    document = json.loads(done.stdout)
    failed = [check for check in document["checks"] if check["status"] == "failed"]
    assert (done.returncode, failed) == (0, [])


@pytest.mark.model
@pytest.mark.sandbox
def test_server_install_serves(server: Path, away: Path) -> None:
    log = away / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen([server / "thresher", "serve"], stdout=output, stderr=output, cwd=away)
    try:

        def still_there() -> None:
            assert process.poll() is None, log.read_text()

        address = f"unix:{away}/thresher/thresher.sock"
        with Client(address) as client:
            client.wait_ready(240, between=still_there)
            assert client.models(timeout=60)
        # No address: the client finds the server by its runtime file.
        task = ("--prompt", "Write a function add(a, b) that returns a + b.", "--test", "assert add(1, 2) == 3")
        done = _run(server / "thresher", "solve", *task, "--entry-point", "add", "--k", "4", "--seed", "1")
        assert done.returncode == 0, done.stderr + log.read_text()
        assert "def add" in done.stdout
        compile(done.stdout, "winner", "exec")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()
        assert not (away / "thresher" / "server.json").exists()
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.sandbox
def test_an_executor_needs_no_torch(lender: Path, away: Path) -> None:
    done = _run(lender / "thresher", "serve")
    assert done.returncode == 3
    assert "torch is not installed" in done.stderr
    assert "Traceback" not in done.stderr
    (away / "program.py").write_text(PROGRAM)
    log = away / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen([lender / "thresher", "serve", "--executor-only"], stderr=output, cwd=away)
    try:
        with Client(f"unix:{away}/thresher/thresher.sock") as client:
            client.wait_ready(180)
        done = _run(lender / "thresher", "exec", "program.py", "program.py", "--test", "assert add(1, 2) == 3")
        assert done.returncode == 0, done.stderr + log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
