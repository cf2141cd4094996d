"""A solve in a real notebook kernel: a table that changes while it runs, and a result to read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel
from support.fake_server import PROGRAM, FakeServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Notebook:
    """A kernel, and what its cells put out."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, code: str) -> list[dict[str, Any]]:
        """The outputs of a cell: messages with their type, in order."""
        outputs: list[dict[str, Any]] = []

        def hook(message: Any) -> None:
            outputs.append({"type": message["header"]["msg_type"], **message["content"]})

        reply = self._client.execute_interactive(code, timeout=200, output_hook=hook)
        assert reply["content"]["status"] == "ok", outputs
        return [output for output in outputs if output["type"] not in ("status", "execute_input")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with FakeServer(tmp_path / "s.sock") as fake:
        monkeypatch.setenv("THRESHER_ADDRESS", fake.address)
        yield fake


@pytest.fixture
def notebook(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=200, cwd=str(tmp_path))
    try:
        yield Notebook(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def html(output: dict[str, Any]) -> str:
    return output["data"]["text/html"]


def test_a_table_changes_while_it_runs(notebook: Notebook) -> None:
    notebook.run("from thresher.client import refine, solve")
    ask = 'solve("Write median(numbers).", ["assert median([1]) == 1"], k=2)'
    first, *changes, result = notebook.run(ask)
    assert (first["type"], result["type"]) == ("display_data", "execute_result")
    assert "waiting for the server" in html(first)
    assert {change["type"] for change in changes} == {"update_display_data"}
    assert {change["transient"]["display_id"] for change in changes} == {first["transient"]["display_id"]}
    assert "<td>passed</td>" in html(changes[-1])
    assert "<td>wrong answer</td>" in html(changes[-1])
    assert PROGRAM.splitlines()[0] in html(result)
    assert result["data"]["text/plain"].startswith("<Result: fake · ")
    assert notebook.run(f"result = {ask.replace('k=2', 'k=2, show=False')}") == []
