"""Languages beside Python: what each needs inside a jail, how it is compiled and run, how it is found here.

A program of theirs takes standard-input tests only. Python stays the runner inside the jail. A compiler, or an
interpreter, is seen only in jails of a room of its own: those for Python hold none of it, and neither does the jail in
which a compiled program runs.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from executor.policy import Bind
from executor.runtimes import Runtime, libraries, python_runtime
from executor.trial import Allowance
from executor.types import Limits

PYTHON = "python"
ARTIFACT = ("",)
"""The run command of a language whose compiler makes an executable."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language. Commands name files in /tmp, where `source` and `files` are written; a.out is the artifact."""

    name: str
    tools: tuple[str, ...]
    """Executables that must be on PATH here."""
    install: str
    """What to do where they are not."""
    source: str
    """File name of the program."""
    run: tuple[str, ...]
    folders: Callable[[], list[str]]
    """What must be seen inside beside the tools and their libraries."""
    compile: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    """Asked after a failed run whether the program is one at all: its failure makes that a compile error."""
    files: tuple[tuple[str, str], ...] = ()
    """More files: name and text."""
    allowance: Allowance = field(default_factory=Allowance)
    memory_signs: tuple[bytes, ...] = ()
    """What its runtime says on standard error when memory is short."""
    compile_limits: Limits = field(default_factory=lambda: Limits(cpu_seconds=20.0, memory_bytes=1 << 30))

    @property
    def room(self) -> str:
        """The room, by name, where the program runs."""
        return PYTHON if self.run == ARTIFACT else self.name

    def missing(self) -> list[str]:
        """Tools that this machine lacks."""
        return [tool for tool in self.tools if shutil.which(tool) is None]


def _gcc_folders() -> list[str]:
    """Headers, start files, static libraries and the compiler proper, as the driver itself names them."""
    said = subprocess.run(
        ["g++", "-E", "-v", "-x", "c++", os.devnull], capture_output=True, text=True, check=True, env=_plain()
    ).stderr
    headers = [line.strip() for line in said.splitlines() if line.startswith(" /") and " " not in line.strip()]
    asked = ["-print-prog-name=cc1plus", "-print-file-name=libc.a", "-print-file-name=libstdc++.a"]
    asked += ["-print-file-name=crt1.o", "-print-libgcc-file-name"]
    files = [subprocess.run(["g++", o], capture_output=True, text=True, check=True).stdout.strip() for o in asked]
    absent = [name for name in files if not os.path.isabs(name)]
    if absent:
        raise FileNotFoundError(f"g++ has no {' and no '.join(absent)}: install the static C and C++ libraries")
    folders = [os.path.normpath(path) for path in [*headers, *map(os.path.dirname, files)]]
    return [*(folder for folder in folders if os.path.isdir(folder)), *libraries(files[0])]


def _plain() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _node_folders() -> list[str]:
    # Debian's own build keeps modules there that it loads at its start.
    return [folder for folder in ("/usr/share/nodejs",) if os.path.isdir(folder)]


CPP = Language(
    name="cpp",
    tools=("g++", "as", "ld"),
    install="apt-get install g++",
    source="solution.cpp",
    # Static, so that it runs in a jail that holds nothing of the compiler's.
    compile=("g++", "-std=gnu++20", "-O2", "-static", "-o", "/tmp/a.out", "/tmp/solution.cpp"),
    run=ARTIFACT,
    folders=_gcc_folders,
    allowance=Allowance(stack_bytes=64 << 20),
    memory_signs=(b"std::bad_alloc", b"std::bad_array_new_length"),
)

# Without /proc there is no /dev/stdin, which is what many programs name.
_STDIN_JS = """\
"use strict";
const fs = require("fs");
for (const name of ["readFileSync", "readFile"]) {
  const own = fs[name];
  fs[name] = (path, ...rest) => own(path === "/dev/stdin" ? 0 : path, ...rest);
}
const open = fs.openSync, stream = fs.createReadStream;
fs.openSync = (path, ...rest) => (path === "/dev/stdin" ? 0 : open(path, ...rest));
fs.createReadStream = (path, options) =>
  path === "/dev/stdin" ? stream("", { ...(typeof options === "string" ? { encoding: options } : options), fd: 0 })
                        : stream(path, options);
"""

JAVASCRIPT = Language(
    name="javascript",
    tools=("node",),
    install="apt-get install nodejs",
    source="solution.js",
    run=("node", "--stack-size=32000", "--require=/tmp/stdin.js", "/tmp/solution.js"),
    check=("node", "--check", "/tmp/solution.js"),
    files=(("stdin.js", _STDIN_JS),),
    folders=_node_folders,
    # V8 reserves address space by the gigabyte, and starts about ten threads.
    allowance=Allowance(address_space=False, processes=16, stack_bytes=64 << 20),
    memory_signs=(b"JavaScript heap out of memory", b"Array buffer allocation failed"),
)

LANGUAGES = {language.name: language for language in (CPP, JAVASCRIPT)}


def resolved(command: tuple[str, ...]) -> list[str]:
    """The command with its first word as a path. Raises FileNotFoundError."""
    if command == ARTIFACT:
        return list(command)
    path = shutil.which(command[0])
    if path is None:
        raise FileNotFoundError(f"{command[0]} is not on PATH any more")
    return [path, *command[1:]]


def language_runtime(language: Language, site_packages: str) -> Runtime:
    """Python's runtime with the language's tools beside it. Raises FileNotFoundError if a part is missing."""
    base = python_runtime(site_packages)
    wanted: dict[str, str] = {}
    for tool in language.tools:
        path = resolved((tool,))[0]
        wanted[path] = os.path.realpath(path)
        wanted |= {library: library for library in libraries(path)}
    wanted |= {folder: folder for folder in language.folders()}
    binds = list(base.binds)
    # A folder goes before what is in it, which is then there already.
    for target in sorted(wanted):
        if not any(_holds(bind.target, target) for bind in binds):
            binds.append(Bind(wanted[target], target))
    return Runtime(tuple(binds), base.hidden, base.command, base.environment)


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
