"""Generates the TypeScript code of proto/thresher/v1 (`clients/typescript/src/generated`), or checks it (`--check`).

Needs the packages of clients/typescript (`npm ci` there, or --packages with a folder that has them).
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "clients" / "typescript"
TARGET = CLIENT / "src" / "generated"
OPTIONS = (
    "env=node",
    "esModuleInterop=true",
    "forceLong=bigint",
    "importSuffix=.js",
    "oneof=unions-value",
    "outputJsonMethods=false",
    "outputServices=grpc-js",
    "stringEnums=true",
)


def generate(target: Path, packages: Path) -> None:
    """Writes the code of all .proto files below `target`, with the plugin in the folder `packages`."""
    plugin = packages / ".bin" / "protoc-gen-ts_proto"
    if not plugin.exists():
        raise SystemExit(f"{plugin} is missing: run npm ci in {CLIENT.relative_to(ROOT)}")
    protos = sorted((ROOT / "proto" / "thresher" / "v1").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    command += [f"--plugin=protoc-gen-ts_proto={plugin}", f"--ts_proto_out={target}"]
    subprocess.run([*command, f"--ts_proto_opt={','.join(OPTIONS)}", *map(str, protos)], check=True, cwd=ROOT)


def files(folder: Path) -> set[str]:
    """Names of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.ts")}


def main() -> int:
    """Generates, or compares and returns 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where generated code is out of date")
    parser.add_argument("--packages", type=Path, default=CLIENT / "node_modules", help="folder with the npm packages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh, options.packages.absolute())
        new, old = files(fresh), files(TARGET)
        same, _, _ = filecmp.cmpfiles(fresh, TARGET, sorted(new & old), shallow=False)
        stale = sorted((new | old) - set(same))
        if not options.check:
            shutil.rmtree(TARGET, ignore_errors=True)
            shutil.copytree(fresh, TARGET)
            return 0
    if stale:
        print(f"generated code is out of date ({', '.join(stale)}): run scripts/proto_typescript.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
