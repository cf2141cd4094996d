"""docs/settings.md: it is what engine/config.py says, and its examples are accepted."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.config import Settings
from engine.config_layers import load_settings
from scripts.settings_page import PAGE, page

TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.search(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)


def test_the_page_is_current() -> None:
    assert page() == TEXT, "run: make settings"


def test_every_setting_is_there_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", TEXT, re.M))
    defaults = Settings().model_dump(mode="json")
    named = {f"{section}.{field}" for section in defaults for field in defaults[section]}
    assert named <= rows.keys()
    assert rows["limits.max_k"] == f"`{defaults['limits']['max_k']}`"
    assert rows["engine.kv_bytes"] == "none"
    assert rows["serving.insecure"] == "`false`"


def test_the_commands_print_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COMMANDS is not None
    for line in COMMANDS[1].splitlines():
        words = shlex.split(line, comments=True)
        environment = dict(word.split("=") for word in words if word.startswith("THRESHER_"))
        done = CliRunner().invoke(app, words[words.index("thresher") + 1 :], env=environment)
        assert done.exit_code == 0, done.output
        chosen = re.search(r'"?max_k"?( =|:) (\d+)', done.output)
        assert chosen is not None and chosen[2] == ("64" if "64" in line else "4096")


def test_the_file_is_accepted(tmp_path: Path) -> None:
    example = re.search(r"^```toml\n(.*?)^```$", TEXT, re.M | re.S)
    assert example is not None and tomllib.loads(example[1])
    path = tmp_path / "thresher.toml"
    path.write_text(example[1])
    assert load_settings(path).limits.max_k == 64
