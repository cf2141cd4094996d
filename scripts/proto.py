"""Generates the Python code of proto/thresher/v1 (`make proto`), or says whether it is up to date (`--check`)."""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto"
PACKAGE = Path("thresher/v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Writes the code of all .proto files below `target`."""
    protos = sorted((SOURCE / PACKAGE).glob("*.proto"))
    # protoc looks for its plugins (mypy-protobuf) on PATH.
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    outputs += [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCE}", *outputs, *map(str, protos)]
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    for proto in protos:
        # The gRPC plugin writes a file for messages alone too: it holds only a version check and has no stub file.
        if "\nservice " not in proto.read_text(encoding="utf-8"):
            for suffix in ("py", "pyi"):
                (target / PACKAGE / f"{proto.stem}_pb2_grpc.{suffix}").unlink(missing_ok=True)


def generated_files(folder: Path) -> set[str]:
    """Names of the generated files in a folder."""
    return {path.name for pattern in GENERATED for path in folder.glob(pattern)}


def main() -> int:
    """Generates, or compares and returns 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where generated code is out of date")
    check: bool = parser.parse_args().check
    here = SOURCE / PACKAGE
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / PACKAGE
        generate(Path(folder))
        new, old = generated_files(fresh), generated_files(here)
        same, _, _ = filecmp.cmpfiles(fresh, here, sorted(new & old), shallow=False)
        stale = sorted((new | old) - set(same))
        if not check:
            for name in old - new:
                (here / name).unlink()
            for name in new:
                shutil.copyfile(fresh / name, here / name)
            return 0
    if stale:
        print(f"generated code is out of date ({', '.join(stale)}): run `make proto`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
