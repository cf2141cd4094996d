"""The pages of load tests as a person sees them: a load, a replay, a knee and a plan, drawn by Chromium.

The pictures stay in pytest's folder for this test, to be looked at.
"""

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.command import app
from tests.support.browser import find_chromium, ink, screenshot
from tests.support.load_server import load_server

pytestmark = pytest.mark.slow

COMMANDS = {
    "load": ["load", "--rate", "12", "--seconds", "4"],
    "users": ["load", "--users", "4", "--seconds", "2"],
    "replay": ["load", "--trace", "hour.jsonl", "--speed", "900"],
    "knee": ["load", "--knee", "4..16", "--seconds", "2", "--runs", "1", "--precision", "0.5"],
    "sweep": ["plan", "--sweep", "1..20", "--seconds", "20", "--plays", "1", "--measured", "measured.json"],
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page for each of COMMANDS."""
    folder = tmp_path_factory.mktemp("pages")
    problems = [{"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in ("easy", "hard")]
    entry = {"name": "team", "problems": problems, "sampling": {"k": 4, "top_p": 1.0}}
    (folder / "mix.yaml").write_text(yaml.safe_dump({"mix": [entry]}))

    def run(words: list[str], *more: str) -> None:
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exit_code == 0, (words, done.output, done.exception)

    with pytest.MonkeyPatch.context() as patch, load_server() as server:
        patch.chdir(folder)
        run(["trace", "--people", "4", "--minutes", "60", "--out", "hour.jsonl"])
        common = ["--mix", "mix.yaml", "--warm-up", "0"]
        asked = ["--server", server.address, "--metrics", server.metrics]
        measuring = ["plan", "--measure", "--measured", "measured.json", "--samples", "8", "--each", "1"]
        run(measuring, *common, *asked)
        for name, words in COMMANDS.items():
            more = [*asked, "--server-log", str(server.log)] if words[0] == "load" else []
            run(words, *common, *more, "--out", f"{name}.json")
    return folder


@pytest.mark.parametrize("width", [1200, 420])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_page_is_drawn_within_its_margins(pages: Path, name: str, width: int) -> None:
    shot = screenshot(find_chromium(), pages / f"{name}.html", width, 3200)
    drawn = ink(shot)
    # A page of text and plots: neither blank nor a wall.
    assert 0.005 < drawn[:1200].mean() < 0.5
    # Nothing runs out of the window: the outermost pixels are paper.
    assert not drawn[:, -4:].any() and not drawn[:, :4].any()
    if name != "knee":  # which may have a table only
        spread = shot.max(axis=2).astype(np.int64) - shot.min(axis=2)
        assert (spread > 60).sum() > 500, "plots have colours"
