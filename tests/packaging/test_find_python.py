"""Which Python `make setup` takes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "find_python.sh"


class Machine:
    """A machine with a home, a PATH and a checkout of its own. Pythons on it are small shell scripts."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.home = folder / "home"
        self.checkout = folder / "checkout"
        for path in (self.bin, self.home, self.checkout / "scripts"):
            path.mkdir(parents=True)
        shutil.copy(SCRIPT, self.checkout / "scripts")
        for tool in ("sh", "dirname", "cat", "env"):
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)

    def add(self, path: Path | str, version: str | None) -> Path:
        """A Python of that version; None is a pyenv shim whose version is not selected."""
        target = self.bin / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if version is None:
            target.write_text("#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
        else:
            # The real interpreter answers, with another version in its sys.version_info.
            fake = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0)"
            target.write_text(f'#!/bin/sh\nexec {sys.executable} -I -c "{fake}; $3"\n')
        target.chmod(0o755)
        return target

    def find(self, **environ: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "HOME": str(self.home), **environ}
        script = self.checkout / "scripts" / "find_python.sh"
        return subprocess.run(["/bin/sh", str(script)], capture_output=True, text=True, env=env)

    def found(self, **environ: str) -> str:
        done = self.find(**environ)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_good_python3_is_taken(machine: Machine) -> None:
    python3 = machine.add("python3", "3.13")
    assert machine.found() == str(python3)


def test_tested_version_is_preferred(machine: Machine) -> None:
    machine.add("python3", "3.14")
    machine.add("python3.13", "3.13")
    tested = machine.add("python3.12", "3.12")
    assert machine.found() == str(tested)


def test_old_python3_and_dead_shims_are_passed_over(machine: Machine) -> None:
    machine.add("python3", "3.11")
    machine.add("python3.12", None)
    machine.add(machine.home / ".pyenv/versions/3.11.9/bin/python", "3.11")
    good = machine.add(machine.home / ".pyenv/versions/3.13.1/bin/python", "3.13")
    assert machine.found() == str(good)


def test_pyenv_root_is_honoured(machine: Machine) -> None:
    good = machine.add(machine.home / "elsewhere/versions/3.12.3/bin/python", "3.12")
    assert machine.found(PYENV_ROOT=str(machine.home / "elsewhere")) == str(good)


def test_uv_finds_and_installs(machine: Machine) -> None:
    uv = machine.bin / "uv"
    uv.write_text('#!/bin/sh\n[ "$1 $2" = "python find" ] && echo /opt/uv/python3.12\n')
    uv.chmod(0o755)
    assert machine.found() == "/opt/uv/python3.12"
    marker = machine.home / "installed"
    lines = ["#!/bin/sh", 'case "$2" in', f"find) [ -e {marker} ] && echo /opt/uv/new || exit 1;;"]
    uv.write_text("\n".join([*lines, f"install) echo hi; : > {marker};;", "esac", ""]))
    assert machine.found() == "/opt/uv/new"


def test_venv_of_the_checkout_comes_first(machine: Machine) -> None:
    machine.add("python3.12", "3.12")
    machine.add(machine.checkout / ".venv/bin/python", "3.13")
    assert machine.found() == ".venv/bin/python"


def test_newer_than_the_locks_is_the_last_choice(machine: Machine) -> None:
    newest = machine.add("python3", "3.15")
    assert machine.found() == str(newest)
    older = machine.add(machine.home / ".pyenv/versions/3.12.1/bin/python", "3.12")
    assert machine.found() == str(older)


def test_named_python_is_taken_or_refused(machine: Machine) -> None:
    machine.add("python3", "3.12")
    mine = machine.add("mine", "3.13")
    assert machine.found(PYTHON=str(mine)) == str(mine)
    old = machine.add("old", "3.10")
    done = machine.find(PYTHON=str(old))
    assert done.returncode == 1
    assert f"PYTHON={old} is not a Python >= 3.12" in done.stderr


def test_none_gives_advice(machine: Machine) -> None:
    machine.add("python3", "3.9")
    done = machine.find()
    assert (done.returncode, done.stdout) == (1, "")
    for words in ("found none", "apt-get install", "pyenv install 3.12", "uv python install 3.12", "PYTHON="):
        assert words in done.stderr


def test_this_machine_has_one() -> None:
    done = subprocess.run(["/bin/sh", str(SCRIPT)], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0
    assert done.stdout.strip()
