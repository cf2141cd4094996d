"""docs/operating.md and the pages of the house: commands run, alerts and settings are those there are, links lead."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from support.fake_server import FakeServer
from thresher.v1.solve_pb2 import SolveSpec
from typer.testing import CliRunner

from engine.cli._recording import Recorder
from engine.cli.main import app
from engine.config import Settings
from engine.tracing import start_tracing
from tests.support.load_server import load_server

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
COMMANDS, WATCHING, RECORDING, FLIGHT, SPANS, SOAK = (
    [shlex.split(line, comments=True) for line in block.splitlines()]
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
)
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]


def thresher(words: list[str]) -> str:
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, f"{words}: {done.output}"
    return done.stdout


@pytest.mark.sandbox
def test_doctor_is_content_with_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert "jail" in thresher(COMMANDS[0])
    assert "deploy: memory" in thresher(COMMANDS[1])


def test_the_other_commands_run(tmp_path: Path) -> None:
    config = tmp_path / "thresher.toml"
    config.write_text("[limits]\nmax_k = 7\n")
    _, _, printed, health = COMMANDS
    assert "max_k = 7" in thresher([str(config) if word.startswith("/etc/") else word for word in printed])
    with FakeServer(tmp_path / "s") as server:
        server.set_serving(True)
        assert thresher([*health, "--address", server.address]) == "SERVING\n"


def test_a_server_is_watched() -> None:
    (words,) = WATCHING
    with load_server() as server:
        shown = thresher([*words[:-1], server.metrics, "--once", "--every", "0.2"])
    assert "goodput" in shown


def test_a_solve_is_recorded_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, replay = RECORDING
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    with FakeServer(tmp_path / "s") as server:
        thresher([*solve, "--address", server.address, "-q"])
    assert thresher(replay) == "solve.jsonl.html\n"
    assert "thresher" in (tmp_path / "solve.jsonl.html").read_text().lower()


def test_a_server_records_and_its_recording_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve, replay = FLIGHT
    assert 'folder = "flight"' in thresher([*serve, "--print-config"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flight").mkdir()
    with Recorder(tmp_path / replay[-1], SolveSpec()):
        pass
    assert thresher(replay) == f"{replay[-1]}.html\n"


def test_the_variables_of_the_page_turn_spans_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (pip, *_, extra), serve = SPANS
    assert pip == "pip" and extra == ".[otel]"
    for name, value in (word.split("=", 1) for word in serve[:-2]):
        monkeypatch.setenv(name, value)
    tracing = start_tracing()
    assert tracing is not None and serve[-2:] == ["thresher", "serve"]
    tracing.close()


def test_make_soak_soaks_for_so_long() -> None:
    (words,) = SOAK
    done = subprocess.run([words[0], "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m benchmarks.soak --minutes 30" in done.stdout


def test_every_alert_has_its_answer() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"`(Thresher\w+)`", PAGE)) == alerts


def test_settings_that_the_page_names_are_there() -> None:
    sections = Settings().model_dump()
    named = re.findall(r"`((?:serving|models|engine|limits|executor|recorder|log)\.\w+)`", PAGE)
    assert len(named) > 15
    for name in named:
        section, field = name.split(".")
        assert field in sections[section], name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_make_knows_the_targets_that_a_newcomer_is_told() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([\w-]+)(?= *[\w -]*:)", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([\w-]+)", page)) <= targets
    rooms = re.findall(r"`((?:engine|kernels|benchmarks|tests|executor|proto)/[\w/.]*)`", page)
    assert rooms and all((ROOT / room).exists() for room in rooms)


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{cited["version"]}"' in project
    assert f'license = "{cited["license"]}"' in project
