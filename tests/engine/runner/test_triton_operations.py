"""The kernels end to end under Triton's interpreter, in a process of its own, where it is chosen before the import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CHILD = """
import sys

import torch
from support.random_decoders import config, for_device, random_decoder
from support.runner_contract import Checked, hand_made_steps, masks_and_filters, steps_ahead

from engine.runner import triton_operations
from engine.runner.cuda import CudaRunner
from engine.runner.device_drawing import DeviceDrawing
from engine.runner.triton_operations import TritonOperations
from kernels.gpu.batch import Batch
from kernels.gpu.items import AttentionShape, Capacity
from kernels.gpu.prefill import TritonPrefill

head_dim, page_size, narrow = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
if page_size == 64:  # tables that have to grow
    triton_operations._capacity = lambda rows: Capacity(rows=1, items=1, tiles=1, slots=1)
    triton_operations._PREFILL = Capacity(rows=4, items=1, tiles=1, slots=0)
decoder = random_decoder(config(qk_norm=head_dim == 128, head_dim=head_dim))
shape = AttentionShape(6, 2, head_dim, page_size, torch.float32, narrow)
batch = Batch(torch.device("cpu"), 1 << 20)
operations = TritonOperations(shape, torch.device("cpu"), TritonPrefill, batch)
drawing = DeviceDrawing(500, torch.device("cpu"), 4, batch)
runner = CudaRunner(
    for_device(decoder),
    kv_bytes=1 << 23,
    page_size=page_size,
    rows=12,
    narrow_suffix=narrow,
    operations=operations,
    drawing=drawing,
    batch=batch,
)
checked = Checked(runner, decoder)
copies = []  # of each step of rows alone: what is told in one copy, and what in copies of its own
send, submit = Batch.send, runner.submit


def counted(one):
    copies[-1][one is not batch] += 1
    send(one)


def submitted(step):
    copies.append([0, 0])
    flight = submit(step)
    if any(len(chunk.tokens) > 1 for chunk in step.chunks):
        copies.pop()
        copies.append([0, 0])
    return flight


Batch.send, runner.submit = counted, submitted
hand_made_steps(checked)
masks_and_filters(checked)
print(len(checked.steps), "steps")
copies.clear()
print("ahead", steps_ahead(checked, new=6).planned_ahead)
print("copies", sorted({tuple(one) for one in copies} - {(0, 0)}))
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the kernels run on it")
@pytest.mark.parametrize(("head_dim", "page_size", "narrow"), [(64, 64, False), (128, 16, False), (64, 16, True)])
def test_the_contract_under_the_interpreter(head_dim: int, page_size: int, narrow: bool) -> None:
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), str(root / "proto"), str(root / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(head_dim), str(page_size), str(narrow)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "11 steps" in done.stdout
    assert "copies [(1, 0)]" in done.stdout, done.stdout
