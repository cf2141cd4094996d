"""scripts/prometheus.py: it unpacks the two programs of a package, and says why where there is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "prometheus.py"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(folder: Path, *, path: str) -> str:
    """What the script says in a folder of its own; it ends well, whatever there is."""
    (folder / "scripts").mkdir(exist_ok=True)
    script = shutil.copy(SCRIPT, folder / "scripts")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False, env={"PATH": path}
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_where_there_is_no_apt_it_says_so(tmp_path: Path) -> None:
    assert "no apt-get here" in run(tmp_path, path=str(tmp_path / "bin"))


def test_where_apt_has_no_package_it_tells_what_apt_says(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    program(tmp_path / "bin" / "dpkg-deb", "exit 1")
    assert "(E: Unable to locate package)" in run(tmp_path, path=str(tmp_path / "bin"))
    assert not (tmp_path / ".venv").exists()


def test_where_both_are_installed_it_does_nothing(tmp_path: Path) -> None:
    for name in ("prometheus", "promtool"):
        program(tmp_path / "bin" / name, "exit 0")
    assert run(tmp_path, path=str(tmp_path / "bin")) == ""


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages are made and taken apart by dpkg-deb")
def test_it_unpacks_the_programs_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    for name in ("prometheus", "promtool"):
        program(package / "usr" / "bin" / name, f"echo {name}")
    (package / "DEBIAN").mkdir()
    control = "Package: prometheus\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: a test\n"
    (package / "DEBIAN" / "control").write_text(control)
    made = tmp_path / "made.deb"
    subprocess.run(["dpkg-deb", "--build", package, made], check=True, capture_output=True)
    program(tmp_path / "bin" / "apt-get", f"/bin/cp {made} prometheus_1_all.deb")
    (tmp_path / "bin" / "dpkg-deb").symlink_to(shutil.which("dpkg-deb") or "")
    # dpkg-deb asks tar and its like, so the system's programs stay on the path behind ours.
    path = f"{tmp_path / 'bin'}:/bin"
    if shutil.which("promtool", path=path):
        pytest.skip("promtool is installed here")
    assert ".venv/prometheus" in run(tmp_path, path=path)
    for name in ("prometheus", "promtool"):
        unpacked = tmp_path / ".venv" / "prometheus" / name
        assert subprocess.check_output([unpacked], text=True) == f"{name}\n"
    assert run(tmp_path, path=path) == "", "a second run finds them"
