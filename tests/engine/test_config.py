"""Where settings come from, and what is refused."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from engine.config import Arithmetic, Settings, section_fields
from engine.config_base import ConfigError, Section
from engine.config_layers import load_settings, parse_assignments, to_json, to_toml


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("THRESHER_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "thresher.toml"
    path.write_text(text)
    return path


def test_later_layers_win_field_by_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[limits]\nmax_k = 10\nmax_tests = 20\nmax_waiting = 30\n")
    monkeypatch.setenv("THRESHER_LIMITS_MAX_TESTS", "21")
    monkeypatch.setenv("THRESHER_LIMITS_MAX_WAITING", "31")
    found = load_settings(path, {"limits": {"max_waiting": "32"}}).limits
    assert (found.max_k, found.max_tests, found.max_waiting) == (10, 21, 32)
    assert found.max_program_bytes == Settings().limits.max_program_bytes


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_CONFIG", str(write(tmp_path, "[log]\nlevel = 'error'\n")))
    assert load_settings().log.level == "error"


def test_plain_settings_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_LIMITS_MAX_K", "1")
    assert Settings().limits.max_k == 4096


def test_values_are_read_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_MODELS_SERVE", "small, /models/big.gguf")
    monkeypatch.setenv("THRESHER_MODELS_ARITHMETIC", "float32")
    monkeypatch.setenv("THRESHER_ENGINE_KV_BYTES", "2GiB")
    monkeypatch.setenv("THRESHER_SERVING_INSECURE", "true")
    monkeypatch.setenv("THRESHER_ENGINE_THREADS", "")
    found = load_settings()
    assert found.models.serve == ("small", "/models/big.gguf")
    assert found.default_model == "small"
    assert found.models.arithmetic is Arithmetic.FLOAT32
    assert found.engine.kv_bytes == 2 << 30
    assert found.serving.insecure
    assert found.engine.threads is None


def test_words_of_the_client_and_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "THRESHER_ADDRESS",
        "THRESHER_TOKEN",
        "THRESHER_DATA",
        "THRESHER_EXECUTOR_SERVICE_HOST",
        "THRESHER_EXECUTOR_SERVICE_PORT",
        "THRESHER_EXECUTOR_PORT",
        "THRESHER_EXECUTOR_PORT_7000_TCP_ADDR",
    ):
        monkeypatch.setenv(name, "x")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nmax_kk = 3", "limits.max_kk: no such setting; did you mean max_k?"),
        ("[sering]\nx = 3", "sering: no such setting; did you mean serving?"),
        ("[serving]\ntls_certificate = 'x'", "serving: tls_certificate and tls_key go together"),
        ("[serving]\ntls_client_ca = 'x'", "serving: tls_client_ca needs tls_certificate and tls_key"),
        ("[limits]\nmax_k = 0", "limits.max_k: Input should be greater than or equal to 1 (it is 0)"),
        ("[limits]\nmax_k = 'many'", "limits.max_k"),
        ("[models]\nserve = []", "models: serve is empty"),
        ("[models]\nserve = ['a', 'a']", "models: serve names a model twice"),
        ("[models]\ndefault = 'zz'", "default 'zz' is not in serve"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("[limits", "thresher.toml"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))
    assert said in str(caught.value)


def test_every_fault_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_ENGINE_TREADS", "2")
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, "[limits]\nmax_k = 0\n"), {"serving": {"nope": 1}})
    for name in ("engine.treads", "limits.max_k", "serving.nope"):
        assert name in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(tmp_path / "none.toml")


def test_assignments() -> None:
    assert parse_assignments(["a.b=c=d", "a.e = 1"]) == {"a": {"b": "c=d", "e": "1"}}
    for bad in ("a.b", "ab=1", ".b=1", "a.=1"):
        with pytest.raises(ConfigError, match=r"section\.field=value"):
            parse_assignments([bad])


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {
            "serving": {"listen": ("unix:/a b/\"q\"\\s", "[::1]:7"), "token_file": "/t", "drain_seconds": 0.5},
            "models": {"serve": ("a", "é"), "default": "é"},
            "engine": {"threads": 3, "kv_bytes": "3GiB"},
        },
    ],
)  # fmt: skip
def test_printed_toml_reads_back_the_same(tmp_path: Path, flags: dict[str, dict[str, Any]]) -> None:
    settings = load_settings(None, flags)
    text = to_toml(settings)
    tomllib.loads(text)
    assert load_settings(write(tmp_path, text)) == settings
    assert Settings.model_validate(json.loads(to_json(settings))) == settings
    assert max(map(len, text.splitlines())) <= 120


def test_every_field_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Section)
        for setting, description in section_fields(name).items():
            assert description.endswith("."), f"{name}.{setting}"


def test_settings_load_neither_torch_nor_grpc() -> None:
    program = (
        "import sys, engine.config_layers, engine.metrics, engine.logs;"
        "print(sorted({'torch', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
