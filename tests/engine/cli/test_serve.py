"""`thresher serve`: options become settings; nothing is started here."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from engine.cli import serve as command
from engine.config import Settings


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("THRESHER_CONFIG", "THRESHER_LIMITS_MAX_K"):
        monkeypatch.delenv(name, raising=False)
    app = typer.Typer()
    app.command()(command.serve)
    return lambda *words: CliRunner().invoke(app, words)


def test_the_printed_settings_are_those_in_force(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[models]\nserve = ["x"]\ndefault = "x"\n[limits]\nmax_k = 7\nmax_tests = 9\n')
    options = (
        "--config", str(path), "--listen", "unix:/a", "--listen", "127.0.0.1:1", "--token-file", "/t", "--insecure",
        "--metrics", "127.0.0.1:2", "--drain-seconds", "3.5", "--model", "a", "--model", "b", "--arithmetic", "float32",
        "--threads", "4", "--slots", "5", "--allow-weaker", "w", "--log-level", "debug", "--log-format", "json",
        "--set", "limits.max_tests=10", "--print-config",
    )  # fmt: skip
    done = run(*options)
    assert done.exit_code == 0, done.output
    found = Settings.model_validate(tomllib.loads(done.stdout))
    assert found.serving.listen == ("unix:/a", "127.0.0.1:1")
    assert (str(found.serving.token_file), found.serving.insecure) == ("/t", True)
    assert (found.serving.metrics_listen, found.serving.drain_seconds) == ("127.0.0.1:2", 3.5)
    assert (found.models.serve, found.default_model, found.models.arithmetic) == (("a", "b"), "a", "float32")
    assert (found.engine.threads, found.executor.slots, found.executor.allow_weaker) == (4, 5, ("w",))
    assert (found.limits.max_k, found.limits.max_tests) == (7, 10)
    assert (found.log.level, found.log.format) == ("debug", "json")


def test_the_help_says_the_defaults_in_force(run: Any) -> None:
    text = " ".join(run("--help").output.replace("│", " ").split())
    assert f"after SIGTERM. Default: {Settings().serving.drain_seconds:g}." in text


def test_executors_are_named_on_the_command_line(run: Any) -> None:
    done = run("--executor", "local", "--executor", "h:1", "--executor-token-file", "/t", "--print-config", "--json")
    found = Settings.model_validate(json.loads(done.stdout)).executor
    assert (found.remotes, str(found.remote_token_file)) == (("local", "h:1"), "/t")
    done = run("--executor-only", "--print-config", "--json")
    assert Settings.model_validate(json.loads(done.stdout)).serving.executor_only


def test_json_has_every_field_once(run: Any) -> None:
    done = run("--print-config", "--json")
    assert Settings.model_validate(json.loads(done.stdout)) == Settings()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "limits.max_kk=3"), "limits.max_kk: no such setting; did you mean max_k?"),
        (("--set", "nonsense"), "section.field=value"),
        (("--set", "limits.max_k=none"), "limits.max_k"),
        (("--config", "/nonexistent.toml"), "does not exist"),
        (("--drain-seconds", "-1"), "serving.drain_seconds"),
        (("--json",), "--print-config"),
        (("--executor-only", "--model", "m"), "loads no model"),
        (("--executor-only", "--threads", "2"), "loads no model"),
    ],
)
def test_wrong_settings_are_exit_code_2(run: Any, options: tuple[str, ...], said: str) -> None:
    done = run(*options)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.slow
def test_an_address_beyond_loopback_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    # In a process of its own, since the command ends its process.
    words = [sys.executable, "-m", "engine.cli.main", "serve", "--listen", "0.0.0.0:7000", "--log-format", "json"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["starting", "cannot serve"]
    assert "--insecure" in lines[-1]["error"]
    assert list(tmp_path.iterdir()) == []
