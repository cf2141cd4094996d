"""Pages in Chromium: screenshots as arrays of pixels."""

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

Pixels = npt.NDArray[np.uint8]

# No jail inside this container, no GPU, no first-run page.
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")


def find_chromium() -> str:
    """Its program; skips the test where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on PATH; `apt-get install chromium` brings one")
    return found


def screenshot(chromium: str, page: Path, width: int, height: int, *flags: str) -> Pixels:
    """The page's pixels: an array (height, width, 3)."""
    shot = page.with_name(f"{page.stem}-{width}-{len(flags)}.png")
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
