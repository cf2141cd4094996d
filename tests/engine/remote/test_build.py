"""Which executor follows from which settings."""

from pathlib import Path
from typing import Any

import pytest

from engine.config import Settings
from engine.config_base import ConfigError
from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.build import build_executor
from engine.solving.executor_only import build_executor_only
from executor import ExecutorClient


def built(executor: dict[str, Any], **serving: Any) -> Any:
    return build_executor(Settings.model_validate({"executor": executor, "serving": serving}), Metrics())


def token(folder: Path) -> Path:
    file = folder / "token"
    file.write_text("a-token-of-sixteen-or-more")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("remotes", [(), ("local",)])
def test_this_machine_is_the_default(remotes: tuple[str, ...]) -> None:
    assert isinstance(built({"remotes": remotes}), ExecutorClient)


async def test_several_are_balanced_each_under_its_name(tmp_path: Path) -> None:
    metrics = Metrics()
    remotes = ("local", "unix:/s", "127.0.0.1:7000")
    settings = Settings.model_validate({"executor": {"remotes": remotes, "remote_token_file": token(tmp_path)}})
    assert isinstance(build_executor(settings, metrics), BalancedExecutor)
    for name in remotes:
        assert metrics.registry.get_sample_value("thresher_executor_up", {"executor": name}) == 0


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        ({"remotes": ("nonsense",)}, "executor.remotes: 'nonsense' is neither"),
        ({"remotes": ("unix:/a", "unix:/a")}, "twice"),
        ({"remotes": ("10.0.0.1:7000",)}, "--insecure"),
        ({"remotes": ("unix:/a",), "slots": 4}, "executor.slots"),
        ({"remotes": ("unix:/a",), "site_packages": "/p"}, "executor.site_packages"),
        ({"remotes": ("unix:/a",), "allow_weaker": ("shared-uid",)}, "allow_weaker"),
        ({"remotes": ("unix:/a",), "remote_token_file": "/t"}, "no remote on TCP"),
        ({"remotes": ("127.0.0.1:7000",), "remote_token_file": "/none"}, "executor.remote_token_file: /none cannot"),
        ({"remotes": ("unix:/a",), "remote_tls_ca": "/ca"}, "no remote on TCP"),
        (
            {"remotes": ("10.0.0.1:7000",), "remote_tls_ca": "/none"},
            "executor.remote_tls_.*: TLS: /none cannot be read",
        ),
        ({"remotes": ("10.0.0.1:7000",), "remote_tls_key": "/none"}, "go together"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(executor: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        built(executor)


async def test_an_operator_may_insist_on_plain_text() -> None:
    assert isinstance(built({"remotes": ("10.0.0.1:7000",)}, insecure=True), BalancedExecutor)


def test_a_server_that_only_executes_has_no_remotes() -> None:
    settings = Settings.model_validate({"executor": {"remotes": ("unix:/a",)}, "serving": {"executor_only": True}})
    with pytest.raises(ConfigError, match=r"executor\.remotes"):
        build_executor_only(settings, Metrics())
