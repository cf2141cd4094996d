"""`thresher doctor`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_server import FakeServer
from thresher.client.runtime import RuntimeInfo, ensure_runtime_dir, runtime_file, write_runtime_file
from typer.testing import CliRunner

from engine.cli import _findings
from engine.cli import doctor as doctor_module
from engine.cli._findings import Finding, Status, server_finding
from engine.cli.main import app


@pytest.fixture(autouse=True)
def own_runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("THRESHER_ADDRESS", raising=False)


def _report(monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
    monkeypatch.setattr(doctor_module, "findings", lambda: iter(found))


def test_good_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _report(monkeypatch, Finding("a", "b", Status.OK, "c"), Finding("a", "d", Status.NOTE, "e", "f"))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "-> f" in result.stdout
    document = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert document["ok"] is True
    assert document["checks"][0] == {"part": "a", "name": "b", "status": "ok", "detail": "c", "fix": ""}


def test_failure_is_exit_code_3_and_says_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    _report(monkeypatch, Finding("sandbox", "nsjail", Status.FAILED, "not found [x]", "apt-get install it"))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 3
    assert "FAIL  sandbox: nsjail  not found [x]" in result.stdout
    assert "-> apt-get install it" in result.stdout
    assert CliRunner().invoke(app, ["doctor", "--json"]).exit_code == 3


def test_a_part_that_cannot_be_examined_is_one_failed_line() -> None:
    def broken() -> Iterator[Finding]:
        raise ImportError("libfoo.so is missing")
        yield

    (finding,) = _findings._guarded("engine", broken)
    assert finding.status is Status.FAILED
    assert "libfoo.so is missing" in finding.detail
    assert finding.fix


def test_modules_that_cannot_be_imported_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = _findings._guarded("install", lambda: _findings.module_findings(_findings._SERVER))
    assert finding.status is Status.OK
    (tmp_path / "half_there.py").write_text("from engine.tracing import what_it_lacks\n")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = _findings._guarded("install", lambda: _findings.module_findings(["engine.tracing", "half_there"]))
    assert finding.status is Status.FAILED and finding.fix
    assert "what_it_lacks" in finding.detail


def test_local_server(tmp_path: Path) -> None:
    assert server_finding().status is Status.NOTE
    socket = tmp_path / "s.sock"
    write_runtime_file(RuntimeInfo(f"unix:{socket}", os.getpid()))
    dead = server_finding()
    assert dead.status is Status.FAILED
    assert dead.fix
    with FakeServer(socket) as server:
        server.set_serving(True)
        good = server_finding()
        assert (good.status, "SERVING" in good.detail) == (Status.OK, True)
    ensure_runtime_dir()
    runtime_file().write_text("junk")
    assert server_finding().status is Status.FAILED


@pytest.mark.sandbox
def test_failed_findings_of_this_machine_say_the_fix() -> None:
    found = list(_findings.findings())
    assert {"install", "sandbox", "engine", "models", "server"} <= {finding.part for finding in found}
    assert [finding for finding in found if finding.status is Status.FAILED and not finding.fix] == []
