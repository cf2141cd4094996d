"""Parts of a step that reach the device in one copy."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.gpu.batch import Batch, Upload

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), steps=st.lists(st.integers(0, 63), max_size=6))
def test_a_part_that_is_written_is_there_and_is_nobody_elses(sizes: list[int], steps: list[int]) -> None:
    batch = Batch(DEVICE, sum(-(-size // 16) * 16 for size in sizes))
    uploads = [Upload(size, DEVICE, batch) for size in sizes]
    for number, written in enumerate(steps):
        batch.begin()
        chosen = [place for place in range(len(sizes)) if written >> place & 1]
        for place in chosen:
            uploads[place].begin().fill_(1 + number * 10 + place)
            uploads[place].end()
        batch.send()
        for place in chosen:
            assert uploads[place].device.tolist() == [1 + number * 10 + place] * sizes[place]


def test_parts_are_aligned_and_what_finds_no_room_has_a_copy_of_its_own() -> None:
    batch = Batch(DEVICE, 64)
    first, second = Upload(3, DEVICE, batch), Upload(40, DEVICE, batch)
    assert second.device.data_ptr() - first.device.data_ptr() == 16
    third = Upload(30, DEVICE, batch)
    third.begin().fill_(7)
    third.end()
    assert third.device.tolist() == [7] * 30, "nobody else sends it"
    batch.begin()
    first.begin().fill_(1)
    second.begin().fill_(2)
    assert first.device.tolist() == [0] * 3
    batch.send()
    assert (first.device.tolist(), second.device.tolist()) == ([1] * 3, [2] * 40)


def test_a_step_is_written_while_the_one_before_has_not_been_copied() -> None:
    batch = Batch(DEVICE, 16)
    part = Upload(16, DEVICE, batch)
    batch.begin()
    earlier = part.begin()
    earlier.fill_(1)
    batch.send()
    batch.begin()
    part.begin().fill_(2)
    assert earlier.tolist() == [1] * 16
