"""A step's items on the device, and what a launch over them takes."""

import torch
from torch import Tensor

from kernels.gpu.items import AttentionShape, Capacity, Items


class DeviceTable:
    """The words of one step's items at fixed places of the device's memory; `parts` are its sections."""

    def __init__(self, capacity: Capacity, device: torch.device) -> None:
        self.capacity = capacity
        self._words = torch.zeros(capacity.words, dtype=torch.int32, device=device)
        pinned = device.type == "cuda"
        # Two, so that a step can be written while the copy of the one before has not been made yet.
        self._staging = [torch.zeros(capacity.words, dtype=torch.int32, pin_memory=pinned) for _ in range(2)]
        self.parts = {name: self._words[part] for name, part in capacity.sections.items()}

    def load(self, items: Items) -> None:
        """Copy a step's items to the device in one copy, without waiting for it; ValueError if they do not fit.

        The copy of the last step but one must have been made: true where a step waits for the tokens of the one before.
        """
        staging = self._staging.pop(0)
        self._staging.append(staging)
        items.write(staging.numpy(), self.capacity)
        self._words.copy_(staging, non_blocking=True)


def check_operands(
    shape: AttentionShape, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, scales: Tensor | None
) -> None:
    """ValueError for tensors that a kernel would read wrongly: shapes, types, strides."""
    rows = (q.shape[0], shape.heads, shape.head_dim)
    pool = (k_pages.shape[0], shape.kv_heads, shape.page_size, shape.head_dim)
    operands = [
        ("q", q, rows, shape.dtype),
        ("out", out, rows, shape.dtype),
        ("k_pages", k_pages, pool, shape.dtype),
        ("v_pages", v_pages, pool, shape.dtype),
    ]
    if scales is not None:
        operands.append(("scales", scales, (k_pages.shape[0], shape.kv_heads, 2, shape.page_size), torch.float32))
    for name, tensor, size, dtype in operands:
        if tensor.shape != size or tensor.dtype != dtype or not tensor.is_contiguous():
            found = f"{tuple(tensor.shape)} {tensor.dtype}, strides {tensor.stride()}"
            raise ValueError(f"{name} is {found}: {size} {dtype} wanted, contiguous")
    if shape.narrow != (scales is not None):
        raise ValueError(f"the shape's narrow is {shape.narrow}: scales must {'' if shape.narrow else 'not '}be given")


def multiprocessors(device: torch.device) -> int:
    """How many multiprocessors the programs of a launch share."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).multi_processor_count
    return 2  # the interpreter runs programs one after the other
