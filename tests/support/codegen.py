"""What Triton makes of a kernel for a Hopper GPU, found without one: its compiler and assembler need none.

Kernels are compiled in a child process, since a process that interprets kernels (TRITON_INTERPRET) cannot compile them.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Build:
    """A kernel and what it is specialised for.

    kernel: "package.module:name" of a function under `triton.jit`. types: of each run-time argument, as Triton writes
    them ("*bf16", "*fp32", "*i32", "i32", "fp32"); pointers are taken as aligned to 16 bytes, as torch allocates, and
    so are the values of the integers in `aligned`. constants: the tl.constexpr arguments; a type is given by its name
    after "tl." ("tl.bfloat16"). registers: the most that a thread may use (Triton's `maxnreg`).
    """

    kernel: str
    types: dict[str, str]
    constants: dict[str, bool | int | float | str | None]
    warps: int = 4
    stages: int = 3
    registers: int | None = None
    aligned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Code:
    """What was generated. registers: of a thread; stack: bytes of a thread, 0 when nothing is spilled; shared: bytes of
    a program; `instructions` counts those of the instructions in `COUNTED` that occur in the PTX text, or in the
    machine code if they are named in capitals."""

    registers: int
    stack: int
    shared: int
    instructions: dict[str, int] = field(default_factory=dict[str, int])

    def __contains__(self, instruction: str) -> bool:
        return self.instructions.get(instruction, 0) > 0

    @property
    def serialised(self) -> bool:
        """Whether each warp-group product waits for the one before: ptxas does so when registers do not suffice."""
        return 0 < self.instructions["HGMMA"] <= self.instructions["WARPGROUP.ARRIVE"]

    def programs_per_multiprocessor(self, warps: int) -> int:
        """How many programs fit on one multiprocessor of an H100: 65,536 registers, 227 KiB of shared memory."""
        registers = -(-self.registers // 8) * 8 * 32 * warps
        return min(65_536 // registers, 232_448 // (self.shared + 1024), 64 // warps)


COUNTED = ("wgmma.mma_async", "mma.sync", "cp.async", "bar.sync", "ex2.approx", "atom.", "HGMMA", "WARPGROUP.ARRIVE")


def generate(builds: list[Build], arch: int = 90) -> list[Code]:
    """Compile each for compute capability `arch` (90: Hopper). Takes some seconds, and about half a second a kernel."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    asked = json.dumps([arch, [asdict(build) for build in builds]])
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.codegen"],
        input=asked,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if child.returncode:
        raise RuntimeError(f"the child that compiles kernels ended with {child.returncode}:\n{child.stderr[-4000:]}")
    return [Code(**code) for code in json.loads(child.stdout.splitlines()[-1])]


@cache
def _tool(name: str) -> Path:
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _constant(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("tl."):
        import triton.language

        return getattr(triton.language, value.removeprefix("tl."))
    return value


def _compile(build: Build, arch: int) -> Code:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, name = build.kernel.split(":")
    kernel = getattr(import_module(module), name)
    unnamed = set(kernel.arg_names) ^ {*build.types, *build.constants}
    if unnamed:
        raise ValueError(f"{build.kernel}: the arguments {sorted(unnamed)} are not those of the kernel")
    aligned = [n for n, type_ in build.types.items() if type_.startswith("*") or n in build.aligned]
    source = ASTSource(
        fn=kernel,
        signature={n: build.types.get(n, "constexpr") for n in kernel.arg_names},
        constexprs={n: _constant(value) for n, value in build.constants.items()},
        attrs={(kernel.arg_names.index(n),): [["tt.divisibility", 16]] for n in aligned},
    )
    options = {"num_warps": build.warps, "num_stages": build.stages, "maxnreg": build.registers}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _output(_tool("cuobjdump"), "-res-usage", file.name)
        text: str = compiled.asm["ptx"] + _output(_tool("nvdisasm"), "-c", file.name)
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    counts = {instruction: text.count(instruction) for instruction in COUNTED}
    return Code(found["REG"], found["STACK"] + found["LOCAL"], compiled.metadata.shared, counts)


def _main() -> None:
    arch, builds = json.load(sys.stdin)
    codes = [_compile(Build(**{**build, "aligned": tuple(build["aligned"])}), arch) for build in builds]
    print(json.dumps([asdict(code) for code in codes]))


if __name__ == "__main__":
    _main()
