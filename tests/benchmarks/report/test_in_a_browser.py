"""The page as a person sees it: drawn by Chromium, wide and narrow, with nothing cut off and nothing fetched."""

import re
import shutil
import struct
import subprocess
import zlib
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.report_page import PAGE

from benchmarks.report.html import html

Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.slow

# No jail inside this container, no GPU, no first-run page.
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on PATH; `apt-get install chromium` brings one")
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html(PAGE), encoding="utf-8")
    return path


def screenshot(chromium: str, page: Path, width: int, height: int, *flags: str) -> Pixels:
    """The page's pixels: an array (height, width, 3)."""
    shot = page.with_name(f"shot-{width}-{len(flags)}.png")
    profile = page.with_name("profile")
    command = [chromium, *FLAGS, *flags, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    done = subprocess.run(
        [*command, f"--screenshot={shot}", page.as_uri()], capture_output=True, text=True, check=False, timeout=300
    )
    if not shot.is_file():
        pytest.skip(f"this Chromium makes no screenshot here: {done.stderr.strip()[-300:]}")
    return pixels(shot.read_bytes())


def pixels(png: bytes) -> Pixels:
    """Of a PNG of 8 bits a channel, not interlaced (the PNG specification, clauses 9 and 11)."""
    place, data = 8, b""
    width = height = channels = 0
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        body = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert depth == 8 and colour in (2, 6) and not interlaced
            channels = 3 if colour == 2 else 4
        elif kind == b"IDAT":
            data += body
        place += 12 + length
    raw = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(height, 1 + width * channels)
    lines = np.zeros((height, width, channels), dtype=np.uint8)
    above = np.zeros((width, channels), dtype=np.int64)
    for row in range(height):
        above = _unfiltered(int(raw[row, 0]), raw[row, 1:].reshape(width, channels).astype(np.int64), above)
        lines[row] = above
    return lines[:, :, :3]


def _unfiltered(kind: int, line: npt.NDArray[np.int64], above: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if kind == 0:
        return line
    if kind == 1:
        return np.cumsum(line, axis=0) % 256
    if kind == 2:
        return (line + above) % 256
    left = np.zeros(line.shape[1], dtype=np.int64)
    corner = np.zeros_like(left)
    made = np.zeros_like(line)
    for x in range(len(line)):
        up = above[x]
        if kind == 3:
            guess = (left + up) // 2
        else:
            p = left + up - corner
            a, b, c = np.abs(p - left), np.abs(p - up), np.abs(p - corner)
            guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        left = made[x] = (line[x] + guess) % 256
        corner = up
    return made


def ink(shot: Pixels) -> npt.NDArray[np.bool_]:
    """Where something is drawn: what differs from the paper, which is the corner's colour."""
    paper = shot[0, 0].astype(np.int64)
    return np.asarray(np.abs(shot.astype(np.int64) - paper).max(axis=2) > 24)


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
