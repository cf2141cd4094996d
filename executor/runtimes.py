"""What a jail holds: this Python, without its own site-packages but with those that the caller names, if any."""

import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from executor.policy import BUNDLE_FD, Bind

GUEST_MODULES = (
    "executor",
    "executor.guest",
    "executor.guest.plain",
    "executor.guest.wire",
    "executor.guest.program",
    "executor.guest.referee",
    "executor.guest.command",
    "executor.guest.forkserver",
    "executor.guest.boot",
)

# Numeric libraries start a thread per core, which a process limit may not bear and a CPU limit would count.
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

# The guest's code comes over a descriptor: the jail needs no file of ours, and the candidate finds none.
# It gets along without the module `os`, whose import costs 1.5 ms of CPU, a tenth of what Python's own start does.
_BOOTSTRAP = f"""\
import marshal, posix as os, sys
names = []
for name, code in marshal.loads(os.pread({BUNDLE_FD}, os.fstat({BUNDLE_FD}).st_size, 0)):
    module = sys.modules[name] = type(sys)(name)
    names.append(name)
    exec(code, module.__dict__)
os.close({BUNDLE_FD})
import _sitebuiltins, builtins
builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
os.environ.pop(b"PYTHONHASHSEED", None)
os.unsetenv("PYTHONHASHSEED")
for name in names:
    del sys.modules[name]
module.main()()
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A kind of jail: its mounts, its first process, and variables of the environment beside the usual ones."""

    binds: tuple[Bind, ...]
    hidden: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[str, ...] = ()


SITE_PACKAGES = "/site-packages"
"""Where a jail sees the packages that the caller lends."""


def python_runtime(site_packages: str = "") -> Runtime:
    """The Python that runs the executor, as a jail sees it, with the packages of one folder (empty: none).

    Raises FileNotFoundError if a part of it is missing.
    """
    interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    scheme = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    folders = {sysconfig.get_path(name, vars=scheme | _installed(scheme)) for name in ("stdlib", "platstdlib")}
    hidden = [
        path
        for name in ("purelib", "platlib")
        if any(_below(path := sysconfig.get_path(name, vars=scheme | _installed(scheme)), f) for f in folders)
        and os.path.isdir(path)
    ]
    paths = [interpreter, *sorted(folders), *libraries(interpreter)]
    binds = tuple(Bind(source=path, target=path) for path in dict.fromkeys(paths))
    # -S: no site-packages and no time spent on them; the bootstrap adds the builtins that `site` would.
    command = (interpreter, "-S", "-s", "-P", "-B", "-c", _BOOTSTRAP)
    environment: tuple[str, ...] = ()
    if site_packages:
        binds += (Bind(os.path.realpath(site_packages), SITE_PACKAGES),)
        environment = (f"PYTHONPATH={SITE_PACKAGES}", *(f"{name}=1" for name in _THREADS))
    return Runtime(binds, tuple(dict.fromkeys(hidden)), command, environment)


def _installed(scheme: dict[str, str]) -> dict[str, str]:
    return {"installed_base": scheme["base"], "installed_platbase": scheme["platbase"]}


def _below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def libraries(executable: str) -> list[str]:
    """What the loader needs: system library folders whole (they hold nothing but code), other libraries one by one."""
    ldd = shutil.which("ldd")
    if ldd is None:
        raise FileNotFoundError("ldd is needed to find the interpreter's libraries: install libc-bin")
    text = subprocess.run([ldd, executable], capture_output=True, text=True, check=True).stdout
    paths: list[str] = []
    for line in text.splitlines():
        parts = line.split("=>")[-1].split()
        if not parts or not parts[0].startswith("/"):
            continue
        library = parts[0]
        folder = os.path.dirname(library)
        is_loader = "=>" not in line
        is_system = folder.startswith(("/lib", "/usr/lib")) and not is_loader
        paths.append(folder if is_system else library)
    return paths


def guest_bundle() -> bytes:
    """The guest's modules, compiled, for this Python only."""
    root = Path(__file__).parent
    modules: list[tuple[str, object]] = []
    for name in GUEST_MODULES:
        if name in ("executor", "executor.guest"):
            modules.append((name, compile("", name, "exec")))
            continue
        path = root / "guest" / f"{name.rsplit('.', 1)[1]}.py"
        modules.append((name, compile(path.read_text(), f"<{name}>", "exec", dont_inherit=True, optimize=2)))
    return marshal.dumps(modules)
