"""Kernels run on a GPU where there is one, else under Triton's interpreter, which must be chosen before its import."""

import os
import sys

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"

# As for all tests; benchmarks.gpu.watched runs these alone on a GPU, where an example may have to be compiled first.
settings.register_profile("kernels", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kernels")


@pytest.fixture(scope="session")
def device() -> str:
    """Where kernels run: "cuda", or "cpu" under the interpreter."""
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.fail("triton was imported before TRITON_INTERPRET was set, so no kernel can run: import it later")
    return "cpu"
