"""Cascades from settings: `thresher serve --tier` and `thresher route`; nothing is started here."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from engine.cli import route, serve
from engine.cli._tiers import build_router, with_cascade
from engine.config import Settings
from engine.config_base import ConfigError
from engine.config_cascade import tier_of
from engine.metrics import Metrics
from engine.solving.tiered import TieredSolver
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver

NAMES = {"a": "a", "/models/b.gguf": "b"}


def made(**cascade: Any) -> TieredSolver:
    solver = scripted_solver(Script({"p": {"x": 1.0}}), FakeExecutor())
    return with_cascade(solver, NAMES, Settings.model_validate({"cascade": cascade}), Metrics())


def tier(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


def test_tiers_are_models_of_this_server_and_of_others() -> None:
    there = tier("far", addresses="unix:/a,127.0.0.1:50", model="m")
    solver = made(tiers=[tier("small", model="a"), tier("mid", model="/models/b.gguf"), there], name="mine")
    info = solver.models()[-1]
    assert info.name == "mine"
    assert [(one.name, one.model, one.addresses) for one in info.tiers] == [
        ("small", "a", ()),
        ("mid", "b", ()),
        ("far", "m", ("unix:/a", "127.0.0.1:50")),
    ]


@pytest.mark.parametrize(
    ("cascade", "said"),
    [
        ({"tiers": [tier("x", model="none-such")]}, "cascade.tiers.x.model: 'none-such' is not served here"),
        ({"tiers": [tier("x", model="a")], "name": "b"}, "cascade.name: a model is called 'b'"),
        ({"tiers": [tier("x", addresses="1.2.3.4:5")]}, "would carry plain text"),
        ({"tiers": [tier("x", addresses="dns:///far:5")]}, "would carry plain text"),
        ({"tiers": [tier("x", addresses="unix:/a,unix:/a")]}, "names one twice"),
        ({"tiers": [tier("x", addresses="nonsense")]}, "neither unix:/path nor host:port"),
        ({"tiers": [tier("x", addresses="unix:/a")], "token_file": "/none"}, "no tier is at an address on TCP"),
        ({"tiers": [tier("x", addresses="127.0.0.1:5")], "token_file": "/none"}, "cascade.token_file"),
        ({"tiers": [tier("x", addresses="127.0.0.1:5")], "tls_ca": "/none"}, "cascade.tls_"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(cascade: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        made(**cascade)


def test_a_router_has_tiers_elsewhere_alone() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        build_router(Settings(), Metrics())
    settings = Settings.model_validate({"cascade": {"tiers": [tier("x", model="a")]}})
    with pytest.raises(ConfigError, match="no models of its own"):
        build_router(settings, Metrics())


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("small=smollm2-135m-instruct", {"model": "smollm2-135m-instruct"}),
        ("small=/models/x.gguf", {"model": "/models/x.gguf"}),
        ("small=unix:/run/a,unix:/run/b", {"addresses": "unix:/run/a,unix:/run/b"}),
        ("small=dns:///big:50051", {"addresses": "dns:///big:50051"}),
        ("small=host:50051", {"addresses": "host:50051"}),
        ("small=host:50051,host:50052", {"addresses": "host:50051,host:50052"}),
        ("small=[::1]:50051", {"addresses": "[::1]:50051"}),
    ],
)
def test_a_word_for_a_tier(word: str, found: dict[str, Any]) -> None:
    assert tier_of(word) == {"name": "small", **found}


@pytest.mark.parametrize("word", ["small", "=x", "small="])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="NAME=MODEL"):
        tier_of(word)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("THRESHER_CONFIG", raising=False)

    def call(command: Any, *words: str) -> Result:
        app = typer.Typer()
        app.command()(command)
        return CliRunner().invoke(app, words)

    return call


def test_options_become_settings(run: Any) -> None:
    words = ("--tier", "small=unix:/a", "--tier", "big=127.0.0.1:5,127.0.0.1:6", "--tier-token-file", "/t")
    for command in (route.route, serve.serve):
        done = run(command, *words, "--set", "cascade.give_up=learned", "--print-config")
        assert done.exit_code == 0, done.output
        found = Settings.model_validate(tomllib.loads(done.stdout)).cascade
        assert [(one.name, one.addresses) for one in found.tiers] == [
            ("small", ("unix:/a",)),
            ("big", ("127.0.0.1:5", "127.0.0.1:6")),
        ]
        assert (str(found.token_file), found.give_up) == ("/t", "learned")


def test_tables_of_a_file_are_tiers(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[[cascade.tiers]]\nname = "x"\nmodel = "m"\nk = 4\n[[cascade.tiers]]\nname = "y"\nmodel = "n"\n')
    done = run(serve.serve, "--config", str(path), "--print-config")
    found = Settings.model_validate(tomllib.loads(done.stdout)).cascade
    assert [(one.name, one.k) for one in found.tiers] == [("x", 4), ("y", None)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tier", "small"), "NAME=MODEL"),
        (("--set", "cascade.hedge_ms=5", "--tier", "a=unix:/a"), "policy hedged"),
        (("--set", "cascade.policy=hedged", "--tier", "a=unix:/a"), "hedge_ms or hedge_below"),
        (("--tier", "a=unix:/a", "--tier", "a=unix:/b"), "names one twice"),
    ],
)
def test_wrong_settings_are_exit_code_2(run: Any, words: tuple[str, ...], said: str) -> None:
    for command in (route.route, serve.serve):
        done = run(command, *words)
        assert done.exit_code == 2
        assert said in done.stderr
