"""Dockerfile, compose file, systemd units, Kubernetes example: no engine runs them here, but their words are right."""

import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from engine.cli.main import app
from engine.config import Settings
from engine.config_layers import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KUBERNETES = [
    found
    for name in yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    for found in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())
]
# From the end of the drain until the process is gone, at most.
LEAVING_SECONDS = 10


def pods() -> dict[str, Any]:
    """What pods are made from, by the name of what makes them."""
    kinds = ("Deployment", "StatefulSet")
    return {found["metadata"]["name"]: found["spec"]["template"] for found in KUBERNETES if found["kind"] in kinds}


def settings_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        assert name.startswith("THRESHER_")
        monkeypatch.setenv(name, value)
    return load_settings()


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]
    ignored = set((ROOT / ".dockerignore").read_text().split())
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert name not in ignored
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {name.partition("/")[0] for name in built["packages"]} <= {name for names in copied for name in names}


def test_stages_that_the_dockerfile_and_its_users_name_are_there() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.M))
    named = set(re.findall(r"--from=(\w+)", DOCKERFILE)) | set(re.findall(r"--target (\w+)", DOCKERFILE))
    assert named | {COMPOSE["services"]["server"]["build"]["target"]} <= stages


def test_the_executor_image_leaves_out_nothing_that_it_needs() -> None:
    (words,) = re.findall(r"drop = /\^\(([\w|-]+)\)==/", DOCKERFILE)
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "server.txt").read_text(), re.M)
    assert set(words.split("|")) <= set(locked)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = {re.split(r"[<>=\[]", text)[0] for text in extras["executor"]}
    assert not needed & set(words.split("|"))


def test_compose_s_server_is_set_up_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    server = COMPOSE["services"]["server"]
    found = settings_of(server["environment"], monkeypatch).serving
    assert found.listen == ("0.0.0.0:50051",)
    assert found.insecure
    assert int(server["stop_grace_period"].removesuffix("s")) > found.drain_seconds + LEAVING_SECONDS
    assert all(port.startswith("127.0.0.1:") for one in COMPOSE["services"].values() for port in one["ports"])
    assert found.metrics_listen == "0.0.0.0:9464"
    scrape = yaml.safe_load(COMPOSE["configs"]["scrape"]["content"])
    assert scrape["scrape_configs"][0]["static_configs"] == [{"targets": ["server:9464"]}]
    assert scrape["scrape_configs"][0]["job_name"] == "thresher", "as the rules have it"


def test_compose_names_what_it_has() -> None:
    for service in COMPOSE["services"].values():
        assert {one["source"] for one in service.get("configs", ())} <= COMPOSE["configs"].keys()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    for config in COMPOSE["configs"].values():
        assert yaml.safe_load(config["content"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_there_is(unit: Path, tmp_path: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(unit)
    service = parser["Service"]
    _, *words = shlex.split(service["ExecStart"])
    config = tmp_path / "thresher.toml"
    config.write_text("[limits]\nmax_k = 7\n")
    words[words.index("--config") + 1] = str(config)
    done = CliRunner().invoke(app, [*words, "--print-config"])
    assert done.exit_code == 0 and "max_k = 7" in done.stdout, done.output
    assert int(service["TimeoutStopSec"]) > Settings().serving.drain_seconds + LEAVING_SECONDS
    assert (service["Delegate"], service["KillMode"]) == ("yes", "mixed")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_a_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "is not executable" not in line]
    assert [line for line in complaints if unit.name in line] == []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_puts_the_example_together() -> None:
    command = ["kubectl", "kustomize", DEPLOY / "kubernetes"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert len(made) == len(KUBERNETES)
    assert {one["metadata"]["namespace"] for one in made} == {"thresher"}


@pytest.mark.parametrize("name", pods())
def test_a_pod_is_probed_where_it_listens_and_has_time_to_drain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = pods()[name]["spec"]
    (container,) = spec["containers"]
    found = settings_of({one["name"]: one["value"] for one in container["env"]}, monkeypatch)
    (port,) = {int(address.rpartition(":")[2]) for address in found.serving.listen}
    named = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert found.serving.metrics_listen == f"0.0.0.0:{named['metrics']}"
    assert named["grpc"] == port
    assert container["startupProbe"]["grpc"] == container["readinessProbe"]["grpc"] == {"port": port}
    assert container["livenessProbe"]["tcpSocket"] == {"port": port}
    pause = int(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])[1])
    assert spec["terminationGracePeriodSeconds"] >= pause + found.serving.drain_seconds + LEAVING_SECONDS
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in spec["volumes"]}


def test_the_server_s_executors_are_those_of_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    (server,) = pods()["thresher"]["spec"]["containers"]
    found = settings_of({one["name"]: one["value"] for one in server["env"]}, monkeypatch)
    (made,) = [one for one in KUBERNETES if one["kind"] == "StatefulSet"]
    assert found.executor.remotes == tuple(f"executor-{n}.executors:50052" for n in range(made["spec"]["replicas"]))
    assert made["spec"]["serviceName"] == "executors"


def test_selectors_find_the_pods_they_mean() -> None:
    labels = [template["metadata"]["labels"] for template in pods().values()]

    def selectors(found: Any) -> Iterator[dict[str, str]]:
        spec = found["spec"]
        if found["kind"] == "Service":
            assert spec["clusterIP"] == "None"
            yield spec["selector"]
        else:
            yield spec["podSelector" if found["kind"] == "NetworkPolicy" else "selector"]["matchLabels"]

    chosen = [one for found in KUBERNETES for one in selectors(found)]
    assert len(chosen) == len(KUBERNETES) == 7
    assert all(one in labels for one in chosen)
