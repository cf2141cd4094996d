"""Scheduler and kernels import where nothing is installed but torch, triton, numpy and what these three ask for."""

import json
import subprocess
import sys

import pytest
from support.bare import refused

CHILD = """
import importlib, json, sys
refused = set(json.loads(sys.argv[1]))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
importlib.import_module(sys.argv[2])
"""


@pytest.mark.parametrize("module", ["engine.core.scheduler", "engine.runner.cuda", "engine.runner.device_drawing"])
def test_it_imports_with_torch_triton_and_numpy_alone(module: str) -> None:
    names = refused()
    assert {"msgspec", "numba", "grpc", "pytest", "safetensors"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(names), module], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_refusal_refuses() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(refused()), "engine.loop.messages"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "No module named 'msgspec'" in done.stderr
