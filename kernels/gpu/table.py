"""A step's items on the device, and what a launch over them takes."""

import torch
from torch import Tensor

from kernels.gpu.batch import Batch, Upload
from kernels.gpu.items import AttentionShape, Capacity, Items


class DeviceTable:
    """The words of one step's items at fixed places of the device's memory; `parts` are its sections."""

    def __init__(self, capacity: Capacity, device: torch.device, batch: Batch | None = None) -> None:
        self.capacity = capacity
        self._upload = Upload(capacity.words * 4, device, batch)
        words = self._upload.device.view(torch.int32)
        self.parts = {name: words[part] for name, part in capacity.sections.items()}

    def load(self, items: Items) -> None:
        """Write a step's items, to be copied with the batch or, without one, now; ValueError if they do not fit."""
        items.write(self._upload.begin().view(torch.int32).numpy(), self.capacity)
        self._upload.end()


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
