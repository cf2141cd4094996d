"""`thresher doctor --deploy`: a container seen from inside."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli._deploy import deploy_findings, folder_findings, init_finding, limit_findings, serving_finding
from engine.cli._findings import Finding, Status
from engine.cli.main import app
from engine.config import Settings
from engine.solving.control_groups import ControlGroups


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "run").mkdir()


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def limits(folder: Path, settings: Settings, **files: str) -> dict[str, Finding]:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return named(list(limit_findings(settings, ControlGroups(folder, folder / "own"))))


SLOTS = Settings.model_validate({"executor": {"slots": 2, "max_memory_bytes": "1GiB"}, "engine": {"threads": 2}})


def test_limits_that_hold_all_are_good(tmp_path: Path) -> None:
    found = limits(tmp_path, SLOTS, memory_max=str(4 << 30), pids_max="max", cpu_max="max 100000")
    assert {name: found[name].status for name in ("memory", "tasks", "cores")} == dict.fromkeys(
        ("memory", "tasks", "cores"), Status.OK
    )
    assert "4.0 GiB; programs may take 2.0 GiB (2 at a time), keys and values 1.0 GiB" in found["memory"].detail


def test_limits_that_are_too_small_are_told_with_the_way_out(tmp_path: Path) -> None:
    unset = Settings.model_validate({"executor": {"slots": 2}})
    found = limits(tmp_path, unset, memory_max=str(2 << 30), pids_max="100", cpu_max="50000 100000")
    for name in ("memory", "tasks", "cores"):
        assert found[name].status is Status.NOTE
        assert found[name].fix
    assert "a quota gives 0.5 of them" in found["cores"].detail
    assert "engine.threads and executor.slots to 1" in found["cores"].fix


def test_control_groups_of_the_first_version_count_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{1 << 30}\n")
    assert limits(tmp_path, SLOTS)["memory"].status is Status.NOTE
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert limits(tmp_path, SLOTS)["memory"].detail.startswith("no bound")


def test_a_limit_of_the_unit_it_runs_in_counts(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/system.slice/thresher.service\n")
    unit = tmp_path / "system.slice" / "thresher.service"
    limits(unit, SLOTS, memory_max=str(1 << 30), pids_max="100", cpu_max="100000 100000")
    found = named(list(limit_findings(SLOTS, ControlGroups(tmp_path, tmp_path / "own"))))
    assert found["memory"].detail.startswith("1.0 GiB") and found["memory"].status is Status.NOTE
    assert found["tasks"].detail.startswith("100;") and found["cores"].detail.endswith("quota 1")


def test_without_control_groups_there_is_no_bound(tmp_path: Path) -> None:
    assert limits(tmp_path, SLOTS)["tasks"].detail.startswith("no bound")


def test_what_a_server_would_refuse_is_told(tmp_path: Path) -> None:
    def finding(**serving: object) -> Finding:
        return serving_finding(Settings.model_validate({"serving": serving}))

    plain = finding(listen="0.0.0.0:50051")
    assert plain.status is Status.FAILED and "plain text" in plain.detail
    assert finding(listen="0.0.0.0:50051", insecure=True).status is Status.OK
    inside = finding(listen="127.0.0.1:50051")
    assert inside.status is Status.NOTE and "0.0.0.0" in inside.fix
    lost = finding(listen="127.0.0.1:50051", tokens_file=tmp_path / "none.json")
    assert lost.status is Status.FAILED and "none.json" in lost.detail


def test_folders_are_those_that_are_written_to(tmp_path: Path) -> None:
    found = named(list(folder_findings(Settings())))
    assert found["runtime folder"].status is found["cache"].status is Status.OK
    only = Settings.model_validate({"serving": {"executor_only": True}})
    assert "cache" not in named(list(folder_findings(only)))


@pytest.mark.parametrize(("name", "status"), [("tini", Status.OK), ("thresher", Status.NOTE)])
def test_process_one_is_looked_at(tmp_path: Path, name: str, status: Status) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "comm").write_text(f"{name}\n")
    assert init_finding(tmp_path).status is status


def test_settings_that_cannot_be_used_are_the_only_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_LIMITS_MAX_Q", "3")
    (finding,) = deploy_findings()
    assert finding.status is Status.FAILED and "max_q" in finding.detail and finding.fix


def test_a_server_whose_programs_run_elsewhere_needs_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_EXECUTOR_REMOTES", "unix:/run/elsewhere.sock")
    done = CliRunner().invoke(app, ["doctor", "--deploy", "--json"])
    checks = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert "none is needed here" in checks["sandbox"]["detail"]
    assert "jail" not in checks
    assert done.exit_code == 0


@pytest.mark.sandbox
def test_this_machine_s_jails_are_tried() -> None:
    found = named(list(deploy_findings()))
    assert found["jail"].status is Status.OK
