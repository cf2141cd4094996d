"""The page as a person sees it: drawn by Chromium, wide and narrow, with nothing cut off and nothing fetched."""

import re
import subprocess
from html import escape
from pathlib import Path

import numpy as np
import pytest
from support.report_page import PAGE

from benchmarks.report.html import html
from tests.support.browser import FLAGS, find_chromium, ink, screenshot

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html(PAGE), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "height"), [(1200, 2600), (420, 4200)])
def test_the_page_is_drawn_within_its_margins(chromium: str, written: Path, width: int, height: int) -> None:
    shot = screenshot(chromium, written, width, height)
    assert shot.shape == (height, width, 3)
    drawn = ink(shot)
    # A page of text and plots: neither blank nor a wall.
    assert 0.01 < drawn[: height // 2].mean() < 0.5
    # Nothing runs out of the window: the outermost pixels are paper.
    assert not drawn[:, -4:].any() and not drawn[:, :4].any()
    # Plots have colours; text has none.
    spread = shot.max(axis=2).astype(np.int64) - shot.min(axis=2)
    assert (spread > 60).sum() > 500


def test_the_page_is_dark_where_that_is_preferred(chromium: str, written: Path) -> None:
    light = screenshot(chromium, written, 900, 900)
    dark = screenshot(chromium, written, 900, 900, "--blink-settings=preferredColorScheme=0")
    assert light[0, 0].min() > 200 and dark[0, 0].max() < 60
    assert 0.5 < ink(dark).mean() / ink(light).mean() < 2


def test_the_browser_finds_no_fault_and_loads_nothing(chromium: str, written: Path) -> None:
    profile = written.with_name("profile-dom")
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, written.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    assert escape(PAGE.title, quote=False) in done.stdout
    assert done.stdout.count("<svg") == html(PAGE).count("<svg") == 3
    assert not re.search(r"CONSOLE|ERR_|Refused to|net::", done.stderr)
