"""Writes requirements/*.txt from pyproject.toml and requirements/pins.in (`make lock`).

Everything is resolved together, once, for every Python and every machine type that Thresher supports; the files are
parts of that one result. Pins of the present files stay where they still fit, unless UPGRADE is set.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
FILES = ("base", "server", "torch", "dev")
HEADER = "# Written by `make lock`; not to be edited. See requirements/README.md.\n"
CUDA = re.compile(r"(nvidia|cuda)-|torch$")
NAME = re.compile(r"[A-Za-z0-9._-]+")
MARKER = re.compile(r" ; (.+) \\$", re.MULTILINE)


def compile_pins(output: Path, *arguments: str) -> dict[str, str]:
    """Resolves and returns package name -> its block of the lock file (pin, marker and hashes)."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.12"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run([*command, "pyproject.toml", *arguments, "--output-file", str(output)], check=True, cwd=ROOT)
    return blocks(output.read_text(encoding="utf-8"))


def blocks(text: str) -> dict[str, str]:
    """Splits a lock file at its pins; a package with several markers has all of them in one block."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            continue
        if not line[0].isspace():
            match = NAME.match(line)
            if match is None:
                raise SystemExit(f"lock: cannot read the line {line!r}")
            name = match.group()
        found[name] = found.get(name, "") + line
    return found


def main() -> None:
    """Resolves everything, then splits it into the four files."""
    pins = str(FOLDER / "pins.in")
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary) / "full.txt"
        if not os.environ.get("UPGRADE"):
            old = [FOLDER / f"{name}.txt" for name in FILES]
            full.write_text("".join(path.read_text(encoding="utf-8") for path in old if path.exists()))
        extras = ("server", "bench", "constraints", "lsp", "otel", "dev")
        everything = compile_pins(full, pins, *(word for extra in extras for word in ("--extra", extra)))
        held = ("--constraint", str(full))
        base = set(compile_pins(Path(temporary) / "base.txt", *held))
        server = set(compile_pins(Path(temporary) / "server.txt", *held, "--extra", "server")) - base
    cuda = {name for name in everything if CUDA.match(name)}
    markers = Counter(match.group(1) for block in everything.values() for match in MARKER.finditer(block))
    if markers.total() == len(everything):
        # The condition of tool.uv.environments is on every package, and tells nothing where it stands alone.
        (usual, _), *_ = markers.most_common(1)
        everything = {name: block.replace(f" ; {usual} \\\n", " \\\n") for name, block in everything.items()}
    parts = {"base": base, "server": server - cuda, "torch": cuda, "dev": set(everything) - base - server - cuda}
    for name in FILES:
        text = HEADER + "".join(everything[package] for package in sorted(parts[name]))
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
