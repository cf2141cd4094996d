"""A model on two devices: as much as on one, in two processes that talk by gloo."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.random_decoders import config, for_device, random_decoder

from engine.runner.parallel import part_of

CHILD = """
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist
from support.random_decoders import config, for_device, random_decoder
from support.runner_contract import Checked, hand_made_steps, masks_and_filters

from engine.core.distribution import Distribution
from engine.core.types import Ask, Step
from engine.runner.cuda import CudaRunner
from engine.runner.drawing import Collect, HostDrawing
from engine.runner.parallel import LeadingRunner, add_up, follow, part_of

rank, meeting = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
plain = random_decoder(config(qk_norm=True))
whole = for_device(plain)


class Noted(HostDrawing):
    logits = torch.zeros(1)

    def submit(self, logits: torch.Tensor) -> Collect:
        self.logits = logits.clone()
        return super().submit(logits)


class Both:
    '''The two devices and one that has all, which must give the same logits.'''

    def __init__(self, leading: LeadingRunner) -> None:
        self.leading, self.page_size, self.pages = leading, leading.page_size, leading.pages
        self.alone = CudaRunner(whole, kv_bytes=1 << 21, page_size=16, rows=12, drawing=one)
        self.largest = 0.0

    def run(self, step: Step) -> list[list[Distribution]]:
        found = self.leading.run(step)
        self.alone.run(step)
        torch.testing.assert_close(two.logits, one.logits, rtol=1e-4, atol=1e-4)
        self.largest = max(self.largest, float((two.logits - one.logits).abs().max()))
        return found


one, two = Noted(), Noted()
# The second has fewer pages than the first.
runner = CudaRunner(
    part_of(whole, rank, 2), kv_bytes=(4 - rank) << 18, page_size=16, rows=12, drawing=two, reduce=add_up
)
if rank:
    follow(runner)
    print("followed")
else:
    leading = LeadingRunner(runner)
    assert leading.pages == 3 * runner.pages // 4
    both = Both(leading)
    hand_made_steps(Checked(both, plain))
    masks_and_filters(Checked(both, plain))
    leading.close()
    print("largest difference of a logit", both.largest)
dist.destroy_process_group()
"""


def test_two_devices_give_the_logits_of_one(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), str(root / "proto"), str(root / "tests")])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(2)
    ]
    try:
        told = [child.communicate(timeout=240) for child in ranks]
    finally:
        for child in ranks:
            child.kill()
    assert [child.returncode for child in ranks] == [0, 0], "\n".join(error[-3000:] for _, error in told)
    assert "largest difference" in told[0][0]
    assert "followed" in told[1][0]


def test_what_cannot_be_divided_is_refused() -> None:
    decoder = for_device(random_decoder(config()))
    with pytest.raises(ValueError, match="kv_heads: 2 cannot be divided over 3 devices"):
        part_of(decoder, 0, 3)
    odd = for_device(random_decoder(replace(config(), intermediate=141)))
    with pytest.raises(ValueError, match="intermediate: 141 cannot be divided over 2 devices"):
        part_of(odd, 0, 2)
